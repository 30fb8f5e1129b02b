"""The GPU's detector on the CPU, its area pooling by the host's run of the kernel."""

from functools import partial

import numpy as np
import pytest
import torch

from faces import cuda_mtcnn
from faces.area_pool import NumpyImages
from faces.cuda_mtcnn import CudaNetworks, _layout
from faces.face_detector import FacenetDetector, _pyramid
from runtime.errors import DeviceError
from tests import media
from tests.cuda_on_cpu import COMPILER, HostGraph, HostKernels

needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")
THRESHOLDS = (0.7, 0.8, 0.8)


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    kernels = HostKernels("area_pool", tmp_path_factory.mktemp("kernels"))
    return CudaNetworks(torch.device("cpu"), kernels.launch, record=HostGraph)


@pytest.fixture(scope="module")
def frames():
    """One face, two, none."""
    single = media.face_frames(2, 640, 480, 260)
    double = single[0].copy()
    double[:, :240] = single[1][:, 200:440]
    return [single[0], double, *media.noise_frames(1, 640, 480)]


def assert_same(ours, expected):
    for faces, others in zip(ours, expected, strict=True):
        np.testing.assert_allclose(faces.bboxes, others.bboxes, atol=0.01)
        np.testing.assert_allclose(faces.scores, others.scores, atol=1e-5)
        np.testing.assert_allclose(faces.landmarks, others.landmarks, atol=0.01)


@needs_compiler
def test_same_faces_as_the_torch_engine(networks, frames):
    detector = FacenetDetector(thresholds=THRESHOLDS, engine="torch")
    expected = detector.detect(frames)
    assert [len(faces.bboxes) for faces in expected] == [1, 2, 0]
    detector._networks = networks
    assert_same(detector.detect(frames), expected)


@needs_compiler
def test_crops_of_ever_other_sizes_are_searched_together(networks, frames, monkeypatch):
    """Those whose canvases have one shape, each on its own layout."""
    crops = [frames[0][80 - i : 440, 140 + 3 * i : 500 + i] for i in range(5)]
    detector = FacenetDetector(thresholds=THRESHOLDS, scale="full", engine="torch", any_size=True)
    expected = detector.detect_largest(crops)
    assert all(len(faces.bboxes) for faces in expected)
    searched = []
    load = networks.load
    monkeypatch.setattr(networks, "load", lambda images: searched.append(len(images)) or load(images))
    detector._networks = networks
    assert_same(detector.detect_largest(crops), expected)
    assert max(searched) > 1


@needs_compiler
def test_batches_that_are_not_full(networks, frames, monkeypatch):
    """More images and boxes than are computed at a time, and none of either."""
    detector = FacenetDetector(thresholds=THRESHOLDS, engine="torch")
    expected = detector.detect(frames)
    monkeypatch.setattr(cuda_mtcnn, "_MOST_CANVASES", 2)
    monkeypatch.setattr(cuda_mtcnn, "_BOXES", 5)
    detector._networks = networks
    assert_same(detector.detect(frames), expected)
    assert detector.detect([]) == [] and len(detector.detect([np.zeros((41, 300, 3), np.uint8)])[0].bboxes) == 0


@needs_compiler
def test_area_averages(networks):
    """Of boxes of two images that are not the same size, against the CPU's."""
    draw = np.random.default_rng(0)
    images = [draw.integers(0, 256, shape, dtype=np.uint8) for shape in ((50, 70, 3), (31, 44, 3))]
    numbers, boxes = np.array([1, 0, 0]), np.array([[0, 0, 44, 31], [5, 7, 6, 8], [3, 2, 70, 50]])
    rectangles = np.zeros((3, 10), np.int32)
    rectangles[:, 0], rectangles[:, 1:5], rectangles[:, 5], rectangles[:, 8:] = numbers, boxes, range(3), 24
    pooled = torch.zeros(4, 3, 24, 24)
    networks._pool(networks.load(images), *networks._rectangles(rectangles), pooled)
    expected = NumpyImages(images).pool_boxes(numbers, boxes, 24)
    np.testing.assert_allclose(pooled[:3].permute(0, 2, 3, 1).numpy(), (expected - 127.5) * 0.0078125, atol=1e-6)
    assert not pooled[3].any()


@pytest.mark.parametrize("height, width", [(540, 960), (227, 161), (64, 1000), (20, 20)])
def test_layout(height, width):
    """Scales lie on the canvas, apart from each other, at even places; each has its cells."""
    layout = _layout(height, width, tuple(_pyramid(min(height, width))))
    taken = np.zeros(layout.shape, int)
    for number, (scale, top, left, high, across) in enumerate(layout.places):
        assert (high, across) == (int(height * scale + 1), int(width * scale + 1)) and top % 2 == left % 2 == 0
        assert top + high <= layout.shape[0] and left + across <= layout.shape[1]
        taken[top : top + high, left : left + across] += 1
        rows, columns = (-(-(side - 2) // 2) - 4 for side in (high, across))
        assert (layout.cells == number).sum() == rows * columns
    assert taken.max() == 1 and not any(side % 64 for side in layout.shape)


def test_little_memory_is_searched_in_halves(frames, monkeypatch):
    """And a single frame that does not fit ends in a line."""
    detector = FacenetDetector(thresholds=THRESHOLDS, engine="torch")
    expected, sizes = detector.detect(frames), []
    cascade = detector._cascade

    def short_of_memory(most, images, pyramid):
        sizes.append(len(images))
        if len(images) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return cascade(images, pyramid)

    monkeypatch.setattr(detector, "_cascade", partial(short_of_memory, 1))
    assert_same(detector.detect(frames), expected)
    assert sizes == [3, 1, 2, 1, 1]
    monkeypatch.setattr(detector, "_cascade", partial(short_of_memory, 0))
    with pytest.raises(DeviceError, match="too little free memory: use fewer --workers"):
        detector.detect(frames)
