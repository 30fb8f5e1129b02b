"""The reference's functions: names, arguments, results."""

import inspect

import numpy as np
import pytest
import torch

import kernel_utils
from kernel_utils import FaceExtractor, VideoReader, predict_on_video, predict_on_video_set
from systems.imagenet import IMAGENET_MEAN, IMAGENET_STD
from systems.seferbekov.checkpoints import load_model
from systems.seferbekov.strategy import confident_strategy
from tests import media


@pytest.fixture(scope="module")
def extractor():
    reader = VideoReader(verbose=False)
    return FaceExtractor(lambda path: reader.read_frames(path, num_frames=5))


@pytest.fixture(scope="module")
def models(weights_dir):
    return [load_model(weights_dir / name).module for name in ("first", "second")]


def test_signatures():
    assert list(inspect.signature(predict_on_video).parameters) == [
        "face_extractor",
        "video_path",
        "batch_size",
        "input_size",
        "models",
        "strategy",
        "apply_compression",
    ]
    assert list(inspect.signature(predict_on_video_set).parameters) == [
        "face_extractor",
        "videos",
        "input_size",
        "num_workers",
        "test_dir",
        "frames_per_video",
        "models",
        "strategy",
        "apply_compression",
    ]


def test_score_step_by_step(extractor, models, face_video):
    """The score against the reference's recipe, written out."""
    faces = [face for frame in extractor.process_video(str(face_video)) for face in frame["faces"]]
    assert len(faces) == 5
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    images = np.stack([kernel_utils.prepare_face(face, media.SIZE) for face in faces])
    x = (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - mean) / std
    with torch.inference_mode():
        expected = np.mean([confident_strategy(model(x)[:, 0].sigmoid().numpy()) for model in models])
    score = predict_on_video(extractor, str(face_video), 5, media.SIZE, models, strategy=confident_strategy)
    assert isinstance(score, float) and score == pytest.approx(expected, abs=1e-4)
    compressed = predict_on_video(extractor, str(face_video), 5, media.SIZE, models, apply_compression=True)
    assert compressed != score


def test_set_in_order_with_errors_printed(extractor, models, face_video, noise_video, tmp_path, capsys):
    (tmp_path / "face.mp4").symlink_to(face_video)
    (tmp_path / "noise.mp4").symlink_to(noise_video)
    (tmp_path / "bad.mp4").write_text("no video")
    videos = ["noise.mp4", "bad.mp4", "face.mp4", "gone.mp4"]
    scores = predict_on_video_set(extractor, videos, media.SIZE, 2, str(tmp_path), 5, models)
    alone = predict_on_video(extractor, str(face_video), 5, media.SIZE, models)
    assert scores == [0.5, 0.5, alone, 0.5] and alone != 0.5
    printed = capsys.readouterr().out
    assert "Prediction error on video bad.mp4" in printed and "Prediction error on video gone.mp4" in printed
    assert "noise.mp4" not in printed


def test_any_function_is_a_model(extractor, face_video):
    shapes = []

    def model(x):
        shapes.append((tuple(x.shape), x.dtype))
        return torch.full((len(x), 1), 2.0)

    assert predict_on_video(extractor, str(face_video), 5, 48, [model]) == pytest.approx(1 / (1 + np.exp(-2)))
    assert set(shapes) == {((2, 3, 48, 48), torch.float32)}


def test_faces_are_limited(extractor, face_video):
    """At most 4 * batch_size - 1 faces: 3 of 5."""
    seen = []

    def model(x):
        seen.append(len(x))
        return torch.zeros(len(x), 1)

    predict_on_video(extractor, str(face_video), 1, 48, [model])
    assert len(seen) == 2  # batches of two


def test_threads_are_given_back(extractor, models, face_video):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        predict_on_video(extractor, str(face_video), 5, media.SIZE, models)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)  # other tests' trainings are compared to the bit with those of processes
