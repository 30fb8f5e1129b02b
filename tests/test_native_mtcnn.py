"""MTCNN's networks on our own kernels against PyTorch."""

import numpy as np
import pytest
import torch

from faces.mtcnn import NativeNetworks, Networks
from tests import media
from tests.engines import needs_avx512, needs_native

LIBRARIES = [pytest.param("mtcnn", marks=needs_native), pytest.param("mtcnn_avx512", marks=needs_avx512)]


@pytest.fixture(scope="module", params=LIBRARIES)
def networks(request):
    return NativeNetworks(request.param), Networks(torch.device("cpu"), "torch", 1, False)


@pytest.fixture(scope="module")
def frames():
    return [
        media.face_frames(1, 320, 180, 100)[0],
        media.noise_frames(1, 203, 97)[0],
        np.full((24, 20, 3), 255, np.uint8),
    ]


def test_proposals(networks, frames):
    native, torch_networks = networks

    def pyramid(side):
        return [1.0, 0.6, 0.61, 12 / side]

    found = list(native.propose(native.load(frames), pyramid))
    expected = list(torch_networks.propose(torch_networks.load(frames), pyramid))
    assert [item[:2] for item in found] == [item[:2] for item in expected] and len(found) == 12
    for (_, _, maps), (_, _, others) in zip(found, expected, strict=True):
        assert maps.dtype == np.float32
        np.testing.assert_allclose(maps, others, atol=2e-5)


@pytest.mark.parametrize("size, outputs", [(24, 2), (48, 3)])
def test_refinements(networks, frames, size, outputs):
    """Of boxes larger and smaller than what they are scaled to, down to a pixel, in any order of images."""
    draw = np.random.default_rng(0)
    numbers = draw.integers(0, 3, 40)
    sides = np.array([[frame.shape[1], frame.shape[0]] for frame in frames])[numbers]
    corners = (draw.random((40, 2)) * (sides - 1)).astype(int)
    ends = corners + 1 + (draw.random((40, 2)) * (sides - corners)).astype(int)
    boxes = np.concatenate([corners, np.minimum(ends, sides)], axis=1)
    native, torch_networks = networks
    found = native.refine(native.load(frames), numbers, boxes, size)
    expected = torch_networks.refine(torch_networks.load(frames), numbers, boxes, size)
    assert len(found) == len(expected) == outputs
    for output, other in zip(found, expected, strict=True):
        assert output.shape == other.shape and output.dtype == np.float32
        np.testing.assert_allclose(output, other, atol=2e-5)


def test_more_boxes_than_go_into_a_call(networks, frames):
    native, _ = networks
    numbers, boxes = np.zeros(1100, int), np.tile([[10, 10, 60, 70]], (1100, 1))
    probability, regression = native.refine(native.load(frames), numbers, boxes, 24)
    assert probability.shape == (1100,) and regression.shape == (1100, 4)
    assert np.ptp(probability) == 0 and not np.ptp(regression, axis=0).any()
