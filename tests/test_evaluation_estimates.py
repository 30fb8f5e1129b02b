"""Figures with their intervals: which are exact, which are drawn, and which can't be told; groups and comparisons."""

import numpy as np
import pytest
from scipy.stats import binomtest

from evaluation.bootstrap import intervals, replicate
from evaluation.comparison import compare
from evaluation.estimates import Sample, clusters_to_bound, estimate, notes_on
from evaluation.figures import NAMES, RATES, TPR_NAMES, WeightedFigures, figures_of
from evaluation.groups import group_by

DRAWS = 200


def sample_of(count, seed, *, clusters=None, real=None, gap=1.5):
    draw = np.random.default_rng(seed)
    real = count // 2 if real is None else real
    labels = (np.arange(count) >= real).astype(int)
    scores = 1 / (1 + np.exp(-draw.normal(gap * (labels - 0.5), 1)))
    index = np.arange(count) if clusters is None else np.unique(np.arange(count) % clusters, return_inverse=True)[1]
    return Sample(labels=labels, scores=scores, clusters=index)


def exact(successes, trials):
    interval = binomtest(int(successes), int(trials)).proportion_ci(method="exact")
    return pytest.approx((interval.low, interval.high))


def ends(each):
    return each.low, each.high


def test_rates_of_videos_one_by_one_are_exact():
    sample = sample_of(120, 0)
    found = estimate(sample, draws=DRAWS)
    flagged, fake = sample.scores > 0.5, sample.labels == 1
    assert ends(found["accuracy"]) == exact((flagged == fake).sum(), 120)
    assert ends(found["true_positive_rate"]) == exact((flagged & fake).sum(), 60)
    assert ends(found["false_positive_rate"]) == exact((flagged & ~fake).sum(), 60)
    assert ends(found["coverage"]) == exact(120, 120)


def test_others_are_drawn():
    sample = sample_of(120, 1, clusters=30)
    found = estimate(sample, draws=DRAWS, seed=4)
    drawn = replicate(WeightedFigures(sample.labels, sample.scores), sample.clusters, draws=DRAWS, seed=4)
    bounds = dict(zip(NAMES, intervals(drawn).tolist(), strict=True))
    for name in ("log_loss", "roc_auc", "accuracy", "eer", "partial_auc", "brier", "ece"):
        assert [found[name].low, found[name].high] == bounds[name] and found[name].low < found[name].high
        assert found[name].value == pytest.approx(figures_of(sample.labels, sample.scores)[name], rel=1e-12)
    assert ends(found["coverage"]) == exact(30, 30)  # of the clusters: 120 videos would promise too much


def test_a_tpr_has_a_lower_bound_where_real_videos_bound_its_threshold():
    """Of 72 clusters one at least lies above a threshold that 5 % of all do, 39 times in 40: 0.95**72 < 0.025."""
    assert [clusters_to_bound(rate) for rate in RATES] == [3688, 368, 72, 36]
    name = "tpr_at_fpr_0.05"
    for clusters, has_lower_bound in ((72, True), (71, False)):
        sample = sample_of(4 * clusters, 1, clusters=clusters)
        figures = WeightedFigures(sample.labels, sample.scores)
        draws = replicate(figures, sample.clusters, draws=DRAWS, seed=4).draws[:, NAMES.index(name)]
        low, high = ends(estimate(sample, draws=DRAWS, seed=4)[name])
        if has_lower_bound:
            assert [low, high] == np.quantile(draws, [0.025, 0.975]).tolist() and low > 0
        else:
            assert low == 0 and np.quantile(draws, 0.8) <= high <= draws.max()


def test_no_error_among_clusters():
    """Perfect scores of 20 fakes and 20 real videos of 10 originals: what 10 of each leave open."""
    sample = sample_of(40, 2, clusters=10, gap=60)
    found = estimate(sample, draws=DRAWS)
    open_rate = 1 - 0.025 ** (1 / 10)
    assert ends(found["roc_auc"]) == pytest.approx(((1 - open_rate) ** 2, 1))
    assert ends(found["eer"]) == pytest.approx((0, open_rate))
    assert ends(found["true_positive_rate"]) == exact(10, 10)
    assert ends(found["tpr_at_fpr_0.1"]) == (0, 1)
    assert ends(found["false_positive_rate"]) == exact(0, 10)


def test_too_few_real_videos_for_a_rate():
    found = estimate(sample_of(150, 3, real=100), draws=DRAWS)
    assert found["tpr_at_fpr_0.001"].value is None and ends(found["tpr_at_fpr_0.001"]) == (None, None)
    assert found["tpr_at_fpr_0.01"].value is not None
    found = estimate(sample_of(150, 3, real=19), draws=DRAWS)
    assert [found[name].value is None for name in TPR_NAMES] == [True, True, True, False]


