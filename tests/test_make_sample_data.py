"""The sample data root: its format, its faces, and where fakes differ from their originals."""

import errno
import json
import re
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from faces.face_detector import FacenetDetector
from preprocessing import make_sample_data
from preprocessing.make_sample_data import fake_frames, main, make_data_root, real_frames
from runtime.errors import InputError
from tests.media import opencv_frames

SCRIPT = Path(make_sample_data.__file__)
SETTINGS = {"parts": 2, "originals": 2, "fakes": 2, "frames": 12, "width": 320, "height": 180, "seed": 3}
SMALL = {"parts": 1, "originals": 1, "fakes": 1, "frames": 3, "width": 160, "height": 160}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample")
    make_data_root(folder, **SETTINGS)
    return folder


@pytest.fixture(scope="module")
def metadata(root):
    """The entries of all parts by path."""
    return {
        file.parent / name: entry
        for file in sorted(root.glob("*/metadata.json"))
        for name, entry in json.loads(file.read_text()).items()
    }


@pytest.fixture(scope="module")
def videos(metadata):
    """Decoded frames, (n, h, w, 3), by path."""
    return {path: np.stack(opencv_frames(path)) for path in metadata}


@pytest.fixture(scope="module")
def boxes(metadata, videos):
    """The faces of frames 0, 4 and 8 of the real videos."""
    detector = FacenetDetector(thresholds=(0.85, 0.95, 0.95), engine="torch")
    real = [path for path, entry in metadata.items() if entry["label"] == "REAL"]
    return {path: [faces.bboxes for faces in detector.detect(list(videos[path][::4]))] for path in real}


def listing(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run(folder, *flags, **settings):
    named = [f"--{name}={value}" for name, value in {**SMALL, **settings}.items()]
    return main(["--root-dir", str(folder), *named, *flags])


def test_format(root, metadata):
    parts = ["dfdc_train_part_0", "dfdc_train_part_1"]
    assert sorted(path.name for path in root.iterdir()) == [".sample_data.json", *parts]
    assert len(metadata) == len({path.name for path in metadata}) == 12
    for folder in (root / part for part in parts):
        entries = {path.name: entry for path, entry in metadata.items() if path.parent == folder}
        assert {path.name for path in folder.iterdir()} == {*entries, "metadata.json"}  # nothing is left behind
        real = [
            name for name, entry in entries.items() if entry == {"label": "REAL", "split": "train", "original": None}
        ]
        fakes = [entry for entry in entries.values() if entry["label"] == "FAKE"]
        assert all(re.fullmatch(r"[a-z]{10}\.mp4", name) for name in entries)
        assert len(real) == 2 and len(fakes) == 4
        assert sorted(entry["original"] for entry in fakes) == sorted(2 * real)
        assert all(entry.keys() == {"label", "split", "original"} for entry in fakes)


def test_videos(videos):
    for path, frames in videos.items():
        assert frames.shape == (12, 180, 320, 3)
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            assert (stream.codec.name, stream.pix_fmt, stream.average_rate) == ("h264", "yuv420p", 30)


def test_same_seed_same_bytes(tmp_path):
    run(tmp_path / "here", seed=5)
    flags = [f"--{name}={value}" for name, value in {**SMALL, "seed": 5}.items()]
    command = [sys.executable, str(SCRIPT), "--root-dir", "there", *flags]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-2:] == [
        "1 real videos and 1 fakes in 1 parts: there",
        "next: ./preprocess_data.sh there",
    ]
    assert listing(tmp_path / "here") == listing(tmp_path / "there")

    run(tmp_path / "other", seed=6)
    here, other = listing(tmp_path / "here"), listing(tmp_path / "other")
    assert not here.keys() & other.keys() - {".sample_data.json", "dfdc_train_part_0/metadata.json"}
    assert not set(here.values()) & set(other.values())


def test_one_face_in_real_frames(boxes):
    for found in boxes.values():
        assert [len(faces) for faces in found] == [1, 1, 1]
        assert all(0.38 < (faces[0][3] - faces[0][1]) / 180 < 0.65 for faces in found)


def test_fakes_differ_in_the_face(metadata, videos, boxes):
    for path, entry in metadata.items():
        if entry["label"] == "REAL":
            continue
        original = path.with_name(entry["original"])
        for frame, real, (box, *_) in zip(videos[path][::4], videos[original][::4], boxes[original], strict=True):
            difference = np.abs(frame.astype(int) - real).mean(axis=2)
            x1, y1, x2, y2 = box.astype(int)
            quarter = (x2 - x1) // 4, (y2 - y1) // 4
            inside = difference[y1 + quarter[1] : y2 - quarter[1], x1 + quarter[0] : x2 - quarter[0]]
            outside = np.ones(difference.shape, bool)
            outside[max(y1 - 8, 0) : y2 + 8, max(x1 - 8, 0) : x2 + 8] = False
            assert inside.mean() > 5
            assert difference[outside].mean() < 1.5  # noise is compressed otherwise


def test_generators():
    size = {"frames": 4, "width": 320, "height": 180}
    real = list(real_frames(0, 7, **size))
    fake = list(fake_frames(0, 7, 1, **size))
    changed = np.any(np.stack(real) != np.stack(fake), axis=(0, 3))
    assert changed.any()
    assert not changed[:, :40].any() and not changed[:10].any() and not changed[-20:].any()
    assert all(frame.dtype == np.uint8 and frame.shape == (180, 320, 3) for frame in fake)
    longer = real_frames(0, 7, frames=5, width=320, height=180)  # a longer video begins like a shorter one
    np.testing.assert_array_equal(next(longer), real[0])
    assert np.abs(real[0].astype(int) - next(real_frames(0, 8, **size))).mean() > 10
    assert np.abs(fake[0].astype(int) - next(fake_frames(0, 7, 2, **size))).max() > 10


