"""EfficientNet encoders in fp16 on a GPU, on kernels of our own (`engines/native/efficientnet.cu`) and cuBLAS.

    module.encoder = CudaEncoder(module.encoder, KernelSteps(device), device)

A block is a matrix product, one pass for everything about its depthwise convolution (activation before it, bias,
activation and the means for squeeze-and-excitation after it), and a second product, into whose weights the gates go
where that is less work than to multiply the pixels. PyTorch's own way takes twice the memory traffic and time.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import nn
from torch.nn import functional as F

from engines.native.cuda_kernels import CudaKernels, Long

_BLOCKS = ("DepthwiseSeparableConv", "InvertedResidual")
_TALL, _WIDE = {1: 12, 2: 4}, 12  # rows of a tile, by the stride, and columns
_THREADS = 256
_LANES = (32, 4, 1)  # a block of the depthwise kernels: lanes for two channels each, and warps


class Steps(Protocol):
    """What lies between matrix products. Images are (n, h, w, c), channels last, contiguous."""

    def depthwise(self, x: torch.Tensor, block: "_Block") -> tuple[torch.Tensor, torch.Tensor]:
        """SiLU(convolution(SiLU(x + in_bias)) + bias), the inner SiLU where there is an `in_bias`, and its means over
        all pixels, float32 (n, c)."""

    def finish(self, x: torch.Tensor, bias: torch.Tensor, shortcut: torch.Tensor | None, activate: bool) -> None:
        """x + bias, then SiLU or `shortcut` added, in place."""

    def scale(self, x: torch.Tensor, gates: torch.Tensor) -> None:
        """Each image of `x` times its `gates` (n, c), in place."""


class KernelSteps:
    """The steps by our kernels. Raises NativeError where they can't be had."""

    def __init__(self, device: torch.device):
        self._launch = CudaKernels("efficientnet", device).launch

    def depthwise(self, x: torch.Tensor, block: "_Block") -> tuple[torch.Tensor, torch.Tensor]:
        count, height, width, channels = x.shape
        out_height, out_width = (-(-side // block.stride) for side in (height, width))
        tiles = -(-out_height // _TALL[block.stride]) * -(-out_width // _WIDE)
        padding, across = (_padding(side, block.kernel, block.stride)[0] for side in (height, width))
        if padding != across:
            raise ValueError(f"images of {height} x {width}: a side is odd and the other even")
        y = x.new_empty(count, out_height, out_width, channels)
        sums = x.new_empty(count, tiles, channels, dtype=torch.float32)
        self._launch(
            f"depthwise_{block.kernel}_{block.stride}_{int(block.in_bias is not None)}",
            (-(-channels // 64), tiles, count),
            _LANES,
            *(x, block.in_bias, block.taps, block.bias, y, sums),
            *(height, width, out_height, out_width, channels // 2, padding),
        )
        return y, sums.sum(1) / (out_height * out_width)

    def finish(self, x: torch.Tensor, bias: torch.Tensor, shortcut: torch.Tensor | None, activate: bool) -> None:
        eighths = x.shape[-1] // 8
        rows = x.numel() // x.shape[-1]
        self._launch("finish", *_over(x), x, bias, shortcut, int(activate), eighths, Long(rows))

    def scale(self, x: torch.Tensor, gates: torch.Tensor) -> None:
        eighths, pixels = x.shape[-1] // 8, x.shape[1] * x.shape[2]
        self._launch("scale", *_over(x), x, gates, eighths, pixels, Long(x.numel() // 8))


class TorchSteps:
    """The same by PyTorch, on any device."""

    def depthwise(self, x: torch.Tensor, block: "_Block") -> tuple[torch.Tensor, torch.Tensor]:
        height, width, channels = x.shape[1:]
        x = x.float()
        if block.in_bias is not None:
            x = F.silu(x + block.in_bias)
        x = x.permute(0, 3, 1, 2)
        x = F.pad(x, [end for side in (width, height) for end in _padding(side, block.kernel, block.stride)])
        taps = block.taps.t().reshape(channels, 1, block.kernel, block.kernel)
        y = F.silu(F.conv2d(x, taps, block.bias, block.stride, groups=channels))
        return y.permute(0, 2, 3, 1).contiguous().to(block.project.dtype), y.mean((2, 3))

    def finish(self, x: torch.Tensor, bias: torch.Tensor, shortcut: torch.Tensor | None, activate: bool) -> None:
        y = x.float() + bias
        y = F.silu(y) if activate else y if shortcut is None else y + shortcut.view_as(y)
        x.copy_(y)

    def scale(self, x: torch.Tensor, gates: torch.Tensor) -> None:
        x.mul_(gates[:, None, None])


class CudaEncoder(nn.Module):
    """`forward_features` of a timm EfficientNet (SiLU, squeeze and excitation) whose batch norms are folded.

    A block's expansion may be another 1x1 convolution, with a `gather` that makes its input, (n, h, w, more channels),
    of what the block is given.

    Weights are of `dtype`, biases and the depthwise convolutions' weights fp32. They are no parameters, so that
    `half()` leaves them as they are, and lie on `device` from the beginning.
    """

    def __init__(
        self, encoder: nn.Module, steps: Steps, device: torch.device | str, dtype: torch.dtype = torch.float16
    ):
        super().__init__()
        self._steps = steps
        stem = encoder.conv_stem
        self._stem = stem.weight.detach().to(device, dtype, memory_format=torch.channels_last)
        self._stem_stride = stem.stride[0]
        blocks = [block for stage in encoder.blocks for block in stage]
        if hasattr(blocks[0], "conv_pwl") or blocks[0].has_skip:
            raise ValueError("the first block must take the stem's result alone, as EfficientNet's does")
        self._blocks = [_Block(block, device, dtype) for block in blocks]
        self._blocks[0].in_bias = _floats(stem.bias, device)  # which is added before its input is activated
        self._head, self._head_bias = _matrix(encoder.conv_head, device, dtype), _floats(encoder.conv_head.bias, device)

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        """Normalised images (n, 3, h, w) to features (n, channels, h / 32, w / 32), channels last, of `dtype`."""
        kernel, stride = self._stem.shape[-1], self._stem_stride
        around = [end for side in images.shape[:1:-1] for end in _padding(side, kernel, stride)]
        x = F.conv2d(F.pad(images, around), self._stem, stride=stride)
        x = x.permute(0, 2, 3, 1).contiguous()
        for block in self._blocks:
            x = block(x, self._steps)
        x = F.linear(x, self._head)
        self._steps.finish(x, self._head_bias, None, activate=True)
        return x.permute(0, 3, 1, 2)


class _Block:
    """The tensors of a block, as the steps want them."""

    def __init__(self, block: nn.Module, device: torch.device | str, dtype: torch.dtype):
        if type(block).__name__ not in _BLOCKS:
            raise ValueError(f"{type(block).__name__} is no block of an EfficientNet")
        expands = hasattr(block, "conv_pwl")
        last = block.conv_pwl if expands else block.conv_pw
        depthwise, squeeze = block.conv_dw, block.se
        self.kernel, self.stride, self.has_skip = depthwise.kernel_size[0], depthwise.stride[0], block.has_skip
        self.expand = _matrix(block.conv_pw, device, dtype) if expands else None
        self.gather = getattr(block.conv_pw, "gather", None) if expands else None
        self.in_bias = _floats(block.conv_pw.bias, device) if expands else None
        self.taps = _floats(depthwise.weight, device).flatten(1).t().contiguous()  # (kernel ** 2, channels)
        self.bias = _floats(depthwise.bias, device)
        self.reduce, self.excite = (_matrix(each, device, dtype) for each in (squeeze.conv_reduce, squeeze.conv_expand))
        self.reduce_bias = squeeze.conv_reduce.bias.detach().to(device, dtype)
        self.excite_bias = squeeze.conv_expand.bias.detach().to(device, dtype)
        self.project, self.project_bias = _matrix(last, device, dtype), _floats(last.bias, device)

    def __call__(self, x: torch.Tensor, steps: Steps) -> torch.Tensor:
        expanded = x
        if self.expand is not None:
            expanded = F.linear(self.gather(x) if self.gather else x, self.expand)
        y, means = steps.depthwise(expanded, self)
        squeezed = F.silu(F.linear(means.to(self.reduce.dtype), self.reduce, self.reduce_bias))
        gates = F.linear(squeezed, self.excite, self.excite_bias).sigmoid()
        count, height, width, channels = y.shape
        if height * width > 2 * len(self.project):  # there are fewer weights than pixels
            weights = self.project * gates[:, None]
            z = torch.bmm(y.view(count, height * width, channels), weights.transpose(1, 2))
            z = z.view(count, height, width, -1)
        else:
            steps.scale(y, gates)
            z = F.linear(y, self.project)
        steps.finish(z, self.project_bias, x if self.has_skip else None, activate=False)
        return z


def _matrix(convolution: nn.Conv2d, device: torch.device | str, dtype: torch.dtype) -> torch.Tensor:
    """The weights (outputs, inputs) of a 1x1 convolution."""
    return convolution.weight.detach().flatten(1).to(device, dtype)


def _floats(parameter: torch.Tensor, device: torch.device | str) -> torch.Tensor:
    return parameter.detach().to(device, torch.float32)


def _padding(side: int, kernel: int, stride: int) -> tuple[int, int]:
    """Pixels before and behind the image: TensorFlow's "same", which puts an odd one behind."""
    total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    return total // 2, total - total // 2


def _over(x: torch.Tensor) -> Sequence[tuple[int, int, int]]:
    """Grid and block for a thread for each eight numbers."""
    return (-(-x.numel() // 8 // _THREADS), 1, 1), (_THREADS, 1, 1)
