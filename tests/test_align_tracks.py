"""Faces of fakes on those of their originals: as published, in the published order, and what bad input is told."""

import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from preprocessing import align_tracks, detect_tracks
from preprocessing.data_root import read_data_root
from runtime.files import temporary_name
from systems.ntechlab import published_files
from systems.ntechlab.alignment import fakes_by_original
from systems.ntechlab.detections import NO_FACES, RecordedDetections
from systems.ntechlab.track_files import FaceTracks, face_tracks_text, read_aligned_tracks
from systems.ntechlab.tracking import Track
from tests import data
from tests.ntechlab import (
    ALONE,
    FACE,
    FAKE,
    GOLDEN,
    HEIGHT,
    PART,
    REAL,
    WIDTH,
    golden,
    golden_root,
    invented_root,
    write_metadata,
)

needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="no ../shared")


@pytest.fixture
def root(tmp_path):
    """Tracks of videos that are empty files: nothing here opens them."""
    root = tmp_path / "root"
    metadata = {"real.mp4": {"label": "REAL"}, "fake.mp4": {"label": "FAKE", "original": "real.mp4"}}
    write_metadata(root, {**metadata, "alone.mp4": {"label": "REAL"}})
    for video in (REAL, FAKE, ALONE):
        (root / video).touch()
        write_tracks(root, video)
    return root


def write_tracks(root, video, boxes=(FACE,) * 11, size=(WIDTH, HEIGHT)):
    tracks = [Track(start=2, bboxes=list(boxes))] if boxes else []
    recorded = RecordedDetections(
        width=size[0], height=size[1], frame_count=60, frames=range(0, 60, 6), detections=[NO_FACES] * 10
    )
    path = root / "face_tracks" / f"{video}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(face_tracks_text(FaceTracks(recorded=recorded, tracks=tracks)))
    return path


def run(root, *flags):
    return align_tracks.main(["--root-dir", str(root), *flags])


def check(aligned, expected):
    assert [(track.real, track.fake) for track in aligned] == [(real, fake) for real, fake, _ in expected]
    for ours, (_, _, track) in zip(aligned, expected, strict=True):
        assert ours.start == track["start"]
        if "real" in track:
            np.testing.assert_allclose(ours.real_bboxes, track["real"], rtol=0, atol=1e-4)
            np.testing.assert_allclose(ours.fake_bboxes, track["fake"], rtol=0, atol=1e-4)
        else:
            assert len(ours.real_bboxes) == track["length"]
            np.testing.assert_allclose(ours.real_bboxes[0], track["real_first"], rtol=0, atol=1e-4)
            np.testing.assert_allclose(ours.fake_bboxes[-1], track["fake_last"], rtol=0, atol=1e-4)


@needs_golden
@pytest.mark.parametrize("kind", ["real", "invented"])
def test_aligned_tracks_as_published(tmp_path, kind):
    """From both formats."""
    if kind == "real":
        root, detections = golden_root(tmp_path / "root"), GOLDEN / "detections.json"
        expected = golden("training_stages.json")["aligned"]
    else:
        root, detections = invented_root(tmp_path)
        expected = golden("synthetic_expected.json")["aligned"]
    flags = ["--root-dir", str(root), "--workers", "2"]
    assert detect_tracks.main([*flags, "--detections", str(detections), "--format", "published"]) == 0
    assert run(root) == run(root, "--format", "published") == 0
    aligned, sizes = read_aligned_tracks(root / "aligned_tracks.json")
    check(aligned, expected)
    assert set(sizes.values()) == {(1280, 720)}
    assert set(sizes) == {video for track in aligned for video in (track.real, track.fake)}
    assert published_files.read_aligned_tracks(root / "aligned_tracks.pkl") == aligned


@needs_golden
def test_pairs_in_the_published_order(tmp_path):
    root, _ = invented_root(tmp_path)
    expected = fakes_by_original(golden("synthetic_detections.json")["metadata"])
    assert align_tracks.list_pairs(root, read_data_root(root)) == expected


