"""Cllr, Cllr-min, PAV and ELUB: worked by hand, and as the Netherlands Forensic Institute's lir has them."""

import numpy as np
import pytest
from lir.algorithms.isotonic_regression import IsotonicCalibrator
from lir.algorithms.logistic_regression import LogitCalibrator

from evaluation.calibrators import fit_calibrator
from evaluation.elub import elub
from evaluation.likelihood_ratios import WeightedMeans, balanced, cllr, cllr_min, figures_of, pav

# fakes, real videos, half the distance of their means in log10, digits, and whether infinite ratios are there
CASES = {
    "good": (60, 40, 1.0, 6, False),
    "weak": (50, 200, 0.2, 6, False),
    "wrong way round": (40, 40, -0.4, 6, False),
    "equal ratios": (90, 110, 0.7, 0, False),
    "divided": (30, 20, 4.0, 6, False),
    "infinite": (25, 35, 1.0, 3, True),
    "two videos": (1, 1, 1.5, 6, False),
}
# what lir 1.3.1 (PyPI) says of them
LIR = {
    "good": {
        "cllr": 0.3467924173204756,
        "cllr_min": 0.23226197129787382,
        "pav": [
            (-np.inf, 29),
            (-0.47712125472, 3),
            (-0.352182518111, 10),
            (0.221848749616, 7),
            (0.602059991328, 7),
            (np.inf, 44),
        ],
        "elub": [-1.26, 1.18],
    },
    "weak": {
        "cllr": 1.0753351571559637,
        "cllr_min": 0.8854982842418642,
        "pav": [
            (-np.inf, 13),
            (-0.359021942642, 71),
            (-0.176091259056, 7),
            (-0.031408464252, 53),
            (0.0, 5),
            (0.124938736608, 60),
            (0.234083206033, 30),
            (0.602059991328, 8),
            (np.inf, 3),
        ],
        "elub": [-0.16999999999999993, 0.22999999999999998],
    },
    "wrong way round": {
        "cllr": 2.160476359247714,
        "cllr_min": 1.0000000000000002,
        "pav": [(-0.0, 80)],
        "elub": [0.0, 0.0],
    },
    "equal ratios": {
        "cllr": 0.6199698752834067,
        "cllr_min": 0.6148636502884774,
        "pav": [(-np.inf, 12), (-0.882886600904, 62), (0.020203386088, 65), (0.865301426103, 49), (np.inf, 12)],
        "elub": [-0.8999999999999999, 0.9099999999999999],
    },
    "divided": {
        "cllr": 0.0005907149834052224,
        "cllr_min": 0.0,
        "pav": [(-np.inf, 20), (np.inf, 30)],
        "elub": [-1.47, 1.3],
    },
    "infinite": {
        "cllr": 0.311205951769134,
        "cllr_min": 0.19110386440212818,
        "pav": [(-np.inf, 28), (-0.330993219041, 4), (0.146128035678, 8), (np.inf, 20)],
        "elub": [-1.1099999999999999, 1.2100000000000002],
    },
    "two videos": {
        "cllr": 0.04131099674489784,
        "cllr_min": 0.0,
        "pav": [(-np.inf, 1), (np.inf, 1)],
        "elub": [-8.673617379884035e-18, 8.673617379884035e-18],
    },
}


def ratios_and_labels(fakes, real, distance, digits, infinite):
    """The same on every machine: no generator is asked."""
    labels = np.repeat([1, 0], [fakes, real])
    spread = 0.6 * np.sin(np.outer(np.arange(fakes + real), [12.9898, 78.233, 4.1414])).sum(axis=1)
    ratios = np.round(spread + distance * (2 * labels - 1), digits) + 0.0
    if infinite:
        ratios[[0, -1]] = np.inf, -np.inf
    return ratios, labels


