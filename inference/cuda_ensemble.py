"""Several models on one GPU: images go there once for all of them, and each model is one CUDA graph."""

import threading
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from inference.ensemble import Ensemble, Images, Model
from training.zoo.classifiers import IMAGENET_MEAN, IMAGENET_STD


class CudaEnsemble(Ensemble):
    """`modules` are those of `models`, on the device, in the type that they compute in; `autocast` is bf16's.

    A graph replays what a model does to a full batch, without the 10 to 15 ms that launching its kernels takes Python.
    Where the memory does not suffice for graphs, or runs out later, models run by themselves, in smaller batches.
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
    ):
        super().__init__(models, batch_size=batch_size, lanes=2)  # one batch is made ready while another is computed
        self._device, self._autocast = device, autocast
        self._driving = threading.Lock()
        self._stream = torch.cuda.Stream(device)
        self._mean, self._std = (torch.tensor(values, device=device) for values in (IMAGENET_MEAN, IMAGENET_STD))
        shapes = {size: (batch_size, 3, size, size) for size in self.sizes}
        torch.cuda.synchronize(device)  # the weights were loaded on another stream
        try:
            with torch.cuda.device(device):
                self._inputs = {
                    size: torch.zeros(shape, dtype=dtype, device=device, memory_format=torch.channels_last)
                    for size, shape in shapes.items()
                }
                self._graphs = self._capture(modules)
        except torch.OutOfMemoryError:
            self._give_up_graphs()

    def _capture(self, modules: Sequence[nn.Module]) -> list[tuple[torch.cuda.CUDAGraph, torch.Tensor]]:
        """A graph for each model, with the tensor that it writes its logits to. They share their memory: one runs at a
        time."""
        graphs, pool = [], torch.cuda.graph_pool_handle()
        for model, module in zip(self.models, modules, strict=True):
            x = self._inputs[model.size]
            with torch.cuda.stream(self._stream):
                for _ in range(2):  # what is prepared at the first calls must not be in the graph
                    self._forward(module, x)
            self._stream.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=pool, stream=self._stream):
                logits = self._forward(module, x)
            graphs.append((graph, logits))
        return graphs

    @torch.inference_mode()
    def _forward(self, module: nn.Module, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._autocast, cache_enabled=False):
            return module(x).float().reshape(-1)

    def _logits(self, images: Images, count: int) -> np.ndarray:
        if not self._graphs:
            with self._driving, torch.cuda.device(self._device):
                rows = [model.logits(np.stack(images[model.size])) for model in self.models]
            return np.stack(rows, axis=1)
        try:
            return self._replay(images, count)
        except torch.OutOfMemoryError:
            self._give_up_graphs()
            raise

    def _replay(self, images: Images, count: int) -> np.ndarray:
        pixels = {size: _pinned(images[size], size) for size in self.sizes}
        with self._driving, torch.inference_mode(), torch.cuda.device(self._device), torch.cuda.stream(self._stream):
            for size, batch in pixels.items():
                x = batch.to(self._device, non_blocking=True)
                x = ((x.float() / 255 - self._mean) / self._std).permute(0, 3, 1, 2)
                self._inputs[size][:count].copy_(x)
            for graph, _ in self._graphs:
                graph.replay()
            return torch.stack([logits[:count] for _, logits in self._graphs], dim=1).cpu().numpy()

    def _give_up_graphs(self) -> None:
        self._graphs, self._inputs = [], {}
        torch.cuda.empty_cache()


def _pinned(images: Sequence[np.ndarray], size: int) -> torch.Tensor:
    """uint8 images in memory that the GPU reads by itself."""
    batch = torch.empty((len(images), size, size, 3), dtype=torch.uint8, pin_memory=True)
    for place, image in zip(batch.numpy(), images, strict=True):
        place[:] = image
    return batch
