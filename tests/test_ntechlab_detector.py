"""Which detector is taken, and what its detections depend on."""

import pickle

import pytest

from runtime.errors import InputError
from systems.checkpoints import CheckpointError
from systems.ntechlab.detector import DSFD_FILE, choose_detector, training_detector


def test_dsfd_where_its_file_is(tmp_path):
    assert choose_detector(None, tmp_path).name == choose_detector("mtcnn", tmp_path).name == "mtcnn"
    with pytest.raises(InputError, match=f"--detector dsfd: there is no {tmp_path}/{DSFD_FILE}; put the file there"):
        choose_detector("dsfd", tmp_path)
    (tmp_path / DSFD_FILE).write_text("weights")
    assert choose_detector(None, tmp_path).name == choose_detector("dsfd", tmp_path).name == "dsfd"
    assert choose_detector("mtcnn", tmp_path).name == "mtcnn"


def test_settings(tmp_path):
    """Other weights find other faces."""
    assert choose_detector(None, tmp_path).settings() == {"detector": "mtcnn"}
    digests = set()
    for content in ("weights", "others"):
        (tmp_path / DSFD_FILE).write_text(content)
        settings = choose_detector(None, tmp_path).settings()
        assert settings.keys() == {"detector", "dsfd"} and settings["detector"] == "dsfd"
        digests.add(settings["dsfd"])
    assert len(digests) == 2
    choice = choose_detector(None, tmp_path)
    (tmp_path / DSFD_FILE).unlink()
    with pytest.raises(CheckpointError, match="can't be opened"):
        choice.settings()


def test_a_wrong_file(tmp_path):
    """As an error that can go to another process."""
    (tmp_path / DSFD_FILE).write_text("weights")
    with pytest.raises(CheckpointError, match=DSFD_FILE) as error:
        training_detector(choose_detector(None, tmp_path), "cpu", 0)
    assert str(pickle.loads(pickle.dumps(error.value))) == str(error.value)