def test_stopped_and_started_again(tmp_path, monkeypatch, capsys):
    run(tmp_path / "whole", parts=2, workers=1)
    with monkeypatch.context() as patched:
        patched.setattr(make_sample_data, "_write_json", _stop_at_the_second_part(make_sample_data._write_json))
        assert run(tmp_path / "stopped", parts=2, workers=1) == 130
    done = (tmp_path / "stopped" / "dfdc_train_part_0" / "metadata.json").stat()
    assert not (tmp_path / "stopped" / "dfdc_train_part_1" / "metadata.json").exists()
    assert run(tmp_path / "stopped", parts=2, workers=2) == 0
    assert (tmp_path / "stopped" / "dfdc_train_part_0" / "metadata.json").stat() == done
    assert listing(tmp_path / "stopped") == listing(tmp_path / "whole")
    assert run(tmp_path / "stopped", parts=2, seed=9) == 1
    assert "not from these settings" in capsys.readouterr().err


def _stop_at_the_second_part(write):
    def write_or_stop(path, content, root):
        if path.parent.name == "dfdc_train_part_1":
            raise KeyboardInterrupt
        write(path, content, root)

    return write_or_stop


@pytest.mark.parametrize("name", ["dfdc_train_part_0", ".sample_data.json", "dfdc_train_part_0/metadata.json"])
def test_nothing_is_written_through_a_link(tmp_path, capsys, name):
    home, place = tmp_path / "home", tmp_path / "root" / name
    home.mkdir()
    place.parent.mkdir(parents=True)
    place.symlink_to(home if "json" not in name else home / "gone.json")
    assert run(tmp_path / "root") == 1
    assert f"error: {place}" in capsys.readouterr().err and list(home.iterdir()) == []


def test_temporary_files_of_others_stay(tmp_path):
    part = tmp_path / "dfdc_train_part_0"
    part.mkdir()
    (part / ".precious.tmp").touch()
    assert run(tmp_path) == 0 and (part / ".precious.tmp").exists()


def test_a_part_that_is_there(tmp_path, capsys):
    part = tmp_path / "dfdc_train_part_1"
    part.mkdir()
    (part / "metadata.json").write_text("{}")
    assert run(tmp_path, parts=2) == 1
    error = capsys.readouterr().err
    assert str(part / "metadata.json") in error and len(error.splitlines()) == 1
    assert listing(tmp_path) == {"dfdc_train_part_1/metadata.json": b"{}"}
    assert not (tmp_path / "dfdc_train_part_0").exists()


def test_a_file_in_the_way(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert run(tmp_path / "file") == 1
    error = capsys.readouterr().err
    assert "can't be made" in error.splitlines()[-1] and "Traceback" not in error


def test_a_full_disk_leaves_nothing_behind(tmp_path, capsys, monkeypatch):
    def frames(*_, **__):
        yield np.zeros((160, 160, 3), np.uint8)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(make_sample_data, "fake_frames", frames)
    assert run(tmp_path, workers=1) == 1
    assert "No space left on device" in capsys.readouterr().err.splitlines()[-1]
    assert [path.suffix for path in (tmp_path / "dfdc_train_part_0").iterdir()] == [".mp4"]  # the real one, whole


def test_a_full_disk_as_ffmpeg_tells_it(tmp_path, capsys, monkeypatch):
    def encode(*_):
        raise av.error.PyAVCallbackError(1447131472, "Error in PyAV callback")

    monkeypatch.setattr(make_sample_data, "_encode", encode)
    assert run(tmp_path, workers=1) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and "Error in PyAV callback: is the disk full?" in error


@pytest.mark.parametrize(
    "flag",
    [
        "--parts=0",
        "--originals=-1",
        "--fakes=x",
        "--frames=0",
        "--width=161",
        "--height=158",
        "--height=9000",
        "--seed=-1",
    ],
)
def test_bad_flags(tmp_path, capsys, flag):
    with pytest.raises(SystemExit) as stop:
        run(tmp_path / "root", flag)
    assert stop.value.code == 2
    assert f"argument {flag.split('=')[0]}: " in capsys.readouterr().err
    assert not (tmp_path / "root").exists()


def test_flicker_moves_fakes_alone(tmp_path):
    """Four times as far from one frame to the next; real frames, and fakes without it, stay as they are."""
    size = {"frames": 6, "width": 320, "height": 180}
    real = np.stack(list(real_frames(3, 0, **size))).astype(int)
    calm, wild = (np.stack(list(fake_frames(3, 0, 1, flicker=flicker, **size))).astype(int) for flicker in (1, 4))
    assert (calm == np.stack(list(fake_frames(3, 0, 1, **size)))).all()
    pasted = (calm != real).any(axis=(0, 3))
    moved = [np.abs(np.diff(frames[:, pasted], axis=0)).mean() for frames in (real, calm, wild)]
    assert moved[2] > 1.5 * moved[1] > moved[0]
    make_data_root(tmp_path, **SMALL, seed=1, flicker=2)
    with pytest.raises(InputError, match="not from these settings"):
        make_data_root(tmp_path, **SMALL, seed=1)
