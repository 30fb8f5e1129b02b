"""How far a figure would move with other videos of the same kind: intervals by resampling whole clusters.

Clusters are drawn with replacement, as many as there are, and a video counts as often as its cluster was drawn: a
figure is a function of weights. Intervals are bias-corrected and accelerated (BCa; Efron 1987), as in
scipy.stats.bootstrap, which can't draw clusters of unequal sizes; those of figures that move by steps are percentiles.
A draw depends on the seed and its number alone, so that the figures of two submissions, or of two groups, come from the
same draws.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

DRAWS = 2000
LEVEL = 0.95
_AT_A_TIME = 1 << 16  # weights: half a MiB, which a core keeps at hand
_LEFT_OUT = 200  # groups of clusters that the jackknife leaves out in turn
_ENOUGH = 0.9  # of the draws must have a figure, or it has no interval: draws may lack a class

Figure = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Replicates:
    """Figures of all videos, `value` (...); of each draw, `draws` (draws, ...); and without each group of clusters,
    `without` (groups, ...). float64, NaN where a figure is undefined. Differences are of the same draws."""

    value: np.ndarray
    draws: np.ndarray
    without: np.ndarray

    def __sub__(self, other: "Replicates") -> "Replicates":
        return Replicates(
            value=self.value - other.value, draws=self.draws - other.draws, without=self.without - other.without
        )

    def __getitem__(self, place: int) -> "Replicates":
        """One of several figures."""
        return Replicates(value=self.value[..., place], draws=self.draws[..., place], without=self.without[..., place])


def replicate(figure: Figure, clusters: np.ndarray, *, draws: int = DRAWS, seed: int = 0) -> Replicates:
    """`figure` of all videos, of each draw and of the jackknife's groups.

    `clusters` (n,) are numbers of clusters from 0 on. `figure` takes weights (m, n) float64, at least 0, and returns m
    values, or (m, figures) float64, NaN where one is undefined.
    """
    whole = figure(np.ones((1, len(clusters))))
    return Replicates(
        value=whole[0],
        draws=np.concatenate([figure(weights) for weights in _drawn(clusters, draws, seed)]),
        without=np.concatenate([whole[:0], *(figure(weights) for weights in _left_out(clusters, seed))]),
    )


def intervals(replicates: Replicates, level: float = LEVEL) -> np.ndarray:
    """Lower and upper bounds of each figure, (..., 2) float64: NaN where a figure has none.

    A figure has no interval where all videos are one cluster, or where it is undefined for all videos or for a tenth of
    the draws.
    """
    return _each(_bca, replicates, level)


def intervals_of_steps(replicates: Replicates, level: float = LEVEL) -> np.ndarray:
    """The same of figures that hang on a few videos, such as a TPR on those real ones that are at its threshold: the
    draws' own percentiles. Bias and acceleration can't be told of what moves by steps."""
    return _each(_percentiles, replicates, level)


def highest_of_steps(replicates: Replicates, level: float = LEVEL) -> np.ndarray:
    """The upper bound (...) alone of such a figure, with all of the level's doubt on this side."""
    return _each(_bias_corrected, replicates, 2 * level - 1)[..., 1]


def _each(interval: Callable[..., tuple[float, float]], replicates: Replicates, level: float) -> np.ndarray:
    """The interval (..., 2) of each figure that has one."""
    values = np.ravel(replicates.value)
    draws, without = (each.reshape(len(each), values.size) for each in (replicates.draws, replicates.without))
    bounds = np.full((values.size, 2), np.nan)
    if len(without) > 1:
        for place, value in enumerate(values):
            finite = draws[np.isfinite(draws[:, place]), place]
            if np.isfinite(value) and len(finite) >= max(2, _ENOUGH * len(draws)):
                bounds[place] = interval(value, finite, without[np.isfinite(without[:, place]), place], level)
    return bounds.reshape(*np.shape(replicates.value), 2)


def _bca(value: float, draws: np.ndarray, without: np.ndarray, level: float) -> np.ndarray:
    """The bias-corrected and accelerated interval of one figure."""
    pulls = without.mean() - without if len(without) else np.zeros(1)
    spread = (pulls**2).sum()
    acceleration = (pulls**3).sum() / (6 * spread**1.5) if spread > 0 else 0.0
    bias, ends = _bias(value, draws), _ends(level)
    return np.quantile(draws, ndtr(bias + (bias + ends) / (1 - acceleration * (bias + ends))))


def _percentiles(value: float, draws: np.ndarray, without: np.ndarray, level: float) -> np.ndarray:
    return np.quantile(draws, ndtr(_ends(level)))


def _bias_corrected(value: float, draws: np.ndarray, without: np.ndarray, level: float) -> np.ndarray:
    return np.quantile(draws, ndtr(2 * _bias(value, draws) + _ends(level)))


def _bias(value: float, draws: np.ndarray) -> float:
    """How far the draws' median is from the figure, as a normal number."""
    below = ((draws < value).mean() + (draws <= value).mean()) / 2
    if not 0 < below < 1:  # all draws are on one side, and no correction of the bias is finite
        below = np.clip(below, 0.5 / len(draws), 1 - 0.5 / len(draws))
    return float(ndtri(below))


def _ends(level: float) -> np.ndarray:
    return ndtri(np.array([(1 - level) / 2, (1 + level) / 2]))


def _drawn(clusters: np.ndarray, draws: int, seed: int) -> Iterator[np.ndarray]:
    """Weights of the videos in some draws after others, (m, n) float64."""
    count, at_a_time = int(clusters.max()) + 1, max(1, _AT_A_TIME // len(clusters))
    for start in range(0, draws, at_a_time):
        counts = [
            np.bincount(np.random.default_rng((seed, draw)).integers(0, count, count), minlength=count)
            for draw in range(start, min(draws, start + at_a_time))
        ]
        yield np.array(counts, np.float64)[:, clusters]


def _left_out(clusters: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    """Weights of the videos without one group of clusters and another, (m, n) float64: 0 for those that are left out.

    A group is a cluster, or where there are many a share of them, dealt out at random: the acceleration, which is all
    that they are for, comes out the same. There is none where all videos are one cluster.
    """
    count, at_a_time = int(clusters.max()) + 1, max(1, _AT_A_TIME // len(clusters))
    if count == 1:
        return
    groups = min(count, _LEFT_OUT)
    dealt = np.random.default_rng((seed, count)).permutation(count) % groups if groups < count else np.arange(count)
    of_videos = dealt[clusters]
    for start in range(0, groups, at_a_time):
        group = np.arange(start, min(groups, start + at_a_time))
        yield (of_videos != group[:, None]).astype(np.float64)
