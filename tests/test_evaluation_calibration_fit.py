"""Learning a calibration: against what is known of Gaussian scores, libraries, and data that tell nothing."""

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression

from evaluation import cross_validation
from evaluation.calibrators import METHODS, Isotonic, fit_calibrator, log_odds_of
from evaluation.cross_validation import fit
from evaluation.likelihood_ratios import balanced, cllr
from evaluation.ratio_estimates import curve_of, estimate_ratios
from runtime.errors import InputError

WIDE = (-9.0, 9.0)


def gaussian_scores(originals, fakes=1, seed=0, scene=0.0):
    """Scores whose log-odds are normal about -1 and 1 with a variance of 1, so that log LR = 2 * log-odds; `fakes` of
    each original. Of the variance a share `scene` is what a cluster's videos have in common."""
    draw = np.random.default_rng(seed)
    clusters = np.concatenate([np.arange(originals), np.repeat(np.arange(originals), fakes)])
    labels = np.repeat([0, 1], [originals, originals * fakes])
    noise = np.sqrt(scene) * draw.normal(size=originals)[clusters] + np.sqrt(1 - scene) * draw.normal(size=len(labels))
    return expit(2 * labels - 1 + noise), labels, clusters


def test_gaussian_scores_give_their_analytic_ratio_within_its_interval():
    scores, labels, clusters = gaussian_scores(300, fakes=2, scene=0.3)
    at = expit(np.array([-1.5, -0.5, 0.0, 0.5, 1.5]))
    calibrator = fit_calibrator("logistic", log_odds_of(scores), labels, balanced(labels))
    curve = curve_of(calibrator, WIDE, at, scores, labels, clusters, draws=200, seed=0)
    truth = 2 * logit(at) / np.log(10)
    low, high = curve.intervals.T
    assert (low <= truth).all() and (truth <= high).all()
    assert (low <= curve.log10_lr).all() and (curve.log10_lr <= high).all()
    assert (high - low < 0.35).all()  # or anything would be within


@pytest.mark.parametrize("method, near", [("logistic", 0.03), ("isotonic", 0.12)])
def test_many_gaussian_scores_give_their_analytic_ratio(method, near):
    """Five fakes to an original: the share of fakes doesn't count."""
    scores, labels, _ = gaussian_scores(20_000, fakes=5)
    calibrator = fit_calibrator(method, log_odds_of(scores), labels, balanced(labels))
    at = np.linspace(-1.5, 1.5, 7)
    np.testing.assert_allclose(calibrator.log10_lr(at), 2 * at / np.log(10), atol=near)


def test_cllr_of_gaussian_scores_within_its_interval():
    """The expected cost of the true ratios, by numerical integration."""
    scores, labels, clusters = gaussian_scores(300, fakes=2, scene=0.3)
    at = np.linspace(-10, 12, 20_001)
    density = np.exp(-((at - 1) ** 2) / 2) / np.sqrt(2 * np.pi)
    truth = np.trapezoid(density * np.log2(1 + np.exp(-2 * at)), at)  # of fakes, and by symmetry of real ones
    left_out = fit(scores, labels, clusters, methods=["logistic"]).left_out["logistic"]
    figures = estimate_ratios(left_out, labels, clusters, draws=1000, seed=0)
    assert figures["cllr"].low < truth < figures["cllr"].high
    assert figures["cllr"].high - figures["cllr"].low < 0.15
    assert figures["cllr_min"].low is None and figures["cllr_cal"].high is None


def test_isotonic_is_scikit_learns():
    scores, labels, _ = gaussian_scores(100, fakes=3)
    log_odds, shares = log_odds_of(np.round(scores, 2)), balanced(labels)
    known = IsotonicRegression(out_of_bounds="clip").fit(log_odds, labels, sample_weight=shares)
    at = np.linspace(-5, 5, 201)
    mine = fit_calibrator("isotonic", log_odds, labels, shares)
    np.testing.assert_allclose(np.interp(at, mine.log_odds, mine.fake_share), known.predict(at), atol=1e-12)
    assert len(mine.log_odds) < len(np.unique(log_odds))


@pytest.mark.parametrize("method", METHODS)
def test_fakes_that_are_there_thrice_change_nothing(method):
    """Prior odds are no part of a ratio. scikit-learn's regularisation of the logistic curve counts videos."""
    scores, labels, _ = gaussian_scores(200)
    again = np.concatenate([np.arange(len(labels)), *2 * [np.flatnonzero(labels)]])
    at = np.linspace(-2, 2, 9)
    once, thrice = (
        fit_calibrator(method, log_odds_of(scores[rows]), labels[rows], balanced(labels[rows])).log10_lr(at)
        for rows in (slice(None), again)
    )
    finite = np.isfinite(once)
    np.testing.assert_allclose(thrice[finite], once[finite], atol=0.03 if method == "logistic" else 1e-9)


