"""The one-cycle schedule (arXiv:1708.07120) as plain functions of the step, so that a resumed run needs no state."""

import math
from dataclasses import dataclass

import torch


@dataclass(frozen=True, kw_only=True)
class OneCycle:
    """Up to the base rate and down again within `total_steps`, with the parameters of PyTorch's OneCycleLR.

    The first rate is the base rate divided by `div_factor`. In the first `pct_start` of the steps the rate rises, along
    a cosine or with `mode` "linear" along a line; then it falls along a cosine to the first rate divided by
    `final_div_factor`. Where `betas` are given Adam's first beta goes the other way, from the first to the second and
    back. Raises ValueError for what is no cycle.
    """

    total_steps: int
    pct_start: float = 0.3
    div_factor: float = 25
    final_div_factor: float = 1e4
    mode: str = "cosine"
    betas: tuple[float, float] | None = None

    def __post_init__(self):
        for fine, message in (
            (self.total_steps >= 1, "total_steps must be 1 or more"),
            (0 < self.pct_start < 1, "pct_start must be above 0 and below 1"),
            (min(self.div_factor, self.final_div_factor) >= 1, "div_factor and final_div_factor must be 1 or more"),
            (self.mode in ("cosine", "linear"), "mode must be one of cosine, linear"),
            (
                self.betas is None or (len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas)),
                "betas must be two numbers from 0 to below 1",
            ),
        ):
            if not fine:
                raise ValueError(message)

    def __call__(self, step: int, base: float) -> float:
        """The rate used in a step, counted from 0. Raises ValueError beyond the last."""
        first = base / self.div_factor
        return self._value(step, first, base, first / self.final_div_factor, linear=self.mode == "linear")

    def set_beta1(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        """Prepare an Adam or AdamW for a step."""
        if self.betas is not None:
            first, peak = self.betas
            beta1 = self._value(step, first, peak, first, linear=self.mode == "linear")
            for group in optimizer.param_groups:
                group["betas"] = (beta1, group["betas"][1])

    def _value(self, step: int, first: float, peak: float, last: float, *, linear: bool) -> float:
        if not 0 <= step < self.total_steps:
            raise ValueError(f"step {step} of a schedule of {self.total_steps}: plan as many epochs as are trained")
        top = self.pct_start * self.total_steps - 1
        if step < top:
            return first + (peak - first) * step / top if linear else _cosine(first, peak, step / top)
        return _cosine(peak, last, (step - top) / (self.total_steps - 1 - top))


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))
