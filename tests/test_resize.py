"""The resize against Pillow itself."""

import numpy as np
import pytest
from PIL import Image

from engines.native.halve import halve
from faces import resize
from faces.resize import resize_rgb
from tests.engines import needs_avx512


def noise(height, width, seed=0):
    draw = np.random.default_rng(seed)
    image = draw.integers(0, 256, (height, width, 3), dtype=np.uint8)
    image[draw.random(image.shape) < 0.3] = 255
    image[draw.random(image.shape) < 0.3] = 0
    return image


def pillow(image, width, height):
    """Across, then down, whatever the order this version of Pillow would choose."""
    across = Image.fromarray(image).resize((width, image.shape[0]))
    return np.asarray(across.resize((width, height)))


INNERS = [pytest.param(halve, marks=needs_avx512), resize._inner_torch]


@pytest.mark.parametrize("inner", INNERS)
@pytest.mark.parametrize("height, width", [(1080, 1920), (720, 1280), (1920, 1080), (32, 32), (34, 500), (600, 40)])
def test_half_size_is_pillows(height, width, inner, monkeypatch):
    monkeypatch.setattr(resize, "_inner", inner)
    image = noise(height, width)
    np.testing.assert_array_equal(resize_rgb(image, width // 2, height // 2), pillow(image, width // 2, height // 2))


@pytest.mark.parametrize("height, width", [(1081, 1921), (31, 33), (2, 2), (3, 2), (18, 600)])
def test_odd_and_small_sizes_are_pillows(height, width):
    image = noise(height, width)
    np.testing.assert_array_equal(resize_rgb(image, width // 2, height // 2), pillow(image, width // 2, height // 2))


def test_other_scales_are_pillows():
    image = noise(200, 300)
    for width, height in ((600, 400), (300, 200), (99, 66)):
        np.testing.assert_array_equal(resize_rgb(image, width, height), pillow(image, width, height))


def test_without_the_fast_path_it_is_pillow(monkeypatch):
    monkeypatch.setattr(resize, "_fast_is_exact", lambda: False)
    monkeypatch.setattr(resize, "_halve", None)
    image = noise(64, 80)
    np.testing.assert_array_equal(resize_rgb(image, 40, 32), pillow(image, 40, 32))


def test_a_wrong_kernel_would_be_noticed(monkeypatch):
    monkeypatch.setattr(resize, "_halve", lambda image: image[::2, ::2])
    assert not resize._fast_is_exact.__wrapped__()
