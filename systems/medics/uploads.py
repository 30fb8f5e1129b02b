"""Pictures on a GPU, once though several models look at them."""

import weakref
from collections import OrderedDict, deque

import numpy as np
import torch

from engines.gpu import staged
from systems.medics.strategy import as_tensor

_MOST_BYTES = 2**29  # 26 clips of 100 frames, or as many faces as are on their way


class Uploads:
    """uint8 arrays as tensors on the device, where they stay as long as the arrays are there: those that were asked for
    last, as many as fit in `most_bytes`. For one thread, on one stream. On a CPU a tensor is the array itself."""

    def __init__(self, device: torch.device, most_bytes: int = _MOST_BYTES):
        self._device, self._most = device, most_bytes
        self._there: OrderedDict[int, tuple[weakref.ref, torch.Tensor]] = OrderedDict()
        self._gone: deque[int] = deque()  # arrays that are no more, whichever thread has seen them last
        self._bytes = 0

    def __call__(self, pictures: np.ndarray) -> torch.Tensor:
        if self._device.type == "cpu":
            return as_tensor(pictures)
        while self._gone:
            self._forget(self._gone.popleft())
        key = id(pictures)
        if key in self._there and self._there[key][0]() is pictures:
            self._there.move_to_end(key)
            return self._there[key][1]
        while self._there and self._bytes + pictures.nbytes > self._most:
            self._bytes -= self._there.popitem(last=False)[1][1].nbytes
        host = staged(pictures.shape, self._device)
        host.numpy()[...] = pictures
        tensor = host.to(self._device, non_blocking=True)
        self._there[key] = weakref.ref(pictures, lambda _: self._gone.append(key)), tensor
        self._bytes += tensor.nbytes
        return tensor

    def _forget(self, key: int) -> None:
        """Unless another array has come to lie there since."""
        if key in self._there and self._there[key][0]() is None:
            self._bytes -= self._there.pop(key)[1].nbytes

    def clear(self) -> bool:
        """Keep nothing; whether anything was kept."""
        kept = bool(self._there)
        self._there.clear()
        self._bytes = 0
        return kept
