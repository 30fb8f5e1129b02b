"""Parity with the published pipeline on real videos: boxes, faces, scores. Skipped where ../shared is absent."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from inference.ensemble import build_ensemble
from inference.faces import THRESHOLDS, FaceExtractor
from inference.pipeline import Pipeline
from inference.sampling import evenly_spaced
from inference.strategies import confident_strategy
from preprocessing.crop import crop_face
from preprocessing.face_detector import FacenetDetector
from preprocessing.video import iter_frames
from runtime import openvino_engine
from tests import media
from training.zoo.checkpoints import load_model

GOLDEN = media.SHARED / "golden"
PAIR = media.SHARED / "videos" / "dfdc_train_part_0"
TESTS = media.SHARED / "videos" / "test_videos"
pytestmark = pytest.mark.skipif(not GOLDEN.is_dir(), reason="no ../shared")


@pytest.fixture(scope="module")
def expected():
    return json.loads((GOLDEN / "predictions.json").read_text())


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """The two fixed B7 checkpoints, made side by side."""
    folder = tmp_path_factory.mktemp("b7")
    script = str(GOLDEN / "make_checkpoint.py")
    makers = [subprocess.Popen([sys.executable, script, str(folder / str(seed)), str(seed)]) for seed in (1, 2)]
    assert [maker.wait() for maker in makers] == [0, 0]
    return [folder / "1", folder / "2"]


def predict(paths: list[Path], checkpoints, **kwargs):
    modules = []
    for path in checkpoints:
        loaded = load_model(path)
        modules.append((path.name, loaded.module, loaded.input_size))
    ensemble = build_ensemble(modules, device=torch.device("cpu"), lanes=2, **kwargs)
    extractor = FaceExtractor(
        lambda path: iter_frames(path, lambda count: evenly_spaced(count, 32)),
        FacenetDetector(thresholds=THRESHOLDS, threads=2),
    )
    pipeline = Pipeline(extractor, ensemble, confident_strategy, workers=2)
    return {result.video: result for result in pipeline.run((path.name, str(path)) for path in paths)}


def test_scores_in_fp32(expected, checkpoints):
    paths = [TESTS / "brtujopkby.mp4", TESTS / "lynaeydofd.mp4", PAIR / "634_660.mp4"]
    for name, result in predict(paths, checkpoints, precision="fp32").items():
        faces = np.array([face.probabilities for face in result.faces]).T
        assert faces.shape == (2, expected[name]["faces"])
        np.testing.assert_allclose(faces, expected[name]["face_scores"], atol=0.002)
        np.testing.assert_allclose(result.model_scores, expected[name]["model_scores"], atol=0.001)
        assert result.score == pytest.approx(expected[name]["score"], abs=0.001)


@pytest.mark.skipif(not openvino_engine.is_installed(), reason="openvino is not installed")
def test_scores_in_bf16(expected, checkpoints):
    paths = [TESTS / "lynaeydofd.mp4", PAIR / "634.mp4"]
    for name, result in predict(paths, checkpoints, precision="bf16").items():
        assert len(result.faces) == expected[name]["faces"]
        assert result.score == pytest.approx(expected[name]["score"], abs=0.01)


def test_number_of_faces_in_the_crowd(expected):
    extractor = FaceExtractor(
        lambda path: iter_frames(path, lambda count: evenly_spaced(count, 32)), FacenetDetector(thresholds=THRESHOLDS)
    )
    found = sum(len(faces) for _, _, faces in extractor.iter_frames_with_faces(str(TESTS / "facenet_video.mp4")))
    assert found == 160 and expected["facenet_video.mp4"]["faces"] == 127  # cut by the limit


def test_boxes_and_crops_of_training_data():
    """The same reader, detector and crop at the thresholds of preprocessing; every 50th frame."""
    import cv2

    boxes = json.loads((GOLDEN / "dfdc_train_part_0" / "boxes" / "634.json").read_text())
    detector = FacenetDetector(thresholds=(0.85, 0.95, 0.95))
    for index, frame in iter_frames(PAIR / "634.mp4", lambda count: range(0, count, 50)):
        (faces,) = detector.detect([frame])
        golden = np.array(boxes[str(index)] or np.zeros((0, 4)))
        np.testing.assert_allclose(faces.bboxes / 2, golden, atol=0.05)
        crop = GOLDEN / "dfdc_train_part_0" / "crops" / "634" / f"{index}_0.png"
        if crop.exists():
            image = cv2.imread(str(crop))[..., ::-1].astype(int)
            assert np.abs(crop_face(frame, faces.bboxes[0]) - image).mean() < 0.5
