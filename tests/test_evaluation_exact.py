"""Intervals without draws, against scipy's and against scores whose distribution is known."""

import numpy as np
import pytest
from scipy.stats import binomtest

from evaluation.exact import binomial_interval, separated_intervals
from evaluation.figures import figures_of


@pytest.mark.parametrize("successes, trials", [(0, 1), (1, 1), (0, 36), (3, 7), (500, 1000), (99, 100)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_rates_are_those_of_scipy(successes, trials, level):
    theirs = binomtest(successes, trials).proportion_ci(level, method="exact")
    assert binomial_interval(successes, trials, level) == pytest.approx((theirs.low, theirs.high), rel=1e-9, abs=1e-12)


def test_separated_by_hand():
    """Of 20 and 10: 0 errors leave rates of 1 - 0.025 ** (1 / n) open."""
    missed, accused = 1 - 0.025 ** (1 / 20), 1 - 0.025 ** (1 / 10)
    bounds = separated_intervals(20, 10, 20 / 30)
    assert bounds["roc_auc"] == pytest.approx(((1 - missed) * (1 - accused), 1))
    assert bounds["eer"] == pytest.approx((0, accused))
    assert bounds["partial_auc"][0] == pytest.approx((1 - 0.005 / 0.095) / 2)  # more than 10 % may be accused
    recall = np.linspace(0, 1 - missed, 100_001)
    precision = 20 * recall[1:] / (20 * recall[1:] + 10 * accused)
    assert bounds["average_precision"][0] == pytest.approx(precision.sum() * recall[1], abs=1e-4)


def test_what_small_sets_without_an_error_leave_open():
    """Scores that overlap a little: most sets of 15 and 15 show no error, and the truth is within the bounds."""
    draw = np.random.default_rng(0)
    labels = np.repeat([0, 1], 200_000)
    truth = figures_of(labels, (draw.normal(labels * 4.0) + 10) / 30)
    bounds = separated_intervals(15, 15, 0.5)
    shown = 0
    for _ in range(400):
        real, fake = draw.normal(size=15), draw.normal(4, size=15)
        shown += fake.min() > real.max()
    assert shown > 200
    for name, (low, high) in bounds.items():
        assert low < truth[name] < high
