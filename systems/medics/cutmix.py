"""CutMix in three dimensions and in two, and mixup (arXiv:1905.04899, arXiv:1710.09412).

A box of each sample is replaced by the same box of another sample of the batch, or the two are blended; the losses of
the two labels are weighted alike. `lam` is the share of the sample itself, drawn for each sample and 0.5 or more.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F


@dataclass(frozen=True, kw_only=True)
class Mix:
    """How a batch of n is mixed: `lam` float64 (n,); `sources` int64 (n,), the sample that each is mixed with;
    `boxes` int64 (n, axes, 2), first and end along each axis of the box that is replaced; None for mixup."""

    lam: np.ndarray
    sources: np.ndarray
    boxes: np.ndarray | None


def draw_cutmix(n: int, sizes: Sequence[int], generator: np.random.Generator) -> Mix:
    """CutMix of n samples whose axes (time, height, width, or the latter two) have `sizes`."""
    lam = larger_share(generator.beta(1, 1, n))
    sources = generator.permutation(n)
    centres = np.stack([generator.integers(size, size=n) for size in sizes], axis=1)
    return cutmix_of(lam, sources, centres, sizes)


def draw_mixup(n: int, generator: np.random.Generator, alpha: float = 0.4) -> Mix:
    """Mixup of n samples."""
    return Mix(lam=larger_share(generator.beta(alpha, alpha, n)), sources=generator.permutation(n), boxes=None)


def larger_share(draws: np.ndarray) -> np.ndarray:
    """Beta draws to `lam`: the larger of the two shares is the sample's own."""
    return np.maximum(draws, 1 - draws)


def cutmix_of(lam: np.ndarray, sources: np.ndarray, centres: np.ndarray, sizes: Sequence[int]) -> Mix:
    """The boxes of given draws: edges of floor(size * (1 - lam) ** (1 / axes)) about `centres` int (n, axes), cut at
    the sample's borders; `lam` becomes what is left of the sample by then."""
    limits = np.array(sizes)
    edges = (limits * (1 - lam)[:, None] ** (1 / len(limits))).astype(np.int64)
    starts = np.clip(centres - edges // 2, 0, limits)
    ends = np.clip(centres + edges // 2, 0, limits)
    replaced = (ends - starts).prod(axis=1) / limits.prod()
    return Mix(lam=1 - replaced, sources=np.asarray(sources), boxes=np.stack([starts, ends], axis=2))


def mix_batch(batch: torch.Tensor, mix: Mix) -> torch.Tensor:
    """A batch (n, channels, *axes), float, mixed; a new tensor.

    Boxes are pasted from the batch as it was (published: in place, so that a source may have been changed before).
    """
    if mix.boxes is None:
        lam = _shares(mix, batch).view(-1, *[1] * (batch.ndim - 1))
        return lam * batch + (1 - lam) * batch[_sources(mix, batch)]
    mixed = batch.clone()
    for sample, (source, box) in enumerate(zip(mix.sources, mix.boxes, strict=True)):
        inside = (slice(None), *(slice(int(start), int(end)) for start, end in box))
        mixed[(sample, *inside)] = batch[(int(source), *inside)]
    return mixed


def mixed_cross_entropy(logits: torch.Tensor, labels: torch.Tensor, mix: Mix) -> torch.Tensor:
    """The 3D models' mean loss of logits (n, 2) and labels int64 (n,)."""
    return _mixed(F.cross_entropy, logits, labels, mix)


def mixed_binary_cross_entropy(logits: torch.Tensor, labels: torch.Tensor, mix: Mix) -> torch.Tensor:
    """The 2D model's mean loss of logits (n,) and labels float (n,), 1 for a fake. (Published mixup takes every share
    with every loss, which decouples them.)"""
    return _mixed(F.binary_cross_entropy_with_logits, logits, labels, mix)


def _mixed(loss: Callable[..., torch.Tensor], logits: torch.Tensor, labels: torch.Tensor, mix: Mix) -> torch.Tensor:
    own = loss(logits, labels, reduction="none")
    other = loss(logits, labels[_sources(mix, labels)], reduction="none")
    lam = _shares(mix, own)
    return (lam * own + (1 - lam) * other).mean()


def _shares(mix: Mix, like: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(mix.lam).to(device=like.device, dtype=like.dtype, non_blocking=True)


def _sources(mix: Mix, like: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(mix.sources).to(like.device, non_blocking=True)
