"""Scores of videos and their log loss, by hand."""

import math

import numpy as np
import pytest

from training.validation import log_loss, score_videos


def test_a_video_is_the_mean_of_its_frames():
    frames = [("b", 1, 0.9), ("a", 0, 0.2), ("b", 1, 0.5), ("c", 0, 0.4)]
    result = score_videos(frames)
    assert result.probs == pytest.approx({"a": 0.2, "b": 0.7, "c": 0.4})
    assert result.targets == {"a": 0, "b": 1, "c": 0}
    assert result.fake_loss == pytest.approx(-math.log(0.7))
    assert result.real_loss == pytest.approx(-(math.log(0.8) + math.log(0.6)) / 2)
    assert result.bce == pytest.approx((result.fake_loss + result.real_loss) / 2)


def test_certainty_is_clipped():
    assert log_loss(np.array([0.0]), 1) == pytest.approx(-math.log(1e-15))
    assert log_loss(np.array([1.0]), 1) == pytest.approx(0, abs=1e-12)
    assert math.isnan(log_loss(np.array([math.nan]), 1))
