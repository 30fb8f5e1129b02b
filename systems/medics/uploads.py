"""Pictures on a GPU, once though several models look at them."""

from collections import OrderedDict

import numpy as np
import torch

from engines.gpu import staged
from systems.medics.strategy import as_tensor

_MOST_BYTES = 2**29  # 26 clips of 100 frames, or as many faces as are on their way


class Uploads:
    """uint8 arrays as tensors on the device; those that were asked for last stay there, as many as fit in `most_bytes`.
    For one thread, on one stream. On a CPU a tensor is the array itself."""

    def __init__(self, device: torch.device, most_bytes: int = _MOST_BYTES):
        self._device, self._most = device, most_bytes
        self._there: OrderedDict[int, tuple[np.ndarray, torch.Tensor]] = OrderedDict()
        self._bytes = 0

    def __call__(self, pictures: np.ndarray) -> torch.Tensor:
        if self._device.type == "cpu":
            return as_tensor(pictures)
        if id(pictures) in self._there:  # which nothing else can be as long as it is kept
            self._there.move_to_end(id(pictures))
            return self._there[id(pictures)][1]
        while self._there and self._bytes + pictures.nbytes > self._most:
            _, (oldest, _) = self._there.popitem(last=False)
            self._bytes -= oldest.nbytes
        host = staged(pictures.shape, self._device)
        host.numpy()[...] = pictures
        tensor = host.to(self._device, non_blocking=True)
        self._there[id(pictures)] = pictures, tensor
        self._bytes += pictures.nbytes
        return tensor

    def clear(self) -> None:
        """Keep nothing."""
        self._there.clear()
        self._bytes = 0
