"""Within which bounds likelihood ratios may be believed, by how many videos they were seen on (ELUB).

    python -c "import numpy as np; from evaluation.elub import elub; print(elub(np.array([-2, 2.0]), np.arange(2)))"

Vergeer, van Es, de Jongh, Alberink and Stoel, Numerical likelihood ratios outputted by LR systems are often based on
extrapolation: when to stop extrapolating? Science and Justice 56 (2016) 482-491. A ratio is believed as far as
decisions by it cost less than decisions without it, with one more misleading ratio on each side than were seen. So n
videos of the other kind allow no ratio above n + 1.
"""

import numpy as np

_STEP = 0.01  # of the thresholds that are tried, in log10: as the authors and NFI's lir have it
MOST = 9.0  # log10; what is beyond counts as this


def elub(log10_lr: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """The lower (at most 0) and the upper bound (at least 0) of log10 likelihood ratios.

    Takes log10 likelihood ratios (n,), which may be infinite, of videos that they were not learned from, and labels
    (n,), 1 for fake and 0 for real, with both present. The upper bound is told by the real videos, the lower one by the
    fakes.
    """
    ratios = np.clip(log10_lr, -MOST, MOST)
    fake, real = np.sort(10 ** ratios[labels == 1]), np.sort(10 ** ratios[labels == 0])
    first = min(0, int(np.floor_divide(max(ratios.min(), -np.log10(len(fake) + 1)), _STEP)))
    last = max(0, int(np.floor_divide(min(ratios.max(), np.log10(len(real) + 1)), _STEP)) + 1)
    thresholds = np.linspace(first * _STEP, last * _STEP, last - first + 1)
    too_dear = costs_at(thresholds, fake, real) > np.minimum(
        1.0, 10**thresholds
    )  # what costs more than to know nothing
    lower = np.max(thresholds[(thresholds <= 0) & too_dear] + _STEP, initial=thresholds[0])
    upper = np.min(thresholds[(thresholds >= 0) & too_dear] - _STEP, initial=thresholds[-1])
    return round(float(min(lower, 0.0)), 2), round(float(max(upper, 0.0)), 2)


def costs_at(thresholds: np.ndarray, fake: np.ndarray, real: np.ndarray) -> np.ndarray:
    """What it costs to call fake what has a ratio above a threshold (k,) in log10, where a real video that is called
    fake costs 10**threshold times as much as a fake that is not: (k,). `fake` and `real` are ratios, sorted; one that
    misleads is added to each."""
    limits = 10**thresholds
    found = (len(fake) - np.searchsorted(fake, limits, side="right")) / (len(fake) + 1)
    accused = (len(real) - np.searchsorted(real, limits, side="right") + 1) / (len(real) + 1)
    return 1 - found + limits * accused
