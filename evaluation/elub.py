"""Within which bounds likelihood ratios may be believed, by how many videos they were seen on (ELUB).

    python -c "import numpy as np; from evaluation.elub import elub; print(elub(np.array([-2, 2.0]), np.arange(2)))"

Vergeer, van Es, de Jongh, Alberink and Stoel, Numerical likelihood ratios outputted by LR systems are often based on
extrapolation: when to stop extrapolating? Science and Justice 56 (2016) 482-491. A ratio is believed as far as
decisions by it cost less than decisions without it, with one more misleading ratio on each side than were seen. So n
videos of the other kind allow no ratio above n + 1. The Netherlands Forensic Institute's `lir` computes it.
"""

import numpy as np

MOST = 9.0  # log10; what is beyond counts as this


def elub(log10_lr: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """The lower (at most 0) and the upper bound (at least 0) of log10 likelihood ratios.

    Takes log10 likelihood ratios (n,), which may be infinite, of videos that they were not learned from, and labels
    (n,), 1 for fake and 0 for real, with both present. The upper bound is told by the real videos, the lower one by the
    fakes. Of 100,000 videos it takes 1.1 GB.
    """
    from lir.algorithms import bayeserror  # It takes seconds to load.

    ratios = np.array(log10_lr, np.float64)  # a copy, which it changes
    lower, upper = bayeserror.elub(ratios, np.asarray(labels), substitute_extremes=(-MOST, MOST))
    return round(float(lower), 2), round(float(upper), 2)  # in steps of 0.01, as it tries them
