"""The detector against facenet-pytorch's MTCNN, frame by frame."""

import numpy as np
import pytest
import skimage.data
import torch
from facenet_pytorch import MTCNN
from PIL import Image

from faces import face_detector, mtcnn_boxes
from faces.face_detector import FacenetDetector
from faces.mtcnn import Networks
from tests import media
from tests.engines import DETECTORS

THRESHOLDS = (0.7, 0.8, 0.8)


@pytest.fixture(scope="module")
def frames():
    """Frames with one face, two faces, none, and one cut by the frame."""
    single = media.face_frames(3, 640, 480, 260)
    double = single[0].copy()
    double[:, :240] = single[1][:, 200:440]
    cut = np.roll(single[0], -260, axis=1)
    empty = media.noise_frames(1, 640, 480)
    return [*single, double, cut, *empty]


@pytest.fixture(scope="module")
def oracle(frames):
    detector = MTCNN(margin=0, thresholds=list(THRESHOLDS), device="cpu")
    found = []
    for frame in frames:
        boxes, scores, landmarks = detector.detect(Image.fromarray(frame).resize((320, 240)), landmarks=True)
        empty = np.zeros((0, 4)), np.zeros(0), np.zeros((0, 5, 2))
        result = empty if boxes is None else (boxes, scores, landmarks)
        found.append([np.asarray(part, np.float64) for part in result])
    assert [len(boxes) for boxes, _, _ in found] == [1, 1, 1, 2, 1, 0]  # the case is what it says
    return found


def assert_same(found, oracle):
    assert len(found) == len(oracle)
    for faces, (boxes, scores, landmarks) in zip(found, oracle, strict=True):
        assert faces.bboxes.dtype == faces.scores.dtype == faces.landmarks.dtype == np.float32
        assert faces.bboxes.shape == (len(boxes), 4) and faces.landmarks.shape == (len(boxes), 5, 2)
        np.testing.assert_allclose(faces.bboxes / 2, boxes, atol=0.01)
        np.testing.assert_allclose(faces.scores, scores, atol=1e-5)
        np.testing.assert_allclose(faces.landmarks / 2, landmarks, atol=0.01)


@pytest.mark.parametrize("engine", DETECTORS)
def test_same_boxes_as_facenet_pytorch(frames, oracle, engine):
    detector = FacenetDetector(thresholds=THRESHOLDS, engine=engine)
    assert_same(detector.detect(frames), oracle)
    assert_same([detector.detect([frame])[0] for frame in frames], oracle)  # alone as in company


def test_same_boxes_by_the_path_of_a_gpu(frames, oracle, monkeypatch):
    """What runs on CUDA, on the CPU: all images at once, tables and pooling in torch."""
    from faces.area_pool import TorchImages

    monkeypatch.setattr(Networks, "load", lambda self, images: TorchImages(images, torch.device("cpu")))
    assert_same(FacenetDetector(thresholds=THRESHOLDS, engine="torch").detect(frames), oracle)


def test_many_threads_at_once(frames, oracle):
    from concurrent.futures import ThreadPoolExecutor

    detector = FacenetDetector(thresholds=THRESHOLDS, threads=2)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(detector.detect, [frames] * 6):
            assert_same(found, oracle)


def test_full_scale_finds_the_same_face():
    image = skimage.data.astronaut()
    boxes, _ = MTCNN(margin=0, thresholds=list(THRESHOLDS)).detect(Image.fromarray(image))
    faces = FacenetDetector(thresholds=THRESHOLDS, scale="full").detect([image])[0]
    np.testing.assert_allclose(faces.bboxes, boxes.astype(float), atol=0.01)


def test_scale_by_resolution():
    """The write-up's rule by the wider side; boxes come back in pixels of the frame."""
    rule = face_detector.SCALES["auto"]
    assert rule(200, 299) == (400, 598, 0.5)
    assert rule(300, 200) == (300, 200, 1.0)
    assert rule(562, 1000) == (562, 1000, 1.0)
    assert rule(1280, 720) == (640, 360, 2.0)
    assert rule(1920, 1080) == (633, 356, pytest.approx(1 / 0.33))
    frame = media.face_frames(1, 1920, 1080, 600)[0]
    half = FacenetDetector(thresholds=THRESHOLDS).detect([frame])[0]
    third = FacenetDetector(thresholds=THRESHOLDS, scale="auto").detect([frame])[0]
    assert len(half.bboxes) == len(third.bboxes) == 1
    np.testing.assert_allclose(half.bboxes, third.bboxes, atol=40)


def test_face_far_outside_its_window_is_left_out():
    """facenet-pytorch fails on an image with such a candidate; here it is dropped, and the others stay."""
    boxes = torch.tensor([[-30.0, 5, -3, 30, 0.9], [5, 5, 30, 30, 0.9], [5, 60, 30, 80, 0.9]])
    sides = np.full(3, 50)
    assert mtcnn_boxes.hold_pixels(mtcnn_boxes.windows_of(boxes, sides, sides)).tolist() == [False, True, False]


@pytest.mark.parametrize("height, width", [(1, 1), (2, 3), (30, 39), (40, 40), (41, 300)])
def test_tiny_frames(height, width):
    frames = [np.full((height, width, 3), 128, np.uint8)] * 2
    for faces in FacenetDetector(thresholds=THRESHOLDS, engine="torch").detect(frames):
        assert faces.bboxes.shape == (0, 4) and faces.scores.shape == (0,) and faces.landmarks.shape == (0, 5, 2)


def test_no_frames():
    assert FacenetDetector(engine="torch").detect([]) == []


def test_unknown_choices():
    with pytest.raises(ValueError, match="scale 'third': use one of half, full, auto"):
        FacenetDetector(scale="third")
    with pytest.raises(ValueError, match="engine 'tpu': use one of auto, native, avx512, openvino, torch"):
        FacenetDetector(engine="tpu")
