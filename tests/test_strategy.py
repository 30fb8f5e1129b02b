"""Sampling and strategies, with numbers worked by hand."""

import pytest

from faces.sampling import evenly_spaced
from systems.seferbekov.strategy import confident_strategy, mean_strategy


def test_evenly_spaced():
    assert evenly_spaced(300, 4) == [0, 99, 199, 299]
    assert evenly_spaced(5, 32) == [0, 1, 2, 3, 4]
    assert evenly_spaced(1, 32) == [0]
    assert evenly_spaced(0, 32) == []
    assert len(evenly_spaced(300, 32)) == 32


def test_many_confident_fakes():
    # 32 // 2.5 = 12: 13 above 0.8 are needed
    assert confident_strategy([0.9] * 13 + [0.1] * 19) == pytest.approx(0.9)
    assert confident_strategy([0.9] * 12 + [0.1] * 20) == pytest.approx((12 * 0.9 + 20 * 0.1) / 32)


def test_few_faces_are_never_many_fakes():
    assert confident_strategy([0.9] * 11) == pytest.approx(0.9)  # the plain mean, not for being 11
    assert confident_strategy([0.9] * 11 + [0.3] * 3) == pytest.approx((11 * 0.9 + 3 * 0.3) / 14)
    assert confident_strategy([0.9] * 12 + [0.3] * 3) == pytest.approx(0.9)


def test_nearly_all_confident_reals():
    # more than 90 %: 10 of 11 are, 9 of 10 are not
    assert confident_strategy([0.1] * 10 + [0.7]) == pytest.approx(0.1)
    assert confident_strategy([0.1] * 9 + [0.7]) == pytest.approx((0.9 + 0.7) / 10)


def test_thresholds_are_exclusive():
    assert confident_strategy([0.8] * 20 + [0.4] * 12) == pytest.approx((20 * 0.8 + 12 * 0.4) / 32)
    assert confident_strategy([0.2] * 20) == pytest.approx(0.2)
    assert confident_strategy([0.5] * 20 + [0.6] * 12, t=0.55) == pytest.approx((20 * 0.5 + 12 * 0.6) / 32)


def test_mean():
    assert mean_strategy([0.9] * 13 + [0.1] * 7) == pytest.approx((13 * 0.9 + 0.7) / 20)
