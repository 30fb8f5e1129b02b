"""The metrics, against numbers worked by hand."""

import math

import numpy as np
import pytest

from inference import metrics


def arrays(labels, scores):
    return np.array(labels), np.array(scores, np.float64)


def test_losses_and_log_loss():
    labels, scores = arrays([1, 0, 1], [0.5, 0.75, 0.25])
    np.testing.assert_allclose(metrics.losses(labels, scores), [math.log(2), math.log(4), math.log(4)], rtol=1e-12)
    assert metrics.log_loss(labels, scores) == pytest.approx(5 / 3 * math.log(2), abs=1e-12)


def test_log_loss_is_clipped_as_in_the_competition():
    """-log(1e-15) is 34.54; 1 - (1 - 1e-15) is a little off 1e-15 in double precision."""
    assert metrics.log_loss(*arrays([1], [0.0])) == pytest.approx(15 * math.log(10), rel=1e-12)
    assert metrics.log_loss(*arrays([0], [1.0])) == pytest.approx(15 * math.log(10), rel=1e-4)
    assert metrics.log_loss(*arrays([1, 0], [1.0, 0.0])) == pytest.approx(0, abs=1e-14)


@pytest.mark.parametrize(
    "labels, scores, wanted",
    [
        ([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], 3 / 4),  # of 4 pairs of a fake and a real one, one is wrong
        ([1, 1, 0, 0], [0.9, 0.8, 0.2, 0.1], 1),
        ([1, 1, 0, 0], [0.1, 0.2, 0.8, 0.9], 0),
        ([1, 0, 1, 0], [0.5, 0.5, 0.5, 0.5], 1 / 2),
        ([1, 0, 0], [0.5, 0.5, 0.1], 3 / 4),  # one pair is right, one is equal
        ([1, 1, 0, 0, 0], [0.7, 0.3, 0.7, 0.3, 0.1], 4 / 6),  # (.5 + 1 + 1) + (0 + .5 + 1) = 4 of 6
    ],
)
def test_roc_auc(labels, scores, wanted):
    assert metrics.roc_auc(*arrays(labels, scores)) == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize(
    "labels, scores, wanted",
    [
        # falling: 0.8 fake (precision 1, recall +1/2), 0.4 real, 0.35 fake (2/3, +1/2), 0.1 real
        ([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], 1 / 2 + 1 / 2 * 2 / 3),
        ([1, 1, 0, 0], [0.9, 0.8, 0.2, 0.1], 1),
        ([1, 1, 0, 0], [0.1, 0.2, 0.8, 0.9], 1 / 2 * 1 / 3 + 1 / 2 * 2 / 4),
        ([1, 0, 1, 0], [0.5, 0.5, 0.5, 0.5], 1 / 2),  # one threshold: the share of fakes
        # 0.7: one of two is fake (1/2, +1/2); 0.3: two of four (1/2, +1/2)
        ([1, 1, 0, 0, 0], [0.7, 0.3, 0.7, 0.3, 0.1], 1 / 2),
    ],
)
def test_average_precision(labels, scores, wanted):
    assert metrics.average_precision(*arrays(labels, scores)) == pytest.approx(wanted, abs=1e-12)


def test_order_does_not_matter():
    draw = np.random.default_rng(0)
    labels, scores = draw.integers(0, 2, 200), draw.integers(0, 20, 200) / 20
    order = draw.permutation(200)
    for metric in (metrics.log_loss, metrics.roc_auc, metrics.average_precision, metrics.accuracy):
        assert metric(labels, scores) == pytest.approx(metric(labels[order], scores[order]), abs=1e-12)


def test_roc_auc_is_the_share_of_pairs():
    draw = np.random.default_rng(1)
    labels, scores = draw.integers(0, 2, 60), draw.integers(0, 8, 60) / 8
    fakes, reals = scores[labels == 1][:, None], scores[labels == 0][None]
    wanted = ((fakes > reals) + 0.5 * (fakes == reals)).mean()
    assert metrics.roc_auc(labels, scores) == pytest.approx(wanted, abs=1e-12)


def test_accuracy():
    """0.5 is no fake."""
    assert metrics.accuracy(*arrays([1, 1, 0, 0], [0.51, 0.5, 0.5, 0.9])) == 0.5


@pytest.mark.parametrize("label", [0, 1])
def test_one_label_only(label):
    labels, scores = arrays([label, label], [0.25, 0.25])
    assert metrics.roc_auc(labels, scores) is None and metrics.average_precision(labels, scores) is None
    assert metrics.log_loss(labels, scores) == pytest.approx(math.log(4 if label else 4 / 3))
    assert metrics.accuracy(labels, scores) == 1 - label


def test_no_videos():
    labels, scores = np.array([], int), np.array([])
    for metric in (metrics.log_loss, metrics.roc_auc, metrics.average_precision, metrics.accuracy):
        assert metric(labels, scores) is None
