"""Weights that are the same on every machine, with any library: known answers (doctor.py) are of networks with these.

They are made of the raw numbers of NumPy's Philox, a counter-based generator whose stream is fixed for good, and of
exact arithmetic, each tensor by its own name.
"""

import math
import zlib

import numpy as np
import torch
from torch import nn

_BITS = 24  # of a number: what fits float32 exactly


def fix_weights(module: nn.Module, seed: int, gain: float) -> nn.Module:
    """Replace all weights and statistics of a module, and return it. Weights of convolutions and linear layers are
    uniform, of the deviation `gain` / sqrt(inputs); biases are 0; norms pass on what they get."""
    for name, value in module.state_dict().items():
        last = name.rpartition(".")[2]
        if value.ndim > 1:
            scale = gain * math.sqrt(3 / value[0].numel())
            value.copy_(torch.from_numpy(_uniform(name, seed, value.numel()) * np.float32(scale)).view(value.shape))
        else:
            value.fill_(1 if last in ("weight", "running_var") else 0)
    return module


def _uniform(name: str, seed: int, count: int) -> np.ndarray:
    """Numbers from -1 to 1, float32 (count,)."""
    raw = np.random.Philox(key=[seed, zlib.crc32(name.encode())]).random_raw(count)
    return ((raw >> np.uint64(64 - _BITS)).astype(np.float32) * np.float32(2.0 ** (1 - _BITS))) - np.float32(1)
