"""The networks as engines want them that trace what a network does: nothing in them depends on a clip's length."""

import torch
from torch import nn

from systems.medics.i3d import I3D, SamePool, Triple, Unit, pad_same


def traceable(network: nn.Module) -> nn.Module:
    """The network, changed in place so that a tracer takes no clip's length for a constant: in I3D it decides how much
    is padded."""
    if isinstance(network, I3D):
        for parent in list(network.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, Unit):
                    conv = child.conv3d
                    setattr(parent, name, nn.Sequential(_padded(conv), conv, child.bn, nn.ReLU()))
                elif isinstance(child, SamePool):
                    pool = nn.MaxPool3d(child.kernel, child.stride)
                    setattr(parent, name, nn.Sequential(_padded(pool), pool))
    return network


def _padded(layer: nn.Conv3d | nn.MaxPool3d) -> nn.Module:
    """What pads a layer's input as I3D does. With a stride of 1 that is the layer's own padding, which takes no copy;
    a pooling's is minus infinity, the same to it as zeros beside what ReLU made."""
    if max(layer.stride) > 1:
        return SamePadding(layer.kernel_size, layer.stride)
    layer.padding = tuple(size // 2 for size in layer.kernel_size)
    return nn.Identity()


class SamePadding(nn.Module):
    """I3D's padding as a layer."""

    def __init__(self, kernel: Triple, stride: Triple):
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return pad_same(x, self.kernel, self.stride)