@pytest.mark.parametrize("case", CASES)
def test_as_lir(case):
    ratios, labels = ratios_and_labels(*CASES[case])
    known = LIR[case]
    assert cllr(ratios, labels) == pytest.approx(known["cllr"], abs=1e-9)
    assert cllr_min(ratios, labels) == pytest.approx(known["cllr_min"], abs=1e-9)
    np.testing.assert_allclose(elub(ratios, labels), known["elub"], rtol=0, atol=1e-9)
    values, counts = zip(*known["pav"], strict=True)
    np.testing.assert_allclose(np.sort(pav(ratios, labels)), np.repeat(values, counts), rtol=0, atol=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_what_is_not_by_lir_is_as_by_lir(case):
    """Its pooling of ratios that all count the same, and the Cllr of such."""
    ratios, labels = ratios_and_labels(*CASES[case])
    theirs = IsotonicCalibrator().fit_transform(ratios, labels)
    np.testing.assert_allclose(pav(ratios, labels), theirs.ravel(), rtol=0, atol=1e-9)
    means = WeightedMeans(ratios, labels)(np.ones((1, len(labels))))
    assert means[0, 0] == pytest.approx(cllr(ratios, labels), abs=1e-9)


def test_as_lir_learns():
    """Its logistic calibrator, of the same scikit-learn with the same regularisation."""
    values, labels = ratios_and_labels(*CASES["weak"])
    mine = fit_calibrator("logistic", values, labels, balanced(labels)).log10_lr(values)
    theirs = LogitCalibrator(tol=1e-10).fit(values[:, None], labels).transform(values[:, None]).ravel()
    np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-5)


def test_by_hand():
    """Ratios of 3 and 1/3 for two fakes, 1 and 1/7 for two real videos."""
    ratios, labels = np.log10([3, 1 / 3, 1, 1 / 7]), np.array([1, 1, 0, 0])
    cost = (np.log2(4 / 3) + np.log2(4)) / 4 + (np.log2(2) + np.log2(8 / 7)) / 4
    figures = figures_of(ratios, labels)
    assert figures["cllr"] == pytest.approx(cost, abs=1e-15)
    # in their order: real, fake and real pooled, fake; the pool costs 1 bit for half of the videos
    assert figures["cllr_min"] == pytest.approx(0.5) and figures["cllr_cal"] == pytest.approx(cost - 0.5)
    assert figures["misleading_fake"] == 0.5 and figures["misleading_real"] == 0
    np.testing.assert_allclose(pav(ratios, labels), [np.inf, 0, 0, -np.inf], atol=1e-15)


def test_ratios_of_one_cost_a_bit_and_infinite_ones_nothing_or_all():
    labels = np.array([1, 0, 0])
    assert cllr(np.zeros(3), labels) == pytest.approx(1, abs=1e-15)
    assert cllr(np.array([np.inf, -np.inf, -np.inf]), labels) == 0
    assert cllr(np.array([np.inf, np.inf, -np.inf]), labels) == np.inf


def test_weights_are_repeated_videos():
    ratios, labels = ratios_and_labels(*CASES["good"])
    weights = np.arange(len(labels)) % 4
    again = np.repeat(np.arange(len(labels)), weights)
    means = WeightedMeans(ratios, labels)
    expected = WeightedMeans(ratios[again], labels[again])(np.ones((1, len(again))))
    np.testing.assert_allclose(means(np.stack([weights, weights * 2.0])), np.repeat(expected, 2, axis=0), rtol=1e-12)
    assert np.isnan(means(labels[None].astype(float))).all()


def test_bounds_by_hand():
    """99 real videos and 99 fakes, perfectly divided: one misleading ratio among 100 allows ratios up to 100."""
    ratios, labels = np.repeat([5.0, -5.0], 99), np.repeat([1, 0], 99)
    np.testing.assert_allclose(elub(ratios, labels), (-2, 2), atol=0.0101)
    assert elub(-ratios, labels) == (0, 0)
