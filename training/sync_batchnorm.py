"""Batch norms that take mean and variance over the batches of all processes, on GPUs and on CPUs.

PyTorch's SyncBatchNorm needs a GPU. On CPUs it is replaced by a plain one made of differentiable all-reduces: slower,
of equal results, so that training on several CPU processes is training with one larger batch.
"""

import timm.layers
import torch
from timm.layers import BatchNormAct2d
from torch import nn
from torch.distributed.nn.functional import all_reduce


class CpuSyncBatchNormAct(BatchNormAct2d):
    """timm's batch norm with activation, whose statistics are those of all processes. State-dict keys are the same."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.drop(_normed(self, x).to(x.dtype))) if self.training else super().forward(x)


class CpuSyncBatchNorm2d(nn.BatchNorm2d):
    """PyTorch's, in the same way."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _normed(self, x).to(x.dtype) if self.training else super().forward(x)


class CpuSyncBatchNorm3d(nn.BatchNorm3d):
    """PyTorch's for clips, in the same way."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _normed(self, x).to(x.dtype) if self.training else super().forward(x)


_ON_CPUS = {
    BatchNormAct2d: CpuSyncBatchNormAct,
    nn.BatchNorm2d: CpuSyncBatchNorm2d,
    nn.BatchNorm3d: CpuSyncBatchNorm3d,
}


def _normed(norm: nn.modules.batchnorm._BatchNorm, x: torch.Tensor) -> torch.Tensor:
    """(n, c, ...) by mean and variance over all processes, float32."""
    # in fp32, and the square of what is left of the mean: no difference of large numbers
    values = x.float()
    others, of_channel = (0, *range(2, x.ndim)), (-1, *[1] * (x.ndim - 2))
    count = all_reduce(torch.tensor(float(values[:, 0].numel())))
    mean = all_reduce(values.sum(others)) / count
    centred = values - mean.view(of_channel)
    variance = all_reduce(centred.square().sum(others)) / count
    with torch.no_grad():
        norm.num_batches_tracked += 1
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(variance * count / (count - 1).clamp(min=1), norm.momentum)
    scale = norm.weight * (variance + norm.eps).rsqrt()
    return centred * scale.view(of_channel) + norm.bias.view(of_channel)


def convert_sync_batchnorm(model: nn.Module, device: torch.device) -> nn.Module:
    """Replace a model's batch norms, in place where possible, and return it."""
    if device.type == "cuda":
        return timm.layers.convert_sync_batchnorm(model)
    for module in model.modules():
        # the same attributes, another forward
        module.__class__ = _ON_CPUS.get(type(module), type(module))
    return model
