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
        if not self.training:
            return super().forward(x)
        # in fp32, and the square of what is left of the mean: no difference of large numbers
        values = x.float()
        count = all_reduce(torch.tensor(float(values[:, 0].numel())))
        mean = all_reduce(values.sum((0, 2, 3))) / count
        centred = values - mean[:, None, None]
        variance = all_reduce(centred.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1).clamp(min=1), self.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        normed = centred * scale[:, None, None] + self.bias[:, None, None]
        return self.act(self.drop(normed.to(x.dtype)))


def convert_sync_batchnorm(model: nn.Module, device: torch.device) -> nn.Module:
    """Replace the batch norms of timm's encoders in place where possible, and return the model."""
    if device.type == "cuda":
        return timm.layers.convert_sync_batchnorm(model)
    for module in model.modules():
        if type(module) is BatchNormAct2d:
            module.__class__ = CpuSyncBatchNormAct  # the same attributes, another forward
    return model
