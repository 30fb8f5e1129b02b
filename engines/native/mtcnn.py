"""MTCNN's networks on kernels of our own (`engines/native/mtcnn.h`), for CPUs with AMX or AVX-512, in fp32.

With AMX numbers are three bf16 parts, 24 bits of mantissa, summed in fp32: boxes are those of the other engines.
Nothing is compiled for a size, so images may come in ever other ones.
"""

import ctypes
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from facenet_pytorch.models.mtcnn import ONet, PNet, RNet
from torch import nn

from engines.native.libraries import NativeObject

_PNET, _RNET, _ONET = range(3)
_POOLS = {_PNET: (2, 0, 0), _RNET: (3, 3, 0), _ONET: (3, 3, 2, 0)}  # windows of max pooling after each convolution
_BOXES = 512  # to a call, which bounds memory
_FLOATS, _INTS = ctypes.POINTER(ctypes.c_float), ctypes.POINTER(ctypes.c_int32)


class TableImages(Protocol):
    """Images as tables of sums: `tables`, int32 (h + 1, w + 1, 3) each, and `sizes`, (h, w) each."""

    tables: Sequence[np.ndarray]
    sizes: Sequence[tuple[int, int]]


class NativeMtcnn:
    """The three networks, by `library`, "mtcnn" or "mtcnn_avx512". Threads may call at once. Raises NativeError where
    it can't be had."""

    def __init__(self, library: str = "mtcnn"):
        self._detector = NativeObject(library, "detector")
        for number, net in ((_PNET, PNet()), (_RNET, RNet()), (_ONET, ONet())):
            self._add(number, net.requires_grad_(False))

    def _add(self, number: int, net: nn.Module) -> None:
        for i, pool in enumerate(_POOLS[number], start=1):
            convolution, slope = getattr(net, f"conv{i}"), getattr(net, f"prelu{i}").weight
            weight = convolution.weight.permute(0, 2, 3, 1)  # output, row, column, channel
            if i == 1:  # the rows lie as channels: see `stack` in mtcnn.cpp
                weight = weight.permute(0, 2, 1, 3).flatten(2)[:, None]
            self._layer(number, weight, convolution.bias, slope, pool)
        if number == _PNET:
            heads = [net.conv4_1, net.conv4_2]
        else:
            dense, slope, *heads = _dense_layers(net)
            channels = weight.shape[0]
            width = int((dense.in_features // channels) ** 0.5)
            weight = dense.weight.view(-1, width, width, channels).transpose(1, 2)  # facenet-pytorch counts x first
            self._layer(number, weight.reshape(len(weight), 1, 1, -1), dense.bias, slope)
        weight = torch.cat([head.weight.flatten(1) for head in heads])
        self._layer(number, weight[:, None, None], torch.cat([head.bias for head in heads]))

    def _layer(
        self, number: int, weight: torch.Tensor, bias: torch.Tensor, slope: torch.Tensor | None = None, pool: int = 0
    ) -> None:
        """`weight` is (outputs, rows, columns, channels)."""
        outputs, rows, taps, channels = weight.shape
        arrays = [np.ascontiguousarray(tensor.numpy(), np.float32) for tensor in (weight, bias)]
        arrays += [] if slope is None else [slope.numpy()]
        pointers = [array.ctypes.data_as(_FLOATS) for array in arrays] + ([None] if slope is None else [])
        self._detector.call("layer", number, channels, outputs, rows, taps, pool, *pointers)

    def propose(
        self, images: TableImages, pyramid: Callable[[int], Iterable[float]]
    ) -> Iterator[tuple[int, float, np.ndarray]]:
        """PNet over every image at every scale that `pyramid` gives for its shorter side: (number of the image, scale,
        maps (h', w', 6))."""
        for number, (table, (from_height, from_width)) in enumerate(zip(images.tables, images.sizes, strict=True)):
            for scale in pyramid(min(from_height, from_width)):
                height, width = int(from_height * scale + 1), int(from_width * scale + 1)
                maps = np.empty((*(_proposed(side) for side in (height, width)), 6), np.float32)
                shape = from_height, from_width, height, width
                self._detector.call("propose", table.ctypes.data_as(_INTS), *shape, maps.ctypes.data_as(_FLOATS))
                yield number, scale, maps

    def refine(self, images: TableImages, numbers: np.ndarray, boxes: np.ndarray, size: int) -> list[np.ndarray]:
        """RNet (size 24) or ONet (size 48) over boxes (int, (n, 4)) of the images `numbers`: probability of a face, box
        regression and, from ONet, landmarks."""
        parts = [
            self._refine(images, numbers[start : start + _BOXES], boxes[start : start + _BOXES], size)
            for start in range(0, len(boxes), _BOXES)
        ]
        outputs = torch.from_numpy(np.concatenate(parts))
        probability = outputs[:, :2].softmax(dim=1)[:, 1]
        return [part.numpy() for part in (probability, outputs[:, 2:6], outputs[:, 6:]) if part.numel()]

    def _refine(self, images: TableImages, numbers: np.ndarray, boxes: np.ndarray, size: int) -> np.ndarray:
        network = _RNET if size == 24 else _ONET
        count = len(boxes)
        tables = (_INTS * count)(*(images.tables[number].ctypes.data_as(_INTS) for number in numbers))
        widths = np.array([images.sizes[number][1] for number in numbers], np.int32)
        boxes = np.ascontiguousarray(boxes, np.int32)
        outputs = np.empty((count, 6 if network == _RNET else 16), np.float32)
        pointers = tables, widths.ctypes.data_as(_INTS), boxes.ctypes.data_as(_INTS), outputs.ctypes.data_as(_FLOATS)
        self._detector.call("refine", network, len(_POOLS[network]), size, count, *pointers)
        return outputs


def _dense_layers(net: nn.Module) -> list[nn.Module]:
    """The fully connected layer, its PReLU's slopes, and the heads, of RNet or ONet: facenet-pytorch numbers them."""
    first = len(_POOLS[_RNET if isinstance(net, RNet) else _ONET]) + 1
    heads = [getattr(net, f"dense{first + 1}_{i}", None) for i in (1, 2, 3)]
    return [getattr(net, f"dense{first}"), getattr(net, f"prelu{first}").weight, *filter(None, heads)]


def _proposed(side: int) -> int:
    """Side of PNet's maps: three convolutions of 3, of which the first is pooled by 2, rounded up."""
    return -(-(side - 2) // 2) - 4
