"""Weighted figures against scikit-learn's, and by hand."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.interpolate import interp1d
from scipy.optimize import brentq
from sklearn import metrics
from sklearn.calibration import calibration_curve

from evaluation.figures import BINS, NAMES, PARTIAL, RATES, TPR_NAMES, WeightedFigures, figures_of

CLOSE = 1e-12


def videos(count, seed, *, digits=None):
    """Labels, scores and weights; with `digits` many scores are equal. Some weights are 0, most no whole numbers."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 2, count)
    scores = 1 / (1 + np.exp(-draw.normal(labels - 0.5, 1)))
    weights = draw.random(count) * draw.integers(0, 3, count)
    return labels, scores if digits is None else scores.round(digits), weights


@pytest.mark.parametrize("digits", [None, 1, 2])
@pytest.mark.parametrize("seed", range(3))
def test_as_scikit_learn_has_them(seed, digits):
    labels, scores, weights = videos(500, seed, digits=digits)
    figures = figures_of(labels, scores, weights)
    fpr, tpr, _ = metrics.roc_curve(labels, scores, sample_weight=weights, drop_intermediate=False)
    flagged = scores > 0.5
    matrix = metrics.confusion_matrix(labels, flagged, sample_weight=weights, normalize="true")
    assert figures == pytest.approx(
        {
            "log_loss": metrics.log_loss(labels, scores.clip(1e-15, 1 - 1e-15), sample_weight=weights),
            "roc_auc": metrics.roc_auc_score(labels, scores, sample_weight=weights),
            "average_precision": metrics.average_precision_score(labels, scores, sample_weight=weights),
            "accuracy": metrics.accuracy_score(labels, flagged, sample_weight=weights),
            "true_positive_rate": matrix[1, 1],
            "false_positive_rate": matrix[0, 1],
            "eer": brentq(lambda rate: 1 - rate - interp1d(fpr, tpr)(rate), 0, 1, xtol=1e-15),
            **{name: tpr[fpr <= rate].max() for name, rate in zip(TPR_NAMES, RATES, strict=True)},
            "partial_auc": metrics.roc_auc_score(labels, scores, sample_weight=weights, max_fpr=PARTIAL),
            "brier": metrics.brier_score_loss(labels, scores, sample_weight=weights),
            "ece": calibration_error(labels, scores, weights),
            "coverage": weights[scores != 0.5].sum() / weights.sum(),
        },
        rel=CLOSE,
        abs=CLOSE,
    )


def calibration_error(labels, scores, weights):
    """From each bin's labels and scores alone; the bins' borders are those of scikit-learn's calibration_curve."""
    upper = np.linspace(0, 1, BINS + 1)
    error = 0.0
    for low, high in pairwise(upper):
        inside = (scores > low) & (scores <= high) if low else scores <= high
        if weights[inside].sum():
            share, mean = (np.average(each[inside], weights=weights[inside]) for each in (labels, scores))
            error += weights[inside].sum() * abs(share - mean)
    return error / weights.sum()


def test_calibration_error_without_weights():
    labels, scores, _ = videos(400, 7)
    shares, means = calibration_curve(labels, scores, n_bins=BINS)
    counts = np.histogram(scores, BINS, (0, 1))[0]
    expected = (counts[counts > 0] * abs(shares - means)).sum() / len(scores)
    assert figures_of(labels, scores)["ece"] == pytest.approx(expected, rel=CLOSE)


def test_many_weights_at_once():
    """Each row is as if it were alone, and a weight of two is the video twice."""
    labels, scores, _ = videos(60, 3, digits=1)
    weights = np.random.default_rng(4).integers(0, 3, (5, 60)).astype(float)
    together = WeightedFigures(labels, scores)(weights)
    for row, values in zip(weights.astype(int), together, strict=True):
        expected = figures_of(np.repeat(labels, row), np.repeat(scores, row))
        assert dict(zip(NAMES, values, strict=True)) == pytest.approx(expected, rel=CLOSE)


def test_by_hand():
    """A fake above all, one between the real ones. At most half of the real ones accused: one, and then both fakes."""
    labels, scores = np.array([1, 0, 1, 0]), np.array([0.9, 0.6, 0.5, 0.1])
    figures = figures_of(labels, scores)
    assert figures == pytest.approx(
        {
            "log_loss": -(math.log(0.9) + math.log(0.4) + math.log(0.5) + math.log(0.9)) / 4,
            "roc_auc": 3 / 4,
            "average_precision": 1 / 2 + 1 / 2 * 2 / 3,
            "accuracy": 1 / 2,
            "true_positive_rate": 1 / 2,
            "false_positive_rate": 1 / 2,
            "eer": 1 / 2,
            **dict.fromkeys(TPR_NAMES, 1 / 2),
            "partial_auc": (1 + (0.05 - 0.005) / (0.1 - 0.005)) / 2,  # the curve is at one half up to 10 %
            "brier": (0.01 + 0.36 + 0.25 + 0.01) / 4,
            "ece": (0.1 + 0.6 + 0.5 + 0.1) / 4,
            "coverage": 3 / 4,
        }
    )


@pytest.mark.parametrize("label", [0, 1])
def test_one_class(label):
    figures = figures_of(np.full(3, label), np.array([0.2, 0.5, 0.9]))
    undefined = {name for name, value in figures.items() if value is None}
    of_the_other = "false_positive_rate" if label else "true_positive_rate"
    assert undefined == {"roc_auc", "average_precision", "eer", *TPR_NAMES, "partial_auc", of_the_other}


def test_equal_scores_are_chance():
    figures = figures_of(np.array([0, 1, 0, 1]), np.full(4, 0.3))
    assert figures["roc_auc"] == figures["eer"] == figures["partial_auc"] == 0.5
    assert figures["tpr_at_fpr_0.1"] == 0


def test_scores_of_0_and_1_have_the_competitions_loss():
    assert figures_of(np.array([1]), np.array([0.0]))["log_loss"] == pytest.approx(15 * math.log(10))
