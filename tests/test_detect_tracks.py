"""Faces of all videos, found and followed: as published, from recorded detections, and what bad input is told."""

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from preprocessing import detect_tracks
from runtime.errors import ItemError
from systems.ntechlab.detections import NO_FACES
from systems.ntechlab.detector import DSFD_FILE
from systems.ntechlab.published_files import read_detections, read_tracks
from systems.ntechlab.track_files import read_face_tracks
from tests import data, media, mjpeg, processes
from tests.ntechlab import (
    ALONE,
    COUNT,
    FACE,
    FAKE,
    GOLDEN,
    HEIGHT,
    PART,
    REAL,
    WIDTH,
    entries,
    entry,
    golden,
    golden_root,
    invented_root,
    killed_and_started_again,
    write_detections,
    write_metadata,
    write_root,
)

ROOT = Path(__file__).resolve().parents[1]
needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="no ../shared")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return write_root(tmp_path_factory.mktemp("made"))


@pytest.fixture
def root(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "root"))


@pytest.fixture
def detections(tmp_path):
    return write_detections(tmp_path / "detections.json", entries())


def run(root, *flags):
    return detect_tracks.main(["--root-dir", str(root), "--workers", "2", *map(str, flags)])


def found(root, video):
    return read_face_tracks(root / "face_tracks" / f"{video}.json")


def same_tracks(ours, expected):
    assert [track.start for track in ours] == [track["start"] for track in expected]
    for track, other in zip(ours, expected, strict=True):
        np.testing.assert_allclose(track.bboxes, other["boxes"], rtol=0, atol=1e-4)


@needs_golden
def test_tracks_of_the_real_pair(tmp_path):
    root = golden_root(tmp_path / "root")
    assert run(root, "--detections", GOLDEN / "detections.json", "--format", "published") == 0
    expected = golden("training_stages.json")["tracks"]
    published = read_tracks(root / "tracks.pkl")
    recorded = golden("detections.json")
    for video in (f"{PART}/634.mp4", f"{PART}/634_660.mp4"):
        same_tracks(found(root, video).tracks, expected[video])
        assert published[video] == found(root, video).tracks
        detections = read_detections(root / "detections" / video / "detections.pkl")
        for ours, each in zip(detections, recorded[Path(video).name]["detections"], strict=True):
            assert np.array_equal(ours.bboxes, np.array(each["boxes"], np.float32).reshape(-1, 4))
            assert np.array_equal(ours.scores, np.array(each["scores"], np.float32))


@needs_golden
def test_tracks_of_invented_detections(tmp_path):
    root, detections = invented_root(tmp_path)
    assert run(root, "--detections", detections) == 0
    for video, expected in golden("synthetic_expected.json")["tracks"].items():
        ours = found(root, video).tracks
        assert [(track.start, len(track.bboxes)) for track in ours] == [(e["start"], e["length"]) for e in expected]
        for track, other in zip(ours, expected, strict=True):
            np.testing.assert_allclose(track.bboxes[0], other["first"], rtol=0, atol=1e-4)
            np.testing.assert_allclose(track.bboxes[-1], other["last"], rtol=0, atol=1e-4)


def test_file_of_a_video(root, detections, capsys):
    """Fakes too; what is recorded comes back to the bit."""
    content = entries()
    odd = [100.1, 40.3, 160.7, 100.9]
    content["fake.mp4"] = entry([[odd]] * 11)
    write_detections(detections, content)
    assert run(root, "--detections", detections) == 0
    out = capsys.readouterr().out
    assert f"face_tracks: faces are those recorded in {detections}\n" in out
    assert "face_tracks: 3 of 3 done" in out and "(33 frames, 33 faces, 3 tracks)" in out
    video = found(root, FAKE)
    assert (video.size, video.recorded.frame_count, list(video.recorded.frames)) == (
        (WIDTH, HEIGHT),
        COUNT,
        list(range(0, COUNT, 6)),
    )
    exact = np.array(odd, np.float32)
    assert all(np.array_equal(each.bboxes[0], exact) for each in video.recorded.detections)
    (track,) = video.tracks
    assert track.start == 0 and track.bboxes == [tuple(exact.astype(float).tolist())] * 11
    text = json.loads((root / "face_tracks" / f"{FAKE}.json").read_text())
    assert text["tracks"] == [{"start": 0, "boxes": [odd] * 11}]
    assert sorted(path.name for path in root.iterdir()) == [".preprocessing", PART, "face_tracks"]


