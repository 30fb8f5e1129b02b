"""The loss: binary cross-entropy over fakes and over reals, each class with half the weight."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

LOSSES: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    # logits and labels (n,) to a loss for each sample
    "BinaryCrossentropy": lambda logits, labels: F.binary_cross_entropy_with_logits(logits, labels, reduction="none"),
}


@dataclass(frozen=True, kw_only=True)
class SplitLoss:
    """Scalars: mean loss of fakes, of reals, and half their sum, of which the gradient is taken."""

    fake: torch.Tensor
    real: torch.Tensor

    @property
    def total(self) -> torch.Tensor:
        return (self.fake + self.real) / 2


def split_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    *,
    weights: dict[str, float],
    keep: torch.Tensor | None = None,
    ohem_samples: int | None = None,
    sum_over_ranks: Callable[[torch.Tensor], torch.Tensor] | None = None,
    world_size: int = 1,
) -> SplitLoss:
    """Mean loss over labels > 0.5 and over the rest (published pipeline, train_classifier.py); a class that is missing
    counts 0.

    logits, labels: (n, 1), any float dtype; computed in fp32. `weights` are of the LOSSES by name. `keep` (n,), bool:
    samples to count. `ohem_samples`: only that many of the largest losses of each class count (arXiv:1604.03540).

    On several processes `sum_over_ranks` adds up a tensor of counts: the means are over the whole batch, so that the
    gradients, averaged by DDP, are those of one process with all samples. The result is then this process's share
    times `world_size`.
    """
    logits, labels = logits.float().flatten(), labels.float().flatten()
    losses = sum(weight * LOSSES[name](logits, labels) for name, weight in weights.items())
    is_fake = labels > 0.5
    classes = torch.stack([is_fake, ~is_fake])
    if keep is not None:
        classes = classes & keep
    counts = classes.sum(1).float()
    # without boolean indexing a GPU need not wait to learn how many there are
    chosen = torch.where(classes, losses, torch.zeros_like(losses))
    if ohem_samples is not None:
        chosen = chosen.topk(min(ohem_samples, len(losses)), dim=1, sorted=False).values
        counts = counts.clamp(max=ohem_samples)
    if sum_over_ranks is not None:
        counts = sum_over_ranks(counts)
    fake, real = chosen.sum(1) * world_size / counts.clamp(min=1)
    return SplitLoss(fake=fake, real=real)
