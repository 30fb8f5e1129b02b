"""Draws of clusters, and their intervals against scipy's and against a truth that is known."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import ndtr
from scipy.stats import bootstrap

from benchmarks.coverage import coverage, true_figures
from evaluation import bootstrap as module
from evaluation.bootstrap import Replicates, highest_of_steps, intervals, intervals_of_steps, replicate
from evaluation.figures import NAMES


def mean_of(values):
    def of_weights(weights):
        return weights @ values / weights.sum(axis=1)

    return of_weights


def test_clusters_are_drawn_whole():
    """As many clusters as there are, and all videos of one as often as it."""
    clusters = np.array([0, 1, 0, 2, 1, 0])
    seen = []
    replicate(lambda weights: seen.append(weights) or weights[:, 0], clusters, draws=50, seed=3)
    ones, drawn, without = seen
    assert (ones == 1).all() and ones.shape == (1, 6) and drawn.shape == (50, 6)
    by_cluster = drawn[:, [0, 1, 3]]
    assert (drawn == by_cluster[:, clusters]).all() and (by_cluster.sum(axis=1) == 3).all()
    assert len(np.unique(by_cluster, axis=0)) > 5
    assert without.tolist() == [[0, 1, 0, 1, 1, 0], [1, 0, 1, 1, 0, 1], [1, 1, 1, 0, 1, 1]]


def test_a_draw_depends_on_the_seed_and_its_number_alone(monkeypatch):
    values, clusters = np.random.default_rng(0).random(40), np.arange(40) // 2
    all_of_them = replicate(mean_of(values), clusters, draws=30, seed=5).draws
    monkeypatch.setattr(module, "_AT_A_TIME", 7 * 40)
    some = replicate(mean_of(values), clusters, draws=20, seed=5).draws
    assert some.tolist() == pytest.approx(all_of_them[:20].tolist(), rel=1e-12)  # sums of another order
    assert replicate(mean_of(values), clusters, draws=20, seed=6).draws[0] != pytest.approx(some[0])


def test_the_spread_is_that_of_clusters():
    """The mean of 50 clusters that are copies moves as that of 50 numbers."""
    values = np.random.default_rng(1).normal(size=50)
    one = replicate(mean_of(values), np.arange(50), draws=4000, seed=0)
    copied = replicate(mean_of(np.repeat(values, 9)), np.repeat(np.arange(50), 9), draws=4000, seed=0)
    assert copied.draws.std() == pytest.approx(one.draws.std(), rel=1e-9)
    assert one.draws.std() == pytest.approx(values.std() / np.sqrt(50), rel=0.05)


@pytest.mark.parametrize("method, ours", [("BCa", intervals), ("percentile", intervals_of_steps)])
@pytest.mark.parametrize("skew", [0.2, 1.0])
def test_bounds_are_those_of_scipy(skew, method, ours):
    """Of the same draws: scipy takes ours as its own, and corrects them by its own jackknife of the videos."""
    values = np.random.default_rng(2).lognormal(sigma=skew, size=30)
    drawn = replicate(mean_of(values), np.arange(30), draws=999, seed=1)
    theirs = bootstrap(
        (values,),
        np.mean,
        n_resamples=0,
        method=method,
        bootstrap_result=SimpleNamespace(bootstrap_distribution=drawn.draws),
    ).confidence_interval
    assert ours(drawn).tolist() == pytest.approx([theirs.low, theirs.high], rel=1e-9)


def test_the_upper_bound_alone():
    """Of draws whose median is the figure, the 95th percentile; where they are biased to higher values, a lower one."""
    draws, without = np.arange(1001.0), np.array([1.0, 2.0])
    assert highest_of_steps(Replicates(value=np.array(500.0), draws=draws, without=without)) == pytest.approx(950)
    assert highest_of_steps(Replicates(value=np.array(400.0), draws=draws, without=without)) < 900
    assert np.isnan(highest_of_steps(Replicates(value=np.array(np.nan), draws=draws, without=without)))


def test_many_clusters_are_left_out_in_groups():
    """With skewed values, so that the acceleration is no matter of chance."""
    values = np.random.default_rng(3).lognormal(sigma=1.5, size=2000)
    drawn = replicate(mean_of(values), np.arange(2000), draws=500, seed=0)
    assert drawn.without.shape == (200,)
    one_by_one = Replicates(value=drawn.value, draws=drawn.draws, without=(values.sum() - values) / (len(values) - 1))
    width = np.diff(intervals(one_by_one))[0]
    assert intervals(drawn).tolist() == pytest.approx(intervals(one_by_one).tolist(), abs=0.05 * width)


def test_several_figures_and_differences():
    values = np.random.default_rng(4).random((20, 2))
    both = replicate(lambda weights: weights @ values / 20, np.arange(20), draws=200, seed=0)
    assert intervals(both).shape == (2, 2) and intervals(both)[1].tolist() == intervals(both[1]).tolist()
    difference = both[0] - both[1]
    alone = replicate(lambda weights: weights @ (values[:, 0] - values[:, 1]) / 20, np.arange(20), draws=200, seed=0)
    assert intervals(difference).tolist() == pytest.approx(intervals(alone).tolist())
    assert intervals(both[0] - both[0]).tolist() == [0, 0]


def test_no_interval():
    """Of one cluster, of what is undefined, and where it is so in more than a tenth of the draws."""
    values = np.arange(4.0)
    assert np.isnan(intervals(replicate(mean_of(values), np.zeros(4, int), draws=100, seed=0))).all()
    draws = np.where(np.arange(100) < 11, np.nan, np.arange(100.0))
    without = np.array([40.0, 60.0])
    assert np.isnan(intervals(Replicates(value=np.array(50.0), draws=draws, without=without))).all()
    assert np.isnan(intervals(Replicates(value=np.array(np.nan), draws=np.arange(9.0), without=without))).all()
    draws[10] = 10
    assert np.isfinite(intervals(Replicates(value=np.array(50.0), draws=draws, without=without))).all()


def test_all_draws_on_one_side_have_an_interval():
    bounds = intervals(Replicates(value=np.array(5.0), draws=np.arange(4.0), without=np.array([5.0, 5.0])))
    assert 0 <= bounds[0] <= bounds[1] <= 3 and bounds[1] == pytest.approx(3, abs=0.01)


def test_intervals_hold_the_truth_when_clusters_are_drawn_and_seldom_without():
    """The small version of benchmarks/coverage.py: about 95 of 100 are expected; of videos one by one, about 75."""
    truth = true_figures(0, originals=100_000)
    assert truth["roc_auc"] == pytest.approx(ndtr(2 / np.sqrt(2 * (1 + 0.6**2))), abs=0.003)  # of normal scores
    held, widths = coverage(truth, sets=60, originals=50, draws=200, seed=1)
    places = [NAMES.index(name) for name in ("log_loss", "roc_auc", "accuracy", "true_positive_rate", "eer", "brier")]
    together, alone = held[:, places]
    assert together.mean() > 0.9 and alone.mean() < 0.82 and (together > alone).all()
    assert (widths[0, places] > 1.25 * widths[1, places]).all()
