"""Figures of likelihood ratios, and the ratios themselves, with how far they would move with other videos."""

from dataclasses import dataclass

import numpy as np

from evaluation.bootstrap import intervals, replicate
from evaluation.calibrators import Calibrator, fit_calibrator, log_odds_of
from evaluation.elub import MOST
from evaluation.estimates import Estimate
from evaluation.exact import binomial_interval
from evaluation.likelihood_ratios import MEANS, NAMES, WeightedMeans, balanced, figures_of


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Log10 ratios (k,) float64 of log-odds (k,), which rise, and the ends of their 95 % intervals (k, 2)."""

    log_odds: np.ndarray
    log10_lr: np.ndarray
    intervals: np.ndarray


def estimate_ratios(
    log10_lr: np.ndarray, labels: np.ndarray, clusters: np.ndarray, *, draws: int, seed: int
) -> dict[str, Estimate]:
    """Each figure of likelihood_ratios.py by name, of finite log10 ratios (n,), labels (n,), 1 for fake, and numbers of
    clusters (n,).

    A share of 0 or 1, of which draws tell nothing, has an exact interval. Cllr-min and Cllr-cal have none: the best
    calibration fits the very videos that it is made of, and fits videos that are drawn several times still better.
    """
    drawn = intervals(replicate(WeightedMeans(log10_lr, labels), clusters, draws=draws, seed=seed))
    figures, bounds = figures_of(log10_lr, labels), dict(zip(MEANS, drawn.tolist(), strict=True))
    for name, label in (("misleading_fake", 1), ("misleading_real", 0)):
        if figures[name] in (0, 1):
            count = len(np.unique(clusters[labels == label]))
            bounds[name] = binomial_interval(round(figures[name] * count), count)
    ends = {name: [None if np.isnan(end) else end for end in bounds.get(name, (np.nan, np.nan))] for name in NAMES}
    return {name: Estimate(value=figures[name], low=ends[name][0], high=ends[name][1]) for name in NAMES}


def curve_of(
    calibrator: Calibrator,
    bounds: tuple[float, float],
    at: np.ndarray,
    scores: np.ndarray,
    labels: np.ndarray,
    clusters: np.ndarray,
    *,
    draws: int,
    seed: int,
) -> Curve:
    """What a calibrator makes of the scores `at` (k,), and its like that are learned from other draws of its videos:
    scores (n,), labels (n,), 1 for fake, and numbers of clusters (n,). The bounds of log10 ratios stay the same."""
    log_odds, at_log_odds = log_odds_of(scores), log_odds_of(at)

    def learned(weights: np.ndarray) -> np.ndarray:
        if not 0 < weights @ labels < weights.sum():
            return np.full(len(at), np.nan)
        drawn = fit_calibrator(calibrator.method, log_odds, labels, balanced(labels, weights))
        return np.clip(drawn.log10_lr(at_log_odds), -MOST, MOST)

    replicates = replicate(lambda rows: np.array([learned(row) for row in rows]), clusters, draws=draws, seed=seed)
    return Curve(
        log_odds=at_log_odds,
        log10_lr=np.clip(calibrator.log10_lr(at_log_odds), *bounds),
        intervals=np.clip(intervals(replicates), *bounds),
    )
