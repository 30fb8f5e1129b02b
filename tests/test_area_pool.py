"""Area pooling against torch's own and against a sum worked by hand."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from faces.area_pool import NumpyImages, TorchImages


@pytest.fixture(scope="module")
def images():
    draw = np.random.default_rng(1)
    return [draw.integers(0, 256, (90, 161, 3), dtype=np.uint8) for _ in range(2)]


def torch_area(image, height, width):
    planes = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    return F.interpolate(planes, size=(height, width), mode="area")[0].permute(1, 2, 0).numpy()


def test_by_hand():
    """5 pixels to 3: windows 0-1, 1-3, 3-4, whose ends overlap."""
    row = np.array([10, 20, 60, 100, 200], np.uint8)
    image = np.repeat(row[None, :, None], 3, axis=2)
    pooled = NumpyImages([image]).pool(0, 1, 3)
    assert pooled.shape == (1, 1, 3, 3) and pooled.dtype == np.float32
    assert pooled[0, 0, :, 0].tolist() == [15, 60, 150]


@pytest.mark.parametrize("height, width", [(55, 97), (90, 161), (13, 24), (1, 1)])
def test_whole_images(images, height, width):
    for number, image in enumerate(images):
        pooled = NumpyImages(images).pool(number, height, width)[0]
        np.testing.assert_allclose(pooled, torch_area(image, height, width), atol=1e-4)
        on_torch = TorchImages(images, torch.device("cpu")).pool_all(height, width)[number]
        np.testing.assert_allclose(on_torch.numpy(), pooled, atol=1e-4)


@pytest.mark.parametrize("size", [24, 48])
def test_boxes(images, size):
    boxes = np.array([[0, 0, 161, 90], [3, 5, 40, 70], [100, 20, 101, 21], [150, 80, 161, 90]], np.int32)
    numbers = np.array([0, 1, 1, 0])
    pooled = NumpyImages(images).pool_boxes(numbers, boxes, size)
    assert pooled.shape == (4, size, size, 3) and pooled.dtype == np.float32
    for result, number, (x1, y1, x2, y2) in zip(pooled, numbers, boxes, strict=True):
        expected = torch_area(np.ascontiguousarray(images[number][y1:y2, x1:x2]), size, size)
        np.testing.assert_allclose(result, expected, atol=1e-4)
    on_torch = TorchImages(images, torch.device("cpu")).pool_boxes(numbers, boxes, size)
    np.testing.assert_allclose(on_torch.numpy(), pooled, atol=1e-4)