def test_mtcnn_finds_and_follows(tmp_path, capsys):
    """In a process of its own; the summary says that it was MTCNN."""
    write_metadata(tmp_path, {"real.mp4": {"label": "REAL"}})
    media.write_video(tmp_path / REAL, media.face_frames(1) * 20)
    assert detect_tracks.main(["--root-dir", str(tmp_path), "--weights-dir", "none", "--device", "cpu"]) == 0
    assert "MTCNN searches faces, as there is no none/WIDERFace_DSFD_RES152.fp16.pth\n" in capsys.readouterr().out
    assert data.summary(tmp_path, "face_tracks")["settings"]["detector"] == "mtcnn"
    (track,) = found(tmp_path, REAL).tracks
    assert len(track.bboxes) == 4
    x1, y1, x2, y2 = track.bboxes[0]
    assert 20 < x2 - x1 < 180 and 20 < y2 - y1 < 180


def test_what_is_done_is_not_done_again(root, detections, capsys):
    assert run(root, "--detections", detections) == 0
    before = data.files(root / "face_tracks")
    assert run(root, "--detections", detections) == 0
    assert "3 to do, 3 of them done before" in capsys.readouterr().out
    (root / "face_tracks" / f"{REAL}.json").unlink()
    assert run(root, "--detections", detections, "--format", "published") == 0
    assert "3 to do, 2 of them done before" in capsys.readouterr().out
    assert data.files(root / "face_tracks") == before
    write_detections(detections, {**entries(), "real.mp4": entry([[]] * 11)})
    assert run(root, "--detections", detections) == 0
    assert found(root, REAL).tracks == [] and len(found(root, FAKE).tracks) == 1


@pytest.mark.slow
def test_killed_at_random_and_started_again(root, detections):
    script = [sys.executable, str(ROOT / "preprocessing" / "detect_tracks.py"), "--root-dir", str(root)]
    killed_and_started_again([*script, "--detections", str(detections), "--workers", "2"], root / "face_tracks", 3)


@pytest.mark.slow
def test_two_ranks_do_the_same_as_one(root, detections, tmp_path):
    assert run(root, "--detections", detections, "--format", "published") == 0
    expected = data.files(root / "face_tracks") | {"pickle": (root / "tracks.pkl").read_bytes()}
    other = Path(
        shutil.copytree(root, tmp_path / "other", ignore=shutil.ignore_patterns("face_tracks", "*.pkl", ".p*"))
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += [str(ROOT / "preprocessing" / "detect_tracks.py"), "--root-dir", str(other), "--format", "published"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    finished = processes.run(
        [*command, "--detections", str(detections)], capture_output=True, text=True, env=environment, timeout=120
    )
    assert finished.returncode == 0, finished.stderr
    assert data.files(other / "face_tracks") | {"pickle": (other / "tracks.pkl").read_bytes()} == expected


# bad input


def test_a_slow_video_is_told(root, detections):
    media.write_video(root / REAL, media.face_frames(COUNT, WIDTH, HEIGHT, 90), rate=5)
    assert run(root, "--detections", detections) == 0
    (note,) = data.summary(root, "face_tracks")["warnings"][REAL]
    assert note.startswith("it shows 5 frames a second: faces move far from one searched frame to the next")
    assert len(found(root, REAL).tracks) == 1


def test_a_video_that_changes_its_size(tmp_path, monkeypatch):
    monkeypatch.setattr(detect_tracks, "training_detector", lambda *_: (lambda frames: [NO_FACES] * len(frames), 2))
    find_tracks = detect_tracks.make_work(None, "cpu", 0)
    frames = media.face_frames(12, WIDTH, HEIGHT) + media.face_frames(12, 160, 90, 60)
    path = mjpeg.write_pictures(tmp_path / "real.avi", frames)
    output = tmp_path / "face_tracks" / "real.avi.json"
    task = detect_tracks.Task(path=str(path), output=output, root=tmp_path, recorded={})
    with pytest.raises(ItemError, match=r"its frames change from 320x180 to 160x90 pixels \(frame 12\); encode it at"):
        find_tracks(task)
    assert not output.exists()
    mjpeg.write_pictures(path, frames[:12])
    assert find_tracks(task).counts == {"frames": 2, "faces": 0, "tracks": 0}


def test_an_original_that_is_missing(root, detections, capsys):
    (root / REAL).unlink()
    assert run(root, "--detections", detections) == 1
    out, err = capsys.readouterr()
    assert f"  left out: {FAKE}: its original real.mp4 is not among the real videos\n" in out
    assert "0 failed, 2 left out" in err and len(found(root, ALONE).tracks) == 1


def test_a_video_of_which_nothing_is_recorded(root, detections, capsys):
    write_detections(detections, {name: each for name, each in entries().items() if name != "fake.mp4"})
    assert run(root, "--detections", detections) == 1
    line = f"  failed: {FAKE}: {root / FAKE}: has no recorded detections in the file of --detections\n"
    assert line in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"width": 640}, "the recorded detections are of a video of 640x180, and it has 320x180"),
        (
            {"detections": [{"frame": each, "boxes": [], "scores": []} for each in (0, 12)]},
            "real.mp4: the recorded detections have no entry for frame 6; record them at the frames that are searched "
            "here",
        ),
    ],
)
def test_detections_of_another_video(root, detections, capsys, changes, reason):
    write_detections(detections, {**entries(), "real.mp4": entry([[FACE]] * 11, **changes)})
    assert run(root, "--detections", detections) == 1
    assert f"  failed: {REAL}: {root / REAL}: {reason}\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "is no JSON"),
        ("[" * 99999, "is no JSON"),
        ("[]", "holds no object of videos"),
        ('{"real.mp4": {"width": 320}}', "real.mp4: no detections of a video ('detections' is missing)"),
        (
            '{"real.mp4": {"width": 320, "height": 180, "frames": 9, "detections": [{"frame": 0, "boxes": [[1, 2, 3, '
            'NaN]], "scores": [1]}]}}',
            "coordinates or scores that are not finite",
        ),
    ],
    ids=range(5),
)
def test_damaged_detections(root, detections, capsys, text, reason):
    detections.write_text(text)
    assert run(root, "--detections", detections) == 1
    err = capsys.readouterr().err
    assert f"error: {detections}: " in err and reason in err and err.count("\n") == 1
    detections.unlink()
    assert run(root, "--detections", detections) == 1
    assert f"error: {detections}: can't be read (No such file or directory); name another file\n" in (
        capsys.readouterr().err
    )


