"""Learn a calibration, and see on videos that it was not learned from how good it is.

Folds hold whole clusters (an original and its fakes), so that no scene is on both sides. The ratios of a fold come from
a calibrator of the other folds' videos, and so do their bounds: from the ratios that the other folds' videos got when
they were left out. The method with the lower Cllr is taken, learned from all videos, and bounded by what all videos got
when they were left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.calibrators import METHODS, Calibrator, fit_calibrator, log_odds_of
from evaluation.elub import elub
from evaluation.likelihood_ratios import balanced, cllr
from runtime.errors import InputError

FOLDS = 5
_SEED = 0  # of the folds


@dataclass(frozen=True, kw_only=True)
class Fit:
    """`bounds` are those of log10 ratios. `left_out` has each method's log10 ratios (n,), bounded, of the videos while
    they were left out, and `cllr` their costs."""

    calibrator: Calibrator
    bounds: tuple[float, float]
    left_out: dict[str, np.ndarray]
    cllr: dict[str, float]


def fit(
    scores: np.ndarray,
    labels: np.ndarray,
    clusters: np.ndarray,
    *,
    methods: Sequence[str] = METHODS,
    folds: int = FOLDS,
) -> Fit:
    """Learn from scores (n,), labels (n,), 1 for fake and 0 for real, and numbers of clusters (n,), with the best of
    `methods`. Raises InputError where that can't be done."""
    _check(scores, labels, clusters, folds)
    log_odds = log_odds_of(scores)
    fold_of = _folds(labels, clusters, folds)
    unbounded, left_out = {}, {}
    for method in methods:
        ratios = np.empty(len(scores))
        for fold in range(folds):
            others = fold_of != fold
            calibrator = fit_calibrator(method, log_odds[others], labels[others], balanced(labels[others]))
            ratios[~others] = calibrator.log10_lr(log_odds[~others])
        unbounded[method] = ratios
        left_out[method] = np.empty(len(scores))
        for fold in range(folds):
            others = fold_of != fold
            left_out[method][~others] = np.clip(ratios[~others], *elub(ratios[others], labels[others]))
    costs = {method: cllr(ratios, labels) for method, ratios in left_out.items()}
    best = min(methods, key=costs.get)
    return Fit(
        calibrator=fit_calibrator(best, log_odds, labels, balanced(labels)),
        bounds=elub(unbounded[best], labels),
        left_out=left_out,
        cllr=costs,
    )


def _check(scores: np.ndarray, labels: np.ndarray, clusters: np.ndarray, folds: int) -> None:
    for label, word in ((1, "fake"), (0, "real")):
        count = int((labels == label).sum())
        if not count:
            raise InputError(
                f"all {len(labels)} videos with a score and a label are {'real' if label else 'fake'}: a ratio needs "
                f"both kinds; add {word} ones to --submission and --labels"
            )
        of_class = len(np.unique(clusters[labels == label]))
        if of_class < folds:
            remedy = f"add some, or give --folds {of_class}" if of_class > 1 else "add some"
            raise InputError(
                f"the {count} {word} videos with a score and a label are of {of_class} "
                f"{'cluster' if of_class == 1 else 'clusters'}: {folds} folds need {folds}; {remedy}"
            )
    if scores.min() == scores.max():
        raise InputError(
            f"all {len(scores)} scores are {scores[0]:g}: nothing can be learned from them; check --submission"
        )


def _folds(labels: np.ndarray, clusters: np.ndarray, folds: int) -> np.ndarray:
    """The fold of each video, (n,) int64. Raises InputError where the others of one lack a class."""
    from sklearn.model_selection import StratifiedGroupKFold  # It takes seconds to load.

    fold_of = np.empty(len(labels), np.int64)
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=_SEED)
    for fold, (others, held_out) in enumerate(splitter.split(labels, labels, clusters)):
        if len(np.unique(labels[others])) < 2:
            raise InputError(
                f"--folds {folds}: without the videos of fold {fold + 1} one class is missing, as most of it are of "
                "one cluster; give fewer folds, or add videos"
            )
        fold_of[held_out] = fold
    return fold_of