def test_pairs_of_originals_elsewhere(tmp_path):
    """In another part, under another ending: found by their ids, as everywhere."""
    write_metadata(tmp_path, {"r.mov": {"label": "real"}}, "b")
    write_metadata(tmp_path, {"z.mp4": {"is_fake": 1, "original": "r.mp4"}, "a.mp4": {"label": "fake"}}, "a")
    for place in ("b/r.mov", "a/z.mp4", "a/a.mp4"):
        (tmp_path / place).touch()
    assert align_tracks.list_pairs(tmp_path, read_data_root(tmp_path)) == [("b/r.mov", "a/z.mp4")]


def test_one_pair(root, capsys):
    assert run(root) == 0
    out = capsys.readouterr().out
    path = root / "aligned_tracks.json"
    assert f"aligned_tracks: 1 tracks of 1 of 1 fakes in 0 s: {path}\n" in out and "note" not in out
    (track,), sizes = read_aligned_tracks(path)
    assert (track.real, track.fake, track.start) == (REAL, FAKE, 2)
    assert track.real_bboxes == track.fake_bboxes == [FACE] * 11
    assert sizes == {REAL: (WIDTH, HEIGHT), FAKE: (WIDTH, HEIGHT)}
    assert data.summary(root, "aligned_tracks") == {
        "pairs": 1,
        "aligned": 1,
        "fakes": 1,
        "notes": {},
        "failed": {},
        "left_out": {},
        "settings": {"format": "json"},
    }


@pytest.mark.parametrize("format_", ["json", "published"])
def test_what_stays_the_same_is_left_as_it_is(root, capsys, format_):
    """So that what was made of it is done."""
    path = root / ("aligned_tracks.json" if format_ == "json" else "aligned_tracks.pkl")
    tracks = {video: [Track(start=0, bboxes=[FACE] * 9)] for video in (REAL, FAKE)}
    published_files.write_tracks(root / "tracks.pkl", tracks)
    assert run(root, "--format", format_) == 0
    before = path.stat().st_ino, path.stat().st_mtime_ns
    assert run(root, "--format", format_) == 0
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == before
    assert f"{path} (as before)\n" in capsys.readouterr().out
    write_tracks(root, FAKE, [FACE] * 10)
    published_files.write_tracks(root / "tracks.pkl", {**tracks, REAL: [Track(start=1, bboxes=[FACE] * 9)]})
    assert run(root, "--format", format_) == 0
    assert path.stat().st_ino != before[0] and "as before" not in capsys.readouterr().out


@pytest.mark.parametrize("format_", ["json", "published"])
def test_what_a_killed_run_left_is_removed(root, format_):
    published_files.write_tracks(
        root / "tracks.pkl", {video: [Track(start=0, bboxes=[FACE] * 9)] for video in (REAL, FAKE)}
    )
    name = "aligned_tracks.json" if format_ == "json" else "aligned_tracks.pkl"
    temporary_name(root / name).write_text("half of it")
    assert run(root, "--format", format_) == 0
    assert sorted(path.name for path in root.iterdir()) == sorted(
        [".preprocessing", PART, "face_tracks", "tracks.pkl", name]
    )


# bad input


def test_no_track_long_enough(root, capsys):
    """With 7 detections of 8 a face gives no training pair, and with 4 of 5 it is not aligned."""
    write_tracks(root, FAKE, [FACE] * 7)
    assert run(root) == 0
    reason = f"no face of it is followed for 8 detections where one of its original {REAL} is"
    assert f"  note: 1 fakes give no training pair, see {root}/.preprocessing/aligned_tracks.summary.json; " in (
        capsys.readouterr().out
    )
    assert data.summary(root, "aligned_tracks")["notes"] == {FAKE: reason}
    write_tracks(root, FAKE, [FACE] * 4)
    assert run(root) == 1
    line = f"error: --root-dir {root}: no face of a fake lies on one of its original; {FAKE}: {reason}\n"
    assert capsys.readouterr().err.endswith(line)


def test_a_fake_of_another_size(root, capsys):
    write_tracks(root, FAKE, [tuple(2 * side for side in FACE)] * 11, (2 * WIDTH, 2 * HEIGHT))
    assert run(root) == 1
    reason = f"{FAKE}: has frames of 640x360 pixels, its original {REAL} of 320x180: scale it to that\n"
    assert capsys.readouterr().err.endswith(reason)


