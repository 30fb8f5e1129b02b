"""Fixtures that several test modules share."""

import json
import multiprocessing
import shutil
import signal
from functools import partial

import pytest

from preprocessing import detect_original_faces, extract_crops, generate_diffs, generate_folds, generate_landmarks
from preprocessing.make_sample_data import make_data_root
from tests import media, processes
from tests.browser import CHROMIUM, Browser
from tests.once import made_once

# `make test &` begins with Ctrl-C ignored, and so would what it starts
signal.signal(signal.SIGINT, signal.default_int_handler)

# worker processes of stages and loaders begin with their libraries imported
multiprocessing.set_executable(str(processes.python()))


# files whose tests take longest: with one of them at the end, only one of pytest-xdist's processes would have work
LONGEST = ("test_golden.py", "test_ntechlab_models.py", "test_predict_folder.py", "test_extract_face_clips.py")


def pytest_collection_modifyitems(items):
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


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


@pytest.fixture(scope="session")
def made_root(tmp_path_factory):
    """A small data root: two real videos, a fake of each, and a real one without a face; 24 frames of 480x270."""
    return made_once(tmp_path_factory, "made", make_small_root)


def make_small_root(root):
    root.mkdir()
    make_data_root(root, parts=1, originals=2, fakes=1, frames=24, width=480, height=270, seed=0)
    part = root / "dfdc_train_part_0"
    media.write_video(part / "noise.mp4", media.noise_frames(24, 480, 270))
    metadata = json.loads((part / "metadata.json").read_text())
    metadata["noise.mp4"] = {"label": "REAL", "split": "train", "original": None}
    (part / "metadata.json").write_text(json.dumps(metadata))


@pytest.fixture(scope="session")
def processed_root(made_root, tmp_path_factory):
    """The same after every stage; `folds.csv` lies in it."""
    return made_once(tmp_path_factory, "processed", partial(process_root, made_root))


def process_root(made_root, root):
    shutil.copytree(made_root, root)
    for stage in (detect_original_faces, extract_crops, generate_landmarks, generate_diffs):
        assert stage.main(["--root-dir", str(root)]) == 0
    assert generate_folds.main(["--root-dir", str(root), "--out", str(root / "folds.csv")]) == 0


@pytest.fixture
def root(processed_root, tmp_path):
    """A copy of the processed root that a test may change."""
    shutil.copytree(processed_root, tmp_path / "root", dirs_exist_ok=True)
    return tmp_path / "root"


@pytest.fixture
def browser(tmp_path):
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    browser = Browser(tmp_path / "profile")
    yield browser
    browser.close()
