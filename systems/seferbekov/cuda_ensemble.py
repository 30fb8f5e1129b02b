"""Several models on one GPU: images go there once for all of them, and each model is one CUDA graph."""

import contextlib
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import nn

from engines.gpu import Graph, HostCopy, Lane, is_no_memory, staged, working_on
from systems.imagenet import IMAGENET_MEAN, IMAGENET_STD
from systems.seferbekov.ensemble import Ensemble, Images, Model

_AT_A_TIME = 2  # models: one's small layers leave room on the GPU for another's


class CudaEnsemble(Ensemble):
    """`modules` are those of `models`, on the device, in the type that they compute in; `autocast` is bf16's.

    A graph replays what a model does to a full batch, without the 10 to 15 ms that launching its kernels takes Python.
    Where the memory does not suffice for graphs, or runs out later, models run by themselves, in smaller batches.
    `record` makes a graph; it is another on a CPU, for tests.
    """

    def __init__(
        self,
        models: Sequence[Model],
        modules: Sequence[nn.Module],
        *,
        device: torch.device,
        dtype: torch.dtype,
        batch_size: int,
        autocast: bool = False,
        record: Callable[..., Graph] = Graph,
    ):
        super().__init__(models, batch_size=batch_size, lanes=2)  # one batch is made ready while another is computed
        self._device = device
        self._mean, self._std = (torch.tensor(values, device=device) for values in (IMAGENET_MEAN, IMAGENET_STD))
        self._inputs: dict[int, torch.Tensor] = {}
        self._graphs: list[Graph] = []
        on_gpu = device.type == "cuda"
        # one batch goes through all of them at a time: the first one's turn and stream are those of the whole
        self._lanes = [Lane(device) for _ in range(_AT_A_TIME if on_gpu else 1)]
        if on_gpu:
            torch.cuda.synchronize(device)  # the weights were loaded on another stream
        with contextlib.suppress(torch.OutOfMemoryError), working_on(device, self._lanes[0].stream):
            for size in self.sizes:
                x = torch.zeros(batch_size, 3, size, size, dtype=dtype, device=device)
                self._inputs[size] = x.contiguous(memory_format=torch.channels_last)
            if on_gpu:
                torch.cuda.synchronize(device)  # the inputs were made on one of the streams
            for number, (model, module) in enumerate(zip(self.models, modules, strict=True)):
                lane = self._lanes[number % len(self._lanes)]
                forward = partial(_logits_of, module, self._inputs[model.size], autocast)
                self._graphs.append(record(forward, lane.stream, lane.pool))
        if len(self._graphs) < len(self.models):
            self._give_up_graphs()

    def _logits(self, images: Images, count: int) -> np.ndarray:
        batches = {size: self._staged(images[size], size) for size in self.sizes}
        with self._lanes[0].turn, working_on(self._device, self._lanes[0].stream):
            if not self._graphs:
                rows = [model.logits(np.stack(images[model.size])) for model in self.models]
                return np.stack(rows, axis=1)
            try:
                logits = self._replay(batches, count)
            except RuntimeError as error:
                if is_no_memory(error):
                    self._give_up_graphs()
                raise
        # the other thread gives the GPU its batch before this one is done
        return logits.read().numpy()

    def _replay(self, batches: dict[int, torch.Tensor], count: int) -> HostCopy:
        first, *others = (lane.stream for lane in self._lanes)
        for size, batch in batches.items():
            x = batch.to(self._device, non_blocking=True)
            self._inputs[size][:count] = ((x.float() / 255 - self._mean) / self._std).permute(0, 3, 1, 2)
        for stream in others:
            stream.wait_stream(first)
        for number, graph in enumerate(self._graphs):
            with torch.cuda.stream(self._lanes[number % len(self._lanes)].stream):
                graph.replay()
        for stream in others:
            first.wait_stream(stream)
        return HostCopy(torch.stack([graph.result[:count] for graph in self._graphs], dim=1))

    def _staged(self, images: Sequence[np.ndarray], size: int) -> torch.Tensor:
        batch = staged([len(images), size, size, 3], self._device)
        for place, image in zip(batch.numpy(), images, strict=True):
            place[:] = image
        return batch

    def _give_up_graphs(self) -> None:
        self._graphs, self._inputs = [], {}
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def _logits_of(module: nn.Module, x: torch.Tensor, autocast: bool) -> torch.Tensor:
    """Float32 (n,). A graph keeps it, and it must not keep the ensemble that keeps the graph: such circles are freed
    late, in the midst of another recording at worst."""
    with torch.autocast(x.device.type, torch.bfloat16, enabled=autocast, cache_enabled=False):
        return module(x).float().reshape(-1)