def test_tracks_that_are_missing_or_damaged(root, capsys):
    (root / PART / "other.mp4").touch()
    metadata = json.loads((root / PART / "metadata.json").read_text())
    write_metadata(root, {**metadata, "other.mp4": {"label": "FAKE", "original": "real.mp4"}})
    assert run(root) == 1
    missing = root / "face_tracks" / PART / "other.mp4.json"
    out, err = capsys.readouterr()
    assert (
        f"  failed: {PART}/other.mp4: {missing}: no tracks (No such file or directory); run detect_tracks.py\n" in out
    )
    assert err.endswith("error: aligned_tracks: 1 failed, 0 left out; mend or remove them and run this again\n")
    assert len(read_aligned_tracks(root / "aligned_tracks.json")[0]) == 1
    (root / "face_tracks" / f"{REAL}.json").unlink()
    assert run(root) == 1
    assert (
        f"error: --root-dir {root}: no face of a fake lies on one of its original; {REAL}: " in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"tracks": None}, "NoneType"),
        ({"tracks": [{"start": -1, "boxes": [FACE]}]}, "-1 where a whole number should be"),
        ({"tracks": [{"start": 0, "boxes": []}]}, "a track without boxes"),
        ({"tracks": [{"start": 0, "boxes": [[1, 2, 3]]}]}, "a box that is not four numbers"),
        ({"tracks": [{"start": 0, "boxes": [[1, 2, 3, 1e99]]}]}, "a box that is not four numbers"),
        ({"tracks": [{"boxes": [FACE]}]}, "'start' is missing"),
        ({"width": "320"}, "'320' where a whole number should be"),
    ],
)
def test_damaged_tracks(root, capsys, change, reason):
    path = write_tracks(root, FAKE)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert run(root) == 1
    err = capsys.readouterr().err
    assert f"{path}: is damaged (" in err and reason in err and "; delete it and run detect_tracks.py\n" in err


def test_an_original_that_is_missing(root, capsys):
    (root / REAL).unlink()
    assert run(root) == 1
    message = f"error: --root-dir {root}: no fake has an original here; there is nothing to align\n"
    assert capsys.readouterr().err == message


def test_a_published_file_that_would_run_a_command(root, capsys):
    class Command:
        def __reduce__(self):
            return os.system, (f"touch {root}/pwned",)

    (root / "tracks.pkl").write_bytes(pickle.dumps({REAL: [Command()]}))
    assert run(root, "--format", "published") == 1
    err = capsys.readouterr().err
    assert f"error: {root}/tracks.pkl: refused, it is no published file of this kind (it names posix.system)" in err
    assert not (root / "pwned").exists()


def test_a_published_file_without_a_video(root, capsys):
    published_files.write_tracks(root / "tracks.pkl", {REAL: [Track(start=0, bboxes=[FACE] * 9)]})
    assert run(root, "--format", "published") == 1
    reason = f"{FAKE}: {root}/tracks.pkl: has no entry of it; run detect_tracks.py --format published\n"
    assert capsys.readouterr().err.endswith(reason)


@pytest.mark.parametrize("name", ["aligned_tracks.json", ".preprocessing"])
def test_a_link_where_a_file_belongs(root, tmp_path, capsys, name):
    home = tmp_path / "home"
    home.mkdir()
    (home / "precious").write_text("precious")
    (root / name).symlink_to(home if name.startswith(".") else home / "precious")
    assert run(root) == 1
    assert f"{root / name}: is a link, and may lead anywhere" in capsys.readouterr().err
    assert data.files(home) == {"precious": b"precious"}


def test_tracks_behind_a_link_are_read(root, tmp_path):
    """Nothing is written through it."""
    shutil.move(root / "face_tracks", tmp_path / "elsewhere")
    (root / "face_tracks").symlink_to(tmp_path / "elsewhere")
    assert run(root) == 0
    assert Path(root / "aligned_tracks.json").is_file()
