"""The learning rate and first beta of each step, as plain functions of it, so that a resumed run needs no state."""

import math
from dataclasses import dataclass

import torch


@dataclass(frozen=True, kw_only=True)
class OneCycle:
    """Up to `max_lr` and down again (arXiv:1708.07120), as PyTorch's OneCycleLR plans it, for `total_steps` steps.

    From `first_lr` in the first `rising` of the steps to `max_lr`, linearly or along a cosine, then along a cosine to
    `last_lr`. Where `betas` are given the first beta goes the other way, from the first to the second and back.
    """

    total_steps: int
    max_lr: float
    first_lr: float
    last_lr: float
    rising: float
    linear: bool = False
    betas: tuple[float, float] | None = None

    def __post_init__(self):
        if self.total_steps < 1 or not 0 < self.rising < 1:
            raise ValueError(f"{self.total_steps} steps, of which {self.rising} rise: give 1 or more, and a share")

    def lr(self, step: int) -> float:
        """The rate used in a step, counted from 0. Raises ValueError beyond the last."""
        return self._value(step, self.first_lr, self.max_lr, self.last_lr, self.linear)

    def beta1(self, step: int) -> float | None:
        """Adam's first beta used in a step; None where it stays as it is."""
        if self.betas is None:
            return None
        return self._value(step, self.betas[0], self.betas[1], self.betas[0], self.linear)

    def set_step(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        """Prepare an Adam or AdamW for a step."""
        for group in optimizer.param_groups:
            group["lr"] = self.lr(step)
            if self.betas is not None:
                group["betas"] = (self.beta1(step), group["betas"][1])

    def _value(self, step: int, first: float, peak: float, last: float, linear: bool) -> float:
        if not 0 <= step < self.total_steps:
            raise ValueError(f"step {step} of a schedule of {self.total_steps}: plan as many epochs as are trained")
        top = self.rising * self.total_steps - 1
        if step < top:
            return first + (peak - first) * step / top if linear else _cosine(first, peak, step / top)
        return _cosine(peak, last, (step - top) / (self.total_steps - 1 - top))


def clip_schedule(total_steps: int, max_lr: float) -> OneCycle:
    """Of the 3D models: OneCycleLR's defaults."""
    first = max_lr / 25
    return OneCycle(
        total_steps=total_steps, max_lr=max_lr, first_lr=first, last_lr=first / 1e4, rising=0.3, betas=(0.95, 0.85)
    )


def frame_schedule(total_steps: int) -> OneCycle:
    """Of the 2D model."""
    return OneCycle(total_steps=total_steps, max_lr=1e-4, first_lr=4e-6, last_lr=1e-12, rising=0.1, linear=True)


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))
