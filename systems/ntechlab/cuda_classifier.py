"""A classifier on a GPU: all that it does to a batch, from pixels to probabilities, as one CUDA graph."""

import contextlib
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from engines.fold import fold_batch_norms
from engines.gpu import Graph, HostCopy, Lane, in_halves, is_no_memory, staged, working_on
from engines.native.cuda_encoder import CudaEncoder, Steps
from systems.imagenet import IMAGENET_MEAN, IMAGENET_STD
from systems.ntechlab.checkpoints import LoadedClassifier
from systems.ntechlab.models import HEIGHT, SEQUENCE, WIDTH, TemporalExpansion

_REMEDY = "give a smaller --batch-size, or end what else runs on it"


class Expansion(nn.Module):
    """A `TemporalExpansion` as a 1x1 convolution of what `gather` puts side by side, whose batch norm can be folded."""

    def __init__(self, temporal: TemporalExpansion):
        super().__init__()
        weight = temporal.conv.weight.detach().flatten(2).transpose(1, 2).flatten(1)
        self.weight = nn.Parameter(weight[:, :, None, None], requires_grad=False)
        self.bias = None

    @staticmethod
    def gather(x: torch.Tensor) -> torch.Tensor:
        """(7 n, h, w, c) to (7 n, h, w, 3 c): the channels of the image before, of each image, and of the one behind
        it, blank where a clip has none."""
        clips = F.pad(x.unflatten(0, (-1, SEQUENCE)), (0, 0, 0, 0, 0, 0, 1, 1))
        return torch.cat([clips[:, place : place + SEQUENCE] for place in range(3)], dim=-1).flatten(0, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(self.gather(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), self.weight, self.bias)


class CudaClassifier:
    """A network, which can't be used afterwards, for batches of up to `count` samples: uint8 RGB (t, 224, 192, 3) each,
    to probabilities "fake", float32 (n, t).

    In fp16 the encoder runs on `steps` where they are given, by autocast without; else `dtype` is autocast's. Where
    the memory does not suffice for a graph, or runs out later, it works without, on halves of a batch. Two threads may
    call it, and all that share a `lane`: one's batch is made ready while another's is computed. `record` makes a graph;
    it is another on a CPU, for tests.
    """

    def __init__(
        self,
        loaded: LoadedClassifier,
        *,
        device: torch.device,
        dtype: torch.dtype,
        count: int,
        lane: Lane,
        steps: Steps | None = None,
        record: Callable[..., Graph] = Graph,
    ):
        self._device, self._lane = device, lane
        length = SEQUENCE if loaded.role == "seq" else 1
        self._forward = _Forward(loaded.network.eval().requires_grad_(False), length, device, dtype, steps)
        if device.type == "cuda":
            torch.cuda.synchronize(device)  # the weights were loaded on another stream
        self._images: torch.Tensor | None = None
        self._graph: Graph | None = None
        if not lane.full:
            with contextlib.suppress(torch.OutOfMemoryError), working_on(device, lane.stream):
                self._images = torch.zeros(count, length, HEIGHT, WIDTH, 3, dtype=torch.uint8, device=device)
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                self._graph = record(partial(self._forward, self._images), lane.stream, lane.pool)
        if self._graph is None:
            self.give_up_graph()

    def __call__(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Raises DeviceError where a GPU has too little memory for one sample, or fails."""
        return np.stack(in_halves(self._probabilities, images, _REMEDY))

    def _probabilities(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        batch = staged((len(images), *images[0].shape), self._device)
        for place, image in zip(batch.numpy(), images, strict=True):
            place[...] = image
        with self._lane.turn, working_on(self._device, self._lane.stream):
            if self._graph is None:
                found = HostCopy(self._forward(batch.to(self._device)))
            else:
                try:
                    found = HostCopy(self._replay(batch))
                except RuntimeError as error:
                    if is_no_memory(error):
                        self.give_up_graph()
                    raise
        return list(found.read().numpy())

    def _replay(self, batch: torch.Tensor) -> torch.Tensor:
        self._images[: len(batch)].copy_(batch, non_blocking=True)
        self._graph.replay()
        return self._graph.result[: len(batch)]

    def give_up_graph(self) -> None:
        """Work without it from now on, as all of the lane should: `full` says so."""
        self._lane.full = True
        self._graph = self._images = None
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


class _Forward:
    """All that a classifier does to pixels on the device, uint8 (n, t, 224, 192, 3), to probabilities (n, t). A graph
    keeps it, and it keeps no graph: in a circle both would stay until Python looks for such, in the midst of another
    recording at worst."""

    def __init__(self, network: nn.Module, length: int, device: torch.device, dtype: torch.dtype, steps: Steps | None):
        self._length, self._device, self._dtype = length, device, dtype
        network = flat(network)
        if dtype != torch.bfloat16:  # whose autocast keeps batch norms in fp32, where it would round twice
            fold_batch_norms(network)
        self._encoder = CudaEncoder(network, steps, device, dtype) if steps else None
        network = network.classifier if steps else network
        self._network = network.to(device, memory_format=torch.channels_last)
        values = [255 * mean for mean in IMAGENET_MEAN], [1 / (255 * std) for std in IMAGENET_STD]
        self._mean, self._scale = (torch.tensor(each, device=device) for each in values)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        x = (images.flatten(0, 1).float() - self._mean) * self._scale
        x = x.permute(0, 3, 1, 2)  # channels last as it lies
        if self._encoder:
            logits = self._network(self._encoder.forward_features(x.to(self._dtype)).float().mean((2, 3)))
        else:
            reduced = self._dtype != torch.float32
            with torch.autocast(self._device.type, self._dtype, enabled=reduced, cache_enabled=False):
                logits = self._network(x)
        return logits.float().sigmoid().view(-1, self._length)


def flat(network: nn.Module) -> nn.Module:
    """A network of `create_network`, in place, with `Expansion` for `TemporalExpansion`."""
    for block in network.blocks.modules():
        if isinstance(getattr(block, "conv_pw", None), TemporalExpansion):
            block.conv_pw = Expansion(block.conv_pw)
    return network
