"""Learning-rate schedules as plain functions of the position, so that a resumed run needs no state of theirs.

A schedule is made from its "params" and maps (position, base rate) to the rate in effect at that position; the first
position is 0. Names and parameters are those of the winner's pipeline and of PyTorch. One that ends with the run has a
parameter `total_steps`, which no configuration gives.
"""

import bisect
import math
from collections.abc import Callable, Sequence

from training.one_cycle import OneCycle

Schedule = Callable[[int, float], float]


def constant() -> Schedule:
    return lambda position, base: base


def poly(*, max_iter: int, power: float = 0.9) -> Schedule:
    """base * (1 - position / max_iter) ** power, and 0 from max_iter on (DeepLab, arXiv:1606.00915)."""
    _check(max_iter >= 1, "max_iter must be 1 or more")
    _check(power > 0, "power must be above 0")
    return lambda position, base: base * max(0.0, 1 - position / max_iter) ** power


def step(*, steps: Sequence[Sequence[float]]) -> Schedule:
    """[[from position, rate], ...]: the rates themselves, whatever the base; before the first one its rate."""
    _check(bool(steps) and all(len(pair) == 2 for pair in steps), "steps must be [[position, rate], ...]")
    positions = [position for position, _ in steps]
    _check(positions == sorted(positions), "steps must be in order of position")
    return lambda position, base: steps[max(bisect.bisect_right(positions, position) - 1, 0)][1]


def multistep(*, milestones: Sequence[int], gamma: float = 0.1) -> Schedule:
    """The rate is multiplied by `gamma` at each milestone."""
    ordered = sorted(milestones)
    return lambda position, base: base * gamma ** bisect.bisect_right(ordered, position)


def exponential(*, gamma: float) -> Schedule:
    _check(0 < gamma <= 1, "gamma must be above 0 and at most 1")
    return lambda position, base: base * gamma**position


def linear(*, alpha: float, beta: float) -> Schedule:
    """base * (position * alpha + beta), at least 0."""
    return lambda position, base: base * max(0.0, position * alpha + beta)


def clr(
    *,
    base_lr: float,
    max_lr: float,
    step_size: int = 2000,
    mode: str = "triangular",
    gamma: float = 1.0,
) -> Schedule:
    """Cyclical rates (arXiv:1506.01186) from base_lr up to max_lr in `step_size` positions and down again. Mode
    "triangular2" halves the height with each cycle, "exp_range" multiplies it by gamma ** position."""
    _check(step_size >= 1, "step_size must be 1 or more")
    heights = {
        "triangular": lambda cycle, position: 1.0,
        "triangular2": lambda cycle, position: 0.5**cycle,
        "exp_range": lambda cycle, position: gamma**position,
    }
    _check(mode in heights, f"mode must be one of {', '.join(heights)}")

    def rate(position: int, base: float) -> float:
        cycle = math.floor(position / (2 * step_size))
        way = abs(position / step_size - 2 * cycle - 1)  # 1 at the ends of a cycle, 0 at its peak
        return base_lr + (max_lr - base_lr) * (1 - way) * heights[mode](cycle, position)

    return rate


SCHEDULES = {
    "poly": poly,
    "step": step,
    "multistep": multistep,
    "exponential": exponential,
    "constant": constant,
    "linear": linear,
    "clr": clr,
    "one_cycle": OneCycle,
}


def _check(fine: bool, message: str) -> None:
    if not fine:
        raise ValueError(message)
