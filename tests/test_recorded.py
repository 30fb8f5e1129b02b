"""What goes with a video's result: the file that was read, its frames and their times, and what scored it."""

import hashlib
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from faces.video import VideoInfo, iter_frames
from inference import recorded as recorded_module
from inference.pipeline import OK, UNREADABLE, VideoResult
from inference.recorded import recorded
from inference.video_facts import check_facts, read_facts
from runtime.files import file_identity
from systems.sample import Account, Sample

ENVIRONMENT = {"python": "3.11"}
FILE = {"bytes": 1, "sha256": "0" * 64}


def scored(items):
    """A pipeline that finds something in every file."""
    for name, path in items:
        yield VideoResult(video=name, status=OK, identity=file_identity(path), source={"frames": [], "times": []})


def write(folder, count):
    videos = []
    for number in range(count):
        path = folder / f"{number}.mp4"
        path.write_bytes(os.urandom(number * 100_000))
        videos.append((path.name, str(path)))
    return videos


def test_each_result_has_its_files_hash(tmp_path):
    videos = write(tmp_path, 5)
    results = list(recorded(scored, videos, ENVIRONMENT))
    assert [result.video for result in results] == [name for name, _ in videos]
    for result, (_, path) in zip(results, videos, strict=True):
        data = Path(path).read_bytes()
        file = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        assert result.source == {"frames": [], "times": [], "file": file} and result.environment == ENVIRONMENT


def test_files_that_can_not_be_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")

    def unreadable(items):
        for name, path in items:
            yield VideoResult(video=name, status=UNREADABLE, error="can't be read", identity=file_identity(path))

    videos = [("none", str(tmp_path / "none")), ("pipe", str(tmp_path / "pipe"))]
    results = list(recorded(unreadable, videos, ENVIRONMENT))
    assert [(result.source, result.notes) for result in results] == [({"file": None}, [])] * 2


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_file_that_is_changed_while_it_is_read(tmp_path, when):
    videos = write(tmp_path, 3)

    def changed(items):
        for result in scored(items):
            path = tmp_path / result.video
            if result.video == "1.mp4":
                if when == "before":
                    result.identity = (result.identity[0], result.identity[1] - 1)
                else:
                    path.write_bytes(bytes(100_000))
                    os.utime(path, ns=(0, 7))
            yield result

    results = list(recorded(changed, videos, ENVIRONMENT))
    assert [result.source["file"] is None for result in results] == [False, True, False]
    assert results[1].notes == ["its file was changed while it was read: no SHA-256 is known of what was scored"]


def test_a_run_that_is_given_up_leaves_no_thread(tmp_path, monkeypatch):
    """In the middle of a file that is as long as one likes."""
    started = threading.Event()

    def endless(path, passing):
        while True:
            started.set()
            passing(1)

    monkeypatch.setattr(recorded_module, "digest_of", endless)
    closed = []

    def run(items):
        try:
            next(items)
            assert started.wait(10)
            yield from interrupted()
        finally:
            closed.append(True)

    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(recorded(run, write(tmp_path, 3), ENVIRONMENT))
    assert closed and not [each for each in threading.enumerate() if each.name.startswith("hash")]


def sample(*frames):
    return Sample(pixels=None, frames=frames, track=0, bbox=(0, 0, 1, 1), detector_score=None)


def test_frames_and_their_times(face_video):
    frames = iter_frames(face_video, lambda count: [0, 5, 7])
    account = Account()
    account.info = frames.info
    for index, _ in frames:
        account.looked_at(index)
    facts = read_facts(account, [sample(5), sample(6, 7, 8), sample(39)])
    assert facts["frames"] == [0, 5, 6, 7, 8, 39]
    assert facts["times"] == pytest.approx([0, 5 / 30, 6 / 30, 7 / 30, 8 / 30, 39 / 30], abs=1e-6)
    assert facts["stream"]["codec"] == "h264" and facts["stream"]["time_base"] == "1/19200"
    check_facts({**facts, "file": FILE})


def test_times_that_are_not_told():
    account = Account()
    account.info = VideoInfo(stream={"codec": "ffv1"}, times=np.array([0.5]))
    account.searched = [0, 1]
    assert read_facts(account, [])["times"] == [0.5, None]
    assert read_facts(Account(), []) == {}


@pytest.mark.parametrize(
    "source",
    [
        [],
        {"other": 1},
        {"frames": [1]},
        {"frames": [1], "times": [1, 2]},
        {"frames": [-1], "times": [None]},
        {"frames": [1.0], "times": [None]},
        {"frames": [True], "times": [None]},
        {"frames": [1 << 40], "times": [None]},
        {"frames": [1], "times": ["1"]},
        {"frames": [1], "times": [float("inf")]},
        {"frames": [1], "times": [float("nan")]},
        {"file": 3},
        {"file": {"bytes": -1, "sha256": "0" * 64}},
        {"file": {"bytes": 1, "sha256": "0" * 63}},
        {"file": {"bytes": 1, "sha256": "G" * 64}},
        {"file": {"bytes": 1}},
        {"stream": []},
        {"stream": {"codec": "a" * (1 << 17)}},
    ],
    ids=range(18),
)
def test_facts_that_are_none(source):
    with pytest.raises(ValueError):
        check_facts(source)


def test_facts_that_are():
    check_facts({})
    check_facts({"file": None})
    check_facts({"frames": [1, 2], "times": [0.5, None], "file": FILE, "stream": {"codec": "h264"}})
