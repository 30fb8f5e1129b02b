"""The figures of some videos, each with the interval that holds the figure of all such videos 95 times in 100."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.bootstrap import (
    DRAWS,
    LEVEL,
    Replicates,
    highest_of_steps,
    intervals,
    intervals_of_steps,
    replicate,
)
from evaluation.exact import binomial_interval, separated_intervals
from evaluation.figures import NAMES, RATES, TPR_NAMES, WeightedFigures

FEW_CLUSTERS = 30
_RATES_AT_A_THRESHOLD = ("accuracy", "true_positive_rate", "false_positive_rate", "coverage")


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure and the ends of its interval; None where it has none."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Videos that have a prediction and a label: (n,) each.

    `labels` int64, 1 for fake, `scores` float64 from 0 to 1, `clusters` int64 from 0 on, in which the videos are drawn.
    """

    labels: np.ndarray
    scores: np.ndarray
    clusters: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def only(self, rows: np.ndarray) -> "Sample":
        """Some of the videos, in clusters numbered anew. `rows` are indices or a mask."""
        clusters = np.unique(self.clusters[rows], return_inverse=True)[1]
        return Sample(labels=self.labels[rows], scores=self.scores[rows], clusters=clusters)


def estimate(sample: Sample, *, draws: int = DRAWS, seed: int = 0) -> dict[str, Estimate]:
    """Each figure by name (figures.py)."""
    figures = WeightedFigures(sample.labels, sample.scores)
    return estimates_of(sample, replicate(figures, sample.clusters, draws=draws, seed=seed))


def estimates_of(sample: Sample, replicates: Replicates) -> dict[str, Estimate]:
    """Each figure by name, from what was drawn of the sample, replicates of the figures in the order of NAMES.

    Rates of videos that are all clusters of their own have exact intervals, and so have figures of which draws tell
    nothing as no error was made. A TPR whose FPR takes more real videos than there are is None; where there are too few
    clusters of real videos to bound its threshold from above, the TPR is not bounded from below.
    """
    values = dict(zip(NAMES, replicates.value.tolist(), strict=True))
    bounds = dict.fromkeys(NAMES, (np.nan, np.nan))
    if has_clusters(sample):
        bounds = dict(zip(NAMES, map(tuple, figure_intervals(replicates).tolist()), strict=True))
        exact = _exact(sample, values)
        bounds.update(exact)
        bounds.update(_without_lower_bound(sample, replicates, exact))
    for rate, name in zip(RATES, TPR_NAMES, strict=True):
        if is_too_few(sample, rate):
            values[name], bounds[name] = np.nan, (np.nan, np.nan)
    return {
        name: Estimate(value=_number(values[name]), low=_number(bounds[name][0]), high=_number(bounds[name][1]))
        for name in NAMES
    }


def figure_intervals(replicates: Replicates) -> np.ndarray:
    """The intervals (len(NAMES), 2) of replicates of the figures, or of their differences, in the order of NAMES."""
    is_step = np.isin(NAMES, TPR_NAMES)
    return np.where(is_step[:, None], intervals_of_steps(replicates), intervals(replicates))


def has_clusters(sample: Sample) -> bool:
    """Whether there is anything to draw: one cluster is the same in every draw."""
    return len(np.unique(sample.clusters)) > 1


def is_too_few(sample: Sample, rate: float) -> bool:
    """Whether there are too few real videos for a false positive rate: one of them alone would exceed it."""
    return int((sample.labels == 0).sum()) < round(1 / rate)


def clusters_to_bound(rate: float) -> int:
    """How many clusters of real videos it takes for the highest of them to exceed the threshold of a false positive
    rate, and so to bound it from above, with the confidence of an interval's one end: whatever scores are like."""
    return math.ceil(math.log((1 - LEVEL) / 2) / math.log1p(-rate))


def _without_lower_bound(
    sample: Sample, replicates: Replicates, exact: Mapping[str, tuple[float, float]]
) -> dict[str, tuple[float, float]]:
    """The intervals of those TPRs whose threshold may lie above all real videos, by name. `exact` are those of figures
    of which draws tell nothing."""
    real = _real_clusters(sample)
    highest = dict(zip(NAMES, highest_of_steps(replicates).tolist(), strict=True))
    return {
        name: (0.0, exact[name][1] if name in exact else highest[name])
        for rate, name in zip(RATES, TPR_NAMES, strict=True)
        if real < clusters_to_bound(rate) and np.isfinite(highest[name])
    }


def _real_clusters(sample: Sample) -> int:
    return len(np.unique(sample.clusters[sample.labels == 0]))


def notes_on(sample: Sample) -> Sequence[str]:
    """What a reader of the estimates must know of the videos, a line each."""
    notes = []
    fakes, clusters = int(sample.labels.sum()), len(np.unique(sample.clusters))
    real = len(sample) - fakes
    if not fakes or not real:
        kind = "fake" if fakes else "real"
        notes.append(
            f"all {len(sample)} videos are {kind}: no figure that compares fakes with real ones; add the others"
        )
    elif len(np.unique(sample.scores)) == 1:
        notes.append(f"all scores are {sample.scores[0]:g}: they tell nothing of a video; see what the prediction said")
    if clusters == 1:
        notes.append("all videos are one cluster: no intervals; add videos of other originals, or see --cluster")
    elif clusters < FEW_CLUSTERS:
        notes.append(f"only {clusters} clusters: intervals by draws of fewer than {FEW_CLUSTERS} are rough")
    if fakes and real:
        notes += [note for rate in RATES for note in _notes_on_rate(sample, rate, real)]
    return notes


def _notes_on_rate(sample: Sample, rate: float, real: int) -> list[str]:
    if is_too_few(sample, rate):
        takes = f"a false positive rate of that takes {round(1 / rate)} real videos, here are {real}"
        return [f"too few videos for {100 * rate:g} %: {takes}"]
    clusters, enough = _real_clusters(sample), clusters_to_bound(rate)
    if 1 < clusters < enough:
        takes = f"that takes {enough} clusters of real videos, here are {clusters}"
        return [f"the TPR at {100 * rate:g} % FPR has no lower bound: {takes}"]
    return []


def _exact(sample: Sample, values: dict[str, float]) -> dict[str, tuple[float, float]]:
    """The intervals that need no draws, of the figures that have such."""
    fake = sample.labels == 1
    trials = {  # of each rate: of which videos
        "accuracy": np.ones(len(sample), bool),
        "coverage": np.ones(len(sample), bool),
        "true_positive_rate": fake,
        "false_positive_rate": ~fake,
        **dict.fromkeys(TPR_NAMES, fake),
    }
    of_one = len(np.unique(sample.clusters)) == len(sample)
    exact = {}
    for name, counted in trials.items():
        clusters = len(np.unique(sample.clusters[counted]))
        if clusters and (values[name] in (0, 1) or (of_one and name in _RATES_AT_A_THRESHOLD)):
            exact[name] = binomial_interval(round(values[name] * clusters), clusters)
    if fake.any() and not fake.all() and sample.scores[fake].min() > sample.scores[~fake].max():
        counts = [len(np.unique(sample.clusters[each])) for each in (fake, ~fake)]
        exact.update(separated_intervals(*counts, fake.mean()))
    return exact


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value