@pytest.mark.parametrize("fakes", [1, 4])
def test_permuted_labels_cost_a_bit(fakes):
    scores, labels, clusters = gaussian_scores(400, fakes)
    fitted = fit(scores, np.random.default_rng(0).permutation(labels), clusters)
    assert list(fitted.cllr) == list(METHODS) and all(0.97 < cost < 1.03 for cost in fitted.cllr.values())
    assert -0.5 < fitted.bounds[0] <= 0 <= fitted.bounds[1] < 0.5


def test_scores_of_the_wrong_way_round_give_ratios_of_one():
    scores, labels, clusters = gaussian_scores(100)
    fitted = fit(scores, 1 - labels, clusters, methods=["logistic"])
    assert fitted.calibrator.slope == fitted.calibrator.intercept == 0 and fitted.bounds == (0, 0)


def test_divided_scores_are_bounded_by_their_number():
    """An infinite ratio, and a slope without end, are what 30 videos of each kind don't tell."""
    labels, clusters = np.repeat([0, 1], 30), np.tile(np.arange(30), 2)
    fitted = fit(np.where(labels, 0.9, 0.1) + np.linspace(-0.05, 0.05, 60), labels, clusters)
    assert -np.log10(31) - 0.01 <= fitted.bounds[0] < -1 and 1 < fitted.bounds[1] <= np.log10(31) + 0.01
    for ratios in fitted.left_out.values():
        assert np.isfinite(ratios).all() and np.abs(ratios).max() <= np.log10(31) + 0.01
    figures = estimate_ratios(fitted.left_out["logistic"], labels, clusters, draws=100, seed=0)
    for name in ("misleading_fake", "misleading_real"):  # by the binomial distribution: none of 30
        assert (figures[name].value, figures[name].low) == (0, 0)
        assert figures[name].high == pytest.approx(1 - 0.025 ** (1 / 30))


def test_saturated_scores():
    """Scores of 0 and 1, also on the wrong side."""
    labels, clusters = np.repeat([0, 1], 50), np.tile(np.arange(50), 2)
    scores = np.where(labels, 1.0, 0.0)
    scores[[0, -1]] = 1.0, 0.0
    fitted = fit(scores, labels, clusters)
    assert all(np.isfinite(ratios).all() for ratios in fitted.left_out.values()) and max(fitted.cllr.values()) < 0.5


def test_the_better_method_is_taken():
    """Steps, which no logistic curve follows; and a logistic curve by few videos."""
    draw = np.random.default_rng(1)
    scores = draw.choice([0.1, 0.5, 0.6, 0.9], 4000)
    labels = (draw.random(4000) < np.array([0.4, 0.45, 0.9, 0.95])[np.searchsorted([0.1, 0.5, 0.6, 0.9], scores)]) + 0
    fitted = fit(scores, labels, np.arange(4000))
    assert isinstance(fitted.calibrator, Isotonic) and fitted.cllr["isotonic"] < fitted.cllr["logistic"]
    assert fit(*gaussian_scores(60)).calibrator.method == "logistic"


def test_clusters_stay_together(monkeypatch):
    """Where the scores of one cluster change, the ratios of all other folds change, and those of its own fold don't:
    each cluster is in one or the other with all its videos."""
    monkeypatch.setattr(cross_validation, "elub", lambda ratios, labels: WIDE)
    scores, labels, clusters = gaussian_scores(50, fakes=2)
    moved = np.where(clusters == 7, 0.999, scores)
    before, after = (fit(each, labels, clusters, methods=["logistic"]).left_out["logistic"] for each in (scores, moved))
    changed = [set((before != after)[clusters == cluster].tolist()) for cluster in range(50) if cluster != 7]
    assert all(len(each) == 1 for each in changed) and 5 <= changed.count({False}) <= 15


def test_costs_are_those_of_left_out_videos():
    scores, labels, clusters = gaussian_scores(50)
    fitted = fit(scores, labels, clusters)
    for method in METHODS:
        assert fitted.cllr[method] == pytest.approx(cllr(fitted.left_out[method], labels), abs=1e-12)


@pytest.mark.parametrize(
    "change, folds, message",
    [
        (lambda s, y, c: (s, y * 0, c), 5, "all 40 videos with a score and a label are real: a ratio needs both kinds"),
        (lambda s, y, c: (s, y * 0 + 1, c), 5, "all 40 videos with a score and a label are fake"),
        (lambda s, y, c: (s * 0 + 0.25, y, c), 5, "all 40 scores are 0.25: nothing can be learned"),
        (
            lambda s, y, c: (s, y, c * 0),
            5,
            "the 20 fake videos with a score and a label are of 1 cluster: 5 folds need 5",
        ),
        (lambda s, y, c: (s, y, c % 4), 5, "are of 4 clusters: 5 folds need 5; add some, or give --folds 4"),
        (
            lambda s, y, c: (s, y, np.where(y, c, c % 3)),
            5,
            "the 20 real videos with a score and a label are of 3 clusters",
        ),
    ],
    ids=["real", "fake", "equal scores", "one cluster", "four clusters", "three of real ones"],
)
def test_what_nothing_can_be_learned_from(change, folds, message):
    with pytest.raises(InputError) as error:
        fit(*change(*gaussian_scores(20)), folds=folds)
    assert message in str(error.value)