def test_a_link_where_tracks_belong(root, detections, tmp_path, capsys):
    (tmp_path / "home" / PART).mkdir(parents=True)
    for place, target in (("face_tracks", "home"), (f"face_tracks/{PART}", f"home/{PART}")):
        (root / place).parent.mkdir(exist_ok=True)
        (root / place).symlink_to(tmp_path / target)
        assert run(root, "--detections", detections) == 1
        assert f"error: {root / place}: is a link, and may lead anywhere" in capsys.readouterr().err
        assert data.files(tmp_path / "home") == {}
        (root / place).unlink()


def test_a_link_where_a_published_file_belongs(root, detections, tmp_path, capsys):
    (tmp_path / "precious").write_text("precious")
    (root / "tracks.pkl").symlink_to(tmp_path / "precious")
    assert run(root, "--detections", detections, "--format", "published") == 1
    assert f"error: {root / 'tracks.pkl'}: is a link, and may lead anywhere" in capsys.readouterr().err
    assert (tmp_path / "precious").read_text() == "precious"


def test_tracks_that_no_run_has_made_stay(root, detections, capsys):
    path = root / "face_tracks" / f"{REAL}.json"
    path.parent.mkdir(parents=True)
    path.write_text("precious")
    assert run(root, "--detections", detections) == 1
    assert "is there, and no run of this stage has made that; move it elsewhere\n" in capsys.readouterr().out
    assert path.read_text() == "precious"


def test_a_wrong_file_for_the_detector(root, tmp_path, capsys):
    (tmp_path / DSFD_FILE).write_bytes(b"<html>")
    assert run(root, "--weights-dir", tmp_path, "--device", "cpu", "--workers", "1") == 1
    out, err = capsys.readouterr()
    assert "face_tracks: DSFD searches faces, as published\n" in out
    assert f"error: {tmp_path / DSFD_FILE}: refused: it is no plain file of weights" in err and "Traceback" not in err
    assert data.files(root / "face_tracks") == {}


def test_no_file_for_the_detector(root, tmp_path, capsys):
    assert run(root, "--weights-dir", tmp_path, "--detector", "dsfd") == 1
    message = f"there is no {tmp_path / DSFD_FILE}; put the file there, or use --detector mtcnn"
    assert capsys.readouterr().err == f"error: --detector dsfd: {message}\n"
    with pytest.raises(SystemExit, match="2"):
        run(root, "--detections", "x.json", "--detector", "mtcnn")
