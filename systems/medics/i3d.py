"""I3D: Inception-v1 with its filters and pooling inflated into time (Carreira and Zisserman, CVPR 2017).

Keys of the state dict are those of the PyTorch port that the published checkpoints come from: `Conv3d_1a_7x7.conv3d`,
`Mixed_4b.b1a.bn`, `logits.conv3d`, ...
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

# name: channels in, then of the six convolutions b0, b1a, b1b, b2a, b2b, b3b
_MIXED = {
    "Mixed_3b": (192, 64, 96, 128, 16, 32, 32),
    "Mixed_3c": (256, 128, 128, 192, 32, 96, 64),
    "Mixed_4b": (480, 192, 96, 208, 16, 48, 64),
    "Mixed_4c": (512, 160, 112, 224, 24, 64, 64),
    "Mixed_4d": (512, 128, 128, 256, 24, 64, 64),
    "Mixed_4e": (512, 112, 144, 288, 32, 64, 64),
    "Mixed_4f": (528, 256, 160, 320, 32, 128, 128),
    "Mixed_5b": (832, 256, 160, 320, 32, 128, 128),
    "Mixed_5c": (832, 384, 192, 384, 48, 128, 128),
}
Triple = tuple[int, int, int]


class I3D(nn.Module):
    """Float (n, 3, t, h, w), RGB, -1 to 1, t of 9 or more, h and w of 193 or more (published: 224), to logits
    (n, classes): the mean over all positions in time and space."""

    def __init__(self, classes: int = 2, dropout: float = 0.5):
        super().__init__()
        self.Conv3d_1a_7x7 = Unit(3, 64, kernel=7, stride=2)
        self.pool_2a = SamePool((1, 3, 3), (1, 2, 2))
        self.Conv3d_2b_1x1 = Unit(64, 64)
        self.Conv3d_2c_3x3 = Unit(64, 192, kernel=3)
        self.pool_3a = SamePool((1, 3, 3), (1, 2, 2))
        self.Mixed_3b = Mixed(*_MIXED["Mixed_3b"])
        self.Mixed_3c = Mixed(*_MIXED["Mixed_3c"])
        self.pool_4a = SamePool((3, 3, 3), (2, 2, 2))
        self.Mixed_4b = Mixed(*_MIXED["Mixed_4b"])
        self.Mixed_4c = Mixed(*_MIXED["Mixed_4c"])
        self.Mixed_4d = Mixed(*_MIXED["Mixed_4d"])
        self.Mixed_4e = Mixed(*_MIXED["Mixed_4e"])
        self.Mixed_4f = Mixed(*_MIXED["Mixed_4f"])
        self.pool_5a = SamePool((2, 2, 2), (2, 2, 2))
        self.Mixed_5b = Mixed(*_MIXED["Mixed_5b"])
        self.Mixed_5c = Mixed(*_MIXED["Mixed_5c"])
        self.pool = nn.AvgPool3d((2, 7, 7), stride=1)
        self.dropout = nn.Dropout(dropout)
        self.logits = Classifier(1024, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool_2a(self.Conv3d_1a_7x7(x))
        x = self.pool_3a(self.Conv3d_2c_3x3(self.Conv3d_2b_1x1(x)))
        x = self.pool_4a(self.Mixed_3c(self.Mixed_3b(x)))
        x = self.Mixed_4f(self.Mixed_4e(self.Mixed_4d(self.Mixed_4c(self.Mixed_4b(x)))))
        x = self.Mixed_5c(self.Mixed_5b(self.pool_5a(x)))
        return self.logits(self.dropout(self.pool(x))).mean((2, 3, 4))


class Mixed(nn.Module):
    """Four branches side by side: 1, 1 and 3, 1 and 3, pooling and 1."""

    def __init__(self, channels: int, n0: int, n1: int, n2: int, n3: int, n4: int, n5: int):
        super().__init__()
        self.b0 = Unit(channels, n0)
        self.b1a, self.b1b = Unit(channels, n1), Unit(n1, n2, kernel=3)
        self.b2a, self.b2b = Unit(channels, n3), Unit(n3, n4, kernel=3)
        self.b3a, self.b3b = SamePool((3, 3, 3), (1, 1, 1)), Unit(channels, n5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(self.b3a(x))], dim=1)


class Unit(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, channels: int, out: int, kernel: int = 1, stride: int = 1):
        super().__init__()
        self.conv3d = nn.Conv3d(channels, out, kernel, stride, bias=False)
        self.bn = nn.BatchNorm3d(out, eps=1e-3, momentum=0.01)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = pad_same(x, self.conv3d.kernel_size, self.conv3d.stride)
        return F.relu(self.bn(self.conv3d(x)), inplace=True)


class Classifier(nn.Module):
    """A convolution of 1, with bias, in the place that its published key names."""

    def __init__(self, channels: int, classes: int):
        super().__init__()
        self.conv3d = nn.Conv3d(channels, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv3d(x)


class SamePool(nn.Module):
    """Max pooling of zero-padded input, so that each stride gives one output, as in TensorFlow."""

    def __init__(self, kernel: Triple, stride: Triple):
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.max_pool3d(pad_same(x, self.kernel, self.stride), self.kernel, self.stride)


def pad_same(x: torch.Tensor, kernel: Sequence[int], stride: Sequence[int]) -> torch.Tensor:
    """Zeros around time, height and width: half of what the last window lacks before, the rest after. No kernel may be
    smaller than its stride. A tracer can follow the arithmetic for any size."""
    if max(kernel) == 1:
        return x
    padding: list[int] = []
    for axis, (k, s) in enumerate(zip(kernel, stride, strict=True), start=2):
        lacking = k - 1 - (x.shape[axis] - 1) % s
        padding = [lacking // 2, lacking - lacking // 2, *padding]  # PyTorch names the last axis first
    return F.pad(x, padding)
