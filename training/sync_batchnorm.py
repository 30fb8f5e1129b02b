"""Batch norms that take mean and variance over the batches of all processes, on GPUs and on CPUs.

PyTorch's SyncBatchNorm asks in each layer which processes came without a sample, and the host waits for the GPU three
times to learn it: with the 163 batch norms of a B7 no step gets ahead of the GPU. Here none comes without one. On CPUs,
where PyTorch has none, it is made of differentiable all-reduces: slower, of equal results, so that training on several
CPU processes is training with one larger batch.
"""

import torch
import torch.distributed as dist
from timm.layers import BatchNormAct2d
from torch import nn
from torch.autograd.function import Function, FunctionCtx, once_differentiable
from torch.distributed.nn.functional import all_reduce

_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}  # by the number of dimensions


class SyncedBatchNormAct(BatchNormAct2d):
    """timm's batch norm with activation, whose statistics are those of all processes. State-dict keys are the same."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.drop(_normed(self, x))) if self.training else super().forward(x)


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """PyTorch's, in the same way."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _normed(self, x) if self.training else super().forward(x)


class SyncedBatchNorm3d(nn.BatchNorm3d):
    """PyTorch's for clips, in the same way."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _normed(self, x) if self.training else super().forward(x)


_SYNCED = {
    BatchNormAct2d: SyncedBatchNormAct,
    nn.BatchNorm2d: SyncedBatchNorm2d,
    nn.BatchNorm3d: SyncedBatchNorm3d,
}


def convert_sync_batchnorm(model: nn.Module) -> nn.Module:
    """Replace a model's batch norms in place, and return it. No process may then train on an empty batch."""
    for module in model.modules():
        # the same attributes, another forward
        module.__class__ = _SYNCED.get(type(module), type(module))
    return model


def _normed(norm: nn.modules.batchnorm._BatchNorm, x: torch.Tensor) -> torch.Tensor:
    """(n, c, ...) by mean and variance over all processes, of the same type."""
    with torch.no_grad():
        norm.num_batches_tracked += 1
    return OnGpu.apply(x, norm.weight, norm.bias, norm) if x.is_cuda else _on_cpu(norm, x).to(x.dtype)


class OnGpu(Function):
    """By PyTorch's kernels for it: one all-gather forward, of every process's mean, inverse deviation and number of
    values for each channel, one all-reduce backward."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        norm: nn.modules.batchnorm._BatchNorm,
    ) -> torch.Tensor:
        x = x.contiguous(memory_format=_format_of(x))
        mean, inverse = torch.batch_norm_stats(x, norm.eps)
        mine = torch.cat([mean, inverse, mean.new_full((1,), x.numel() // x.shape[1])])
        gathered = mine.new_empty(dist.get_world_size(), len(mine))
        dist.all_gather_into_tensor(gathered, mine)
        means, inverses, counts = gathered.split(x.shape[1], dim=1)
        counts = counts.flatten()
        running = norm.running_mean, norm.running_var
        mean, inverse = torch.batch_norm_gather_stats_with_counts(
            x, means, inverses, *running, norm.momentum, norm.eps, counts
        )
        ctx.save_for_backward(x, weight, mean, inverse, counts.int())
        return torch.batch_norm_elemt(x, weight, bias, mean, inverse, norm.eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, mean, inverse, counts = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad[:3]
        gradient = gradient.contiguous(memory_format=_format_of(x))
        *sums, weight_gradient, bias_gradient = torch.batch_norm_backward_reduce(
            gradient, x, mean, inverse, weight, of_x, of_weight, of_bias
        )
        x_gradient = None
        if of_x:
            together = torch.stack(sums)
            dist.all_reduce(together)
            x_gradient = torch.batch_norm_backward_elemt(gradient, x, mean, inverse, weight, *together, counts)
        return x_gradient, weight_gradient if of_weight else None, bias_gradient if of_bias else None, None


def _format_of(x: torch.Tensor) -> torch.memory_format:
    """Channels last where that is how it lies."""
    last = _CHANNELS_LAST.get(x.ndim)
    return last if last and x.is_contiguous(memory_format=last) else torch.contiguous_format


def _on_cpu(norm: nn.modules.batchnorm._BatchNorm, x: torch.Tensor) -> torch.Tensor:
    """The same, float32."""
    # in fp32, and the square of what is left of the mean: no difference of large numbers
    values = x.float()
    others, of_channel = (0, *range(2, x.ndim)), (-1, *[1] * (x.ndim - 2))
    count = all_reduce(torch.tensor(float(values[:, 0].numel())))
    mean = all_reduce(values.sum(others)) / count
    centred = values - mean.view(of_channel)
    variance = all_reduce(centred.square().sum(others)) / count
    with torch.no_grad():
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(variance * count / (count - 1).clamp(min=1), norm.momentum)
    scale = norm.weight * (variance + norm.eps).rsqrt()
    return centred * scale.view(of_channel) + norm.bias.view(of_channel)
