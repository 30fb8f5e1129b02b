"""How good likelihood ratios are: Cllr, what of it is discrimination (Cllr-min) and what calibration (Cllr-cal).

    python -c "import numpy as np; from evaluation.likelihood_ratios import *; print(cllr(np.zeros(2), np.arange(2)))"

A likelihood ratio says how many times as probable a score is for a fake as for a real video. All take log10 likelihood
ratios (n,) float64, which may be infinite, and labels (n,), 1 for fake and 0 for real, with both present. Cllr and
Cllr-min are the Netherlands Forensic Institute's `lir`'s; means over videos that are weighed, as intervals need them,
it does not have.

    cllr               the log likelihood ratio cost (Brümmer and du Preez 2006), in bits: half the mean of
                       log2(1 + 1/LR) over fakes, and half that of log2(1 + LR) over real videos. 0 is perfect; 1 is
                       what ratios of 1 have, which say nothing; beyond it they do harm
    cllr_min           what is left of it after the best calibration that keeps the order (PAV): discrimination
    cllr_cal           the rest: how badly the ratios are calibrated
    misleading_fake    the share of fakes whose ratio is below 1, and so supports that they are real
    misleading_real    the share of real videos whose ratio is above 1
"""

import numpy as np
from scipy.optimize import OptimizeResult, isotonic_regression

NAMES = ("cllr", "cllr_min", "cllr_cal", "misleading_fake", "misleading_real")
MEANS = ("cllr", "misleading_fake", "misleading_real")  # those that are means over fakes and over real videos


class WeightedMeans:
    """The figures of MEANS of some videos as a function of their weights, as evaluation/bootstrap.py takes it."""

    def __init__(self, log10_lr: np.ndarray, labels: np.ndarray):
        fake, zero = np.asarray(labels) == 1, np.zeros(len(labels))
        costs = costs_of_videos(log10_lr, labels) / 2
        self._fake = np.stack([fake, np.where(fake, costs, 0), fake & (log10_lr < 0), zero], axis=1).astype(np.float64)
        self._real = np.stack([~fake, np.where(fake, 0, costs), zero, ~fake & (log10_lr > 0)], axis=1).astype(
            np.float64
        )

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        """Figures (m, 3) float64, in the order of MEANS, of weights (m, n): NaN where a class is missing."""
        of_fakes, of_real = weights @ self._fake, weights @ self._real
        with np.errstate(invalid="ignore"):
            return of_fakes[:, 1:] / of_fakes[:, :1] + of_real[:, 1:] / of_real[:, :1]


def figures_of(log10_lr: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """All figures, by name."""
    means = WeightedMeans(log10_lr, labels)(np.ones((1, len(labels))))[0]
    figures = dict(zip(MEANS, means.tolist(), strict=True))
    least = cllr_min(log10_lr, labels)
    return {name: {**figures, "cllr_min": least, "cllr_cal": figures["cllr"] - least}[name] for name in NAMES}


def cllr(log10_lr: np.ndarray, labels: np.ndarray) -> float:
    from lir import metrics  # It takes seconds to load.

    return metrics.cllr(_as_lir_has_it(log10_lr, labels))


def cllr_min(log10_lr: np.ndarray, labels: np.ndarray) -> float:
    from lir import metrics  # It takes seconds to load.

    return metrics.cllr_min(_as_lir_has_it(log10_lr, labels))


def _as_lir_has_it(log10_lr: np.ndarray, labels: np.ndarray):
    from lir.data.models import LLRData  # It takes seconds to load.

    return LLRData(features=np.array(log10_lr, np.float64)[:, None], labels=np.asarray(labels))


def pav(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The log10 likelihood ratios (n,) that cost least of all that rise with `values` (pool adjacent violators).

    Only the order of the values counts. At the ends, where videos of one class only are, the ratios are 0 and infinite.
    """
    ranks = ranks_of(values)
    pooled, _ = pool(ranks, labels, balanced(labels))
    return log10_odds(pooled.x)[ranks]


def pool(ranks: np.ndarray, labels: np.ndarray, shares: np.ndarray) -> tuple[OptimizeResult, np.ndarray]:
    """The share of fakes that fits best by least squares of all that rise with `ranks` (n,) int64, from 0 on, as
    scipy.optimize.isotonic_regression returns it: `x` for each rank that weighs anything; and which these are."""
    total = np.bincount(ranks, shares)
    taken = np.flatnonzero(total)
    fakes = np.bincount(ranks, shares * labels)[taken]
    return isotonic_regression(fakes / total[taken], weights=total[taken]), taken


def ranks_of(values: np.ndarray) -> np.ndarray:
    return np.unique(values, return_inverse=True)[1]


def balanced(labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Weights (n,) of which fakes and real videos have one half each: what is learned with them has prior odds of 1,
    and its posterior odds are likelihood ratios."""
    weights = np.ones(len(labels)) if weights is None else weights
    fakes = weights @ labels
    reals = weights.sum() - fakes
    return weights * (0.5 / reals + labels * (0.5 / fakes - 0.5 / reals))


def costs_of_videos(log10_lr: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """What each video's ratio costs, (n,), in bits: infinite where an infinite ratio misleads."""
    against = np.where(labels == 1, -log10_lr, log10_lr)
    return np.logaddexp2(0.0, against * np.log2(10.0))


def log10_odds(probabilities: np.ndarray) -> np.ndarray:
    """Infinite for 0 and 1."""
    with np.errstate(divide="ignore"):
        return np.log10(probabilities) - np.log10(1 - probabilities)
