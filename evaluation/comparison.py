"""Two submissions on the same videos: the difference of each figure, from the same draws."""

from dataclasses import dataclass

import numpy as np

from evaluation.bootstrap import replicate
from evaluation.estimates import Estimate, Sample, figure_intervals, is_too_few
from evaluation.figures import NAMES, RATES, TPR_NAMES, WeightedFigures


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Figures of two submissions on the videos that both have; `difference` is the second's less the first's."""

    videos: int
    first: dict[str, float | None]
    second: dict[str, float | None]
    difference: dict[str, Estimate]


def compare(sample: Sample, others: np.ndarray, *, draws: int, seed: int) -> Comparison:
    """`others` (n,) are the second submission's scores of the sample's videos.

    Both are drawn together. What makes a video hard for both is no part of the intervals therefore, which are narrower
    than those of the two submissions would let expect.
    """
    first, second = (WeightedFigures(sample.labels, scores) for scores in (sample.scores, others))
    one, two = (replicate(each, sample.clusters, draws=draws, seed=seed) for each in (first, second))
    difference = two - one
    bounds = figure_intervals(difference)
    unresolved = {name for rate, name in zip(RATES, TPR_NAMES, strict=True) if is_too_few(sample, rate)}

    def told(values: np.ndarray) -> dict[str, float | None]:
        return {
            name: None if name in unresolved or np.isnan(value) else value
            for name, value in zip(NAMES, values.tolist(), strict=True)
        }

    values, lows, highs = told(difference.value), told(bounds[:, 0]), told(bounds[:, 1])
    return Comparison(
        videos=len(sample),
        first=told(one.value),
        second=told(two.value),
        difference={name: Estimate(value=values[name], low=lows[name], high=highs[name]) for name in NAMES},
    )
