"""EfficientNet encoders on kernels of our own (`engines/native/efficientnet.cpp`), for CPUs with AMX.

    module.encoder = NativeEncoder(module.encoder, size=380, precision="bf16")

fp32 is numbers of three bf16 parts, 24 bits of mantissa, summed in fp32. bf16 rounds what lies between two blocks and
what a depthwise convolution returns, not what it takes.
"""

import ctypes
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from engines.native.libraries import NativeObject

_PLANES = {"bf16": 1, "fp32": 3}
_FLOATS = ctypes.POINTER(ctypes.c_float)
_BLOCKS = ("DepthwiseSeparableConv", "InvertedResidual")


class NativeEncoder(nn.Module):
    """`forward_features` of a timm EfficientNet (SiLU, squeeze and excitation) whose batch norms are folded, for images
    of `size` pixels. Raises NativeError where the library can't be had. Threads may call it at once."""

    def __init__(self, encoder: nn.Module, *, size: int, precision: str):
        super().__init__()
        self.channels = encoder.conv_head.out_channels
        self.size, self.out_size = size, (size + 1) // 2
        self._network = NativeObject("efficientnet", "network", size, _PLANES[precision])
        stem, head = encoder.conv_stem, encoder.conv_head
        self._network.call("stem", stem.out_channels, *_pointers(stem))
        for stage in encoder.blocks:
            for block in stage:
                self._add_block(block)
        self._network.call("head", head.in_channels, head.out_channels, *_pointers(head))

    def _add_block(self, block: nn.Module) -> None:
        if type(block).__name__ not in _BLOCKS:
            raise ValueError(f"{type(block).__name__} is no block of an EfficientNet")
        expands = hasattr(block, "conv_pwl")
        first = [block.conv_pw] if expands else []
        last = block.conv_pwl if expands else block.conv_pw
        convolutions = [*first, block.conv_dw, block.se.conv_reduce, block.se.conv_expand, last]
        kernel, stride = block.conv_dw.kernel_size[0], block.conv_dw.stride[0]
        channels = convolutions[0].in_channels, block.conv_dw.out_channels, last.out_channels
        shape = (*channels, kernel, stride, block.se.conv_reduce.out_channels, expands, block.has_skip)
        parts = [None] * (0 if expands else 2)
        parts += [pointer for convolution in convolutions for pointer in _pointers(convolution)]
        self._network.call("block", (ctypes.c_int * len(shape))(*shape), (_FLOATS * len(parts))(*parts))
        self.out_size = -(-self.out_size // stride)

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        """Normalised float32 images (n, 3, size, size) to float32 features (n, channels, height, width)."""
        count, *shape = images.shape
        if shape != [3, self.size, self.size]:
            raise ValueError(f"images of {self.size} pixels are expected, not {tuple(shape)}")
        pixels = np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy(), np.float32)
        features = np.empty((count, self.out_size, self.out_size, self.channels), np.float32)
        self._network.call("run", count, pixels.ctypes.data_as(_FLOATS), features.ctypes.data_as(_FLOATS))
        return torch.from_numpy(features).permute(0, 3, 1, 2)


def _pointers(convolution: nn.Conv2d) -> Iterator[ctypes.POINTER(ctypes.c_float)]:
    """Weight and bias, which live as long as what is made of the pointers."""
    for parameter in (convolution.weight, convolution.bias):
        array = np.ascontiguousarray(parameter.detach().numpy(), np.float32)
        yield array.ctypes.data_as(_FLOATS)