@pytest.mark.parametrize(
    "sample, notes",
    [
        (
            sample_of(400, 0),
            [
                "too few videos for 0.1 %",
                "the TPR at 1 % FPR has no lower bound: that takes 368 clusters of real videos",
            ],
        ),
        (sample_of(200, 0, real=0), ["all 200 videos are fake: no figure that compares"]),
        (sample_of(200, 0, real=200), ["all 200 videos are real: no figure that compares"]),
        (
            sample_of(3000, 0, clusters=29),
            ["only 29 clusters", "0.1 % FPR has", " 1 % FPR has", "5 % FPR", "36 clusters"],
        ),
        (sample_of(12_000, 0, clusters=1), ["all videos are one cluster: no intervals"]),
        (
            Sample(labels=np.arange(40) % 2, scores=np.full(40, 0.25), clusters=np.arange(40)),
            ["all scores are 0.25: they tell nothing", "0.1 %", "1 %", "the TPR at 5 % FPR has no", "10 %"],
        ),
    ],
    ids=["few", "fakes", "real", "few clusters", "one cluster", "equal"],
)
def test_notes(sample, notes):
    said = notes_on(sample)
    assert len(said) == len(notes) and all(note in line for note, line in zip(notes, said, strict=True)), said


def test_one_cluster_has_figures_and_no_intervals():
    found = estimate(sample_of(40, 0, clusters=1), draws=DRAWS)
    assert found["roc_auc"].value > 0.5 and {ends(each) for each in found.values()} == {(None, None)}


def test_a_comparison_is_of_the_same_draws():
    """Scores that are a little lower for all videos alike: hardly any difference in rank, and a sure one in loss."""
    sample = sample_of(200, 5, clusters=50)
    found = compare(sample, sample.scores * 0.8, draws=DRAWS, seed=1)
    losses = [figures_of(sample.labels, scores)["log_loss"] for scores in (sample.scores, sample.scores * 0.8)]
    assert (found.first["log_loss"], found.second["log_loss"]) == pytest.approx(losses)
    assert found.difference["log_loss"].value == pytest.approx(losses[1] - losses[0])
    assert (found.difference["roc_auc"].value, *ends(found.difference["roc_auc"])) == (0, 0, 0)
    width = found.difference["brier"].high - found.difference["brier"].low
    alone = estimate(sample, draws=DRAWS, seed=1)["brier"]
    assert 0 < width < 0.7 * (alone.high - alone.low)
    assert found.difference["tpr_at_fpr_0.001"].value is None is found.first["tpr_at_fpr_0.001"]


def test_groups_and_gaps():
    """The figures of each group are those of its videos alone; the gap is of the two that are furthest apart."""
    sample = sample_of(300, 6, clusters=100)
    values = ["ann" if place % 3 == 0 else "ben" if place % 3 == 1 else "" for place in range(300)]
    names = [f"{place}.mp4" for place in range(300)]
    found = group_by(values, names, sample, draws=DRAWS, seed=2)
    assert list(found.groups) == ["ann", "ben"] and found.untold == names[2::3]
    rows = np.arange(0, 300, 3)
    expected = figures_of(sample.labels[rows], sample.scores[rows])
    ann, ben = found.groups.values()
    assert ann.figures["roc_auc"].value == pytest.approx(expected["roc_auc"]) and not ann.with_all_real
    assert (ann.videos, ann.fake, ann.real) == (100, 50, 50)
    gap = found.gaps["log_loss"]
    values = {"ann": ann.figures["log_loss"].value, "ben": ben.figures["log_loss"].value}
    assert (gap.best, gap.worst) == tuple(sorted(values, key=values.get))
    assert gap.value == pytest.approx(values[gap.worst] - values[gap.best]) and gap.low < gap.value < gap.high
    auc = found.gaps["roc_auc"]
    assert found.groups[auc.best].figures["roc_auc"].value > found.groups[auc.worst].figures["roc_auc"].value
    assert found.gaps.keys() <= set(NAMES) and "coverage" not in found.gaps  # it is 1 in both


def test_groups_of_fakes_alone_are_held_against_all_real_videos():
    sample = sample_of(300, 7, real=100)
    values = [""] * 100 + ["Deepfakes"] * 100 + ["FaceSwap"] * 100
    found = group_by(values, [str(place) for place in range(300)], sample, draws=DRAWS, seed=0)
    faceswap = found.groups["FaceSwap"]
    rows = np.r_[0:100, 200:300]
    expected = figures_of(sample.labels[rows], sample.scores[rows])["roc_auc"]
    assert faceswap.with_all_real and (faceswap.fake, faceswap.real) == (100, 100) and found.untold == []
    assert faceswap.figures["roc_auc"].value == pytest.approx(expected)
    assert "false_positive_rate" not in found.gaps and "roc_auc" in found.gaps
    named = group_by(["original"] * 100 + values[100:], [""] * 300, sample, draws=DRAWS, seed=0)
    assert named.groups["original"].figures["roc_auc"].value is None
    assert named.groups["FaceSwap"].figures == faceswap.figures


def test_a_group_of_one_cluster_has_no_interval():
    sample = sample_of(60, 8, clusters=10)
    values = ["one" if cluster == 0 else "others" for cluster in sample.clusters]
    found = group_by(values, [""] * 60, sample, draws=DRAWS, seed=0)
    assert ends(found.groups["one"].figures["log_loss"]) == (None, None)
    assert found.gaps["log_loss"].value > 0 and (found.gaps["log_loss"].low, found.gaps["log_loss"].high) == (None,) * 2
