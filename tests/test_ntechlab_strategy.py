"""A video's score from its faces' probabilities, worked by hand and as published."""

import csv
from collections import defaultdict

import numpy as np
import pytest

from systems.ntechlab.strategy import stretch, weighted_mean
from tests.ntechlab import GOLDEN, golden

needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="no ../shared")


def test_stretched_away_from_a_half():
    stretched, weights = stretch(np.array([0.5, 0.6, 0.4, 1, 0], np.float32))
    far = 0.1**0.65
    np.testing.assert_allclose(stretched, [0.5, 0.5 + far, 0.5 - far, 0.99, 0.01], rtol=1e-6)
    np.testing.assert_allclose(weights, [0.0001, 0.1001, 0.1001, 0.5001, 0.5001], rtol=1e-5)


def test_weighted_mean():
    assert weighted_mean([]) == 0.5
    assert weighted_mean([0.5]) == 0.5
    assert weighted_mean([1, 1]) == pytest.approx(0.99)
    assert weighted_mean([1, 0.5]) == pytest.approx((0.99 * 0.5001 + 0.5 * 0.0001) / 0.5002)


@needs_golden
def test_published_transform_and_scores():
    expected = golden("augmentation.json")
    p, q, weight = np.array(expected["confidence"]).T
    stretched, weights = stretch(p.astype(np.float32))
    np.testing.assert_allclose(stretched, q, rtol=0, atol=1e-6)
    np.testing.assert_allclose(weights, weight, rtol=0, atol=1e-6)
    for probabilities, score in expected["video_scores"]:
        assert weighted_mean(probabilities) == pytest.approx(score, abs=1e-6)


@needs_golden
def test_scores_of_the_published_probabilities():
    faces = defaultdict(list)
    with open(GOLDEN / "faces.csv", newline="") as file:
        for row in csv.DictReader(file):
            faces[row["video"]].append(float(row["probability"]))
    for video, expected in golden("scores.json").items():
        assert weighted_mean(faces[video]) == pytest.approx(expected["score"], abs=2e-6)
