"""SSIM masks against scikit-image's."""

import cv2
import numpy as np
import pytest
import skimage.data
from skimage.metrics import structural_similarity

from preprocessing.ssim import difference_mask


def oracle(first, second):
    _, similarity = structural_similarity(first, second, channel_axis=2, full=True)
    levels = np.clip((1 - similarity) * 255, 0, 255).astype(np.uint8)
    return cv2.cvtColor(levels, cv2.COLOR_BGR2GRAY)


def cases():
    face = np.ascontiguousarray(skimage.data.astronaut()[20:175, 130:301])
    draw = np.random.default_rng(5)
    noise = draw.integers(0, 256, face.shape, dtype=np.uint8)
    patched = face.copy()
    patched[40:90, 50:120] = cv2.GaussianBlur(face, (9, 9), 3)[40:90, 50:120]
    black, white = np.zeros_like(face), np.full_like(face, 255)
    return {
        "patched": (face, patched),
        "compressed": (face, cv2.imdecode(cv2.imencode(".jpg", face, [1, 40])[1], 1)),
        "noise": (face, noise),
        "negative": (face, 255 - face),
        "extremes": (black, white),
        "strip": (face[:8, :9], patched[41:49, 50:59]),
    }


@pytest.mark.parametrize("name", cases())
def test_same_as_scikit_image(name):
    first, second = cases()[name]
    expected, mask = oracle(first, second).astype(int), difference_mask(first, second)
    assert mask.dtype == np.uint8 and mask.shape == first.shape[:2]
    difference = np.abs(mask - expected)
    assert difference.max() <= 1  # where the value lies on a whole number
    assert (difference > 0).mean() < 0.01


def test_equal_images_give_an_empty_mask():
    face = skimage.data.astronaut()[:100, :100]
    assert not difference_mask(face, face).any()


def test_by_hand():
    """Two flat images: SSIM is (2ab + C1) / (a^2 + b^2 + C1) everywhere: 17046.5 / 23770.5 = 0.7171 here."""
    first, second = (np.full((20, 100, 3), value, np.uint8) for value in (60, 142))
    assert np.unique(difference_mask(first, second)).tolist() == [72]  # (1 - 0.7171) * 255 = 72.1


def test_negative_similarity_does_not_wrap():
    """The published pipeline's cast to uint8 turned 300 into 44."""
    face = skimage.data.astronaut()[:60, :60]
    assert difference_mask(face, 255 - face).max() == 255
