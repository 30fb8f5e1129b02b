"""3D ResNets with shortcut A (Hara, Kataoka and Satoh, CVPR 2018): shortcuts without parameters.

Keys of the state dict are those of the published Kinetics weights without their "module.".
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn


class ResNet34(nn.Module):
    """Float (n, 3, t, h, w), RGB, 0 to 255, to logits (n, classes). `blocks` of each of the four layers; `width` is the
    first layer's, which doubles in each.

    In the published code no gradient goes through the three shortcuts that change the width; with `shortcut_gradient`
    it does.
    """

    def __init__(
        self,
        classes: int = 2,
        shortcut_gradient: bool = True,
        blocks: Sequence[int] = (3, 4, 6, 3),
        width: int = 64,
    ):
        super().__init__()
        self.conv1 = nn.Conv3d(3, width, 7, stride=(1, 2, 2), padding=3, bias=False)
        self.bn1 = nn.BatchNorm3d(width)
        self.maxpool = nn.MaxPool3d(3, stride=2, padding=1)
        channels = width
        for number, count in enumerate(blocks, start=1):
            layer = nn.Sequential()
            for block in range(count):
                stride = 2 if number > 1 and block == 0 else 1
                layer.append(BasicBlock(channels, width << number - 1, stride, shortcut_gradient))
                channels = width << number - 1
            setattr(self, f"layer{number}", layer)
        self.fc = nn.Linear(channels, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.maxpool(F.relu(self.bn1(self.conv1(x)), inplace=True))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3, 4)))


class BasicBlock(nn.Module):
    """Two convolutions of 3 beside a shortcut: where the width changes, every `stride`-th element of the input, and
    zeros in the new channels."""

    def __init__(self, channels: int, width: int, stride: int, shortcut_gradient: bool):
        super().__init__()
        self.conv1 = nn.Conv3d(channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm3d(width)
        self.conv2 = nn.Conv3d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm3d(width)
        self.shortcut_gradient = shortcut_gradient

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(out)) + self._shortcut(x), inplace=True)

    def _shortcut(self, x: torch.Tensor) -> torch.Tensor:
        channels, width, stride = self.conv1.in_channels, self.conv1.out_channels, self.conv1.stride[0]
        if width == channels:
            return x
        shortcut = F.pad(x[:, :, ::stride, ::stride, ::stride], (0, 0, 0, 0, 0, 0, 0, width - channels))
        return shortcut if self.shortcut_gradient else shortcut.detach()
