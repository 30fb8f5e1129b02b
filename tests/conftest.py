"""Fixtures that several test modules share."""

import pytest

from tests import media


@pytest.fixture(scope="session")
def face_video(tmp_path_factory):
    """40 frames of 640x360 with one face, H.264 with B-frames, a keyframe every 12."""
    path = tmp_path_factory.mktemp("videos") / "face.mp4"
    return media.write_video(path, media.face_frames(40), options={"crf": "20", "g": "12", "bf": "3"})


@pytest.fixture(scope="session")
def noise_video(tmp_path_factory):
    """20 frames without a face."""
    return media.write_video(tmp_path_factory.mktemp("videos") / "noise.mp4", media.noise_frames(20))


@pytest.fixture(scope="session")
def weights_dir(tmp_path_factory):
    """Two small checkpoints, "first" and "second"."""
    folder = tmp_path_factory.mktemp("weights")
    media.write_checkpoint(folder / "first", seed=1)
    media.write_checkpoint(folder / "second", seed=2)
    return folder
