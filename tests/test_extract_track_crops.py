"""Crops of tracks: the published folders, pictures and pairs, whatever process makes them and when; bad input."""

import json
import os
import random
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from preprocessing import align_tracks, detect_tracks, extract_track_crops
from preprocessing.data_root import read_data_root
from systems.ntechlab.dataset import TrackImages
from systems.ntechlab.published_files import read_track_pairs
from systems.ntechlab.track_crops import SEED
from systems.ntechlab.track_files import read_aligned_tracks, write_aligned_tracks
from tests import data, media, mjpeg, processes
from tests.ntechlab import (
    ALONE,
    COUNT,
    CUT,
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
    write_root,
)

ROOT = Path(__file__).resolve().parents[1]
needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="no ../shared")


def align(root, recorded, *flags):
    """The stages before."""
    detections = write_detections(root.parent / "detections.json", recorded)
    assert detect_tracks.main(["--root-dir", str(root), "--detections", str(detections), "--workers", "2", *flags]) == 0
    assert align_tracks.main(["--root-dir", str(root), *flags]) == 0


def run(root, *flags):
    return extract_track_crops.main(["--root-dir", str(root), "--workers", "2", *flags])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Aligned tracks, and with them the crops of an undisturbed run, `made / "root"`."""
    root = write_root(tmp_path_factory.mktemp("made") / "root")
    align(root, entries())
    assert run(root) == 0
    return root


@pytest.fixture
def root(made, tmp_path):
    """The aligned tracks without crops."""
    copied = Path(
        shutil.copytree(made, tmp_path / "root", ignore=shutil.ignore_patterns("tracks", "*tracks.j*l", "*.txt"))
    )
    (copied / ".preprocessing" / ".tracks.begun.jsonl").unlink(missing_ok=True)
    return copied


def folders(root):
    return sorted(f"{path.parent.name}/{path.name}" for path in (root / "tracks").glob("*/*"))


def check(root, expected):
    """Folders, their number of pictures and the pairs, as the golden files have them."""
    assert folders(root) == sorted(expected["folders"])
    for name, folder in expected["folders"].items():
        path = root / "tracks" / name
        assert cv2.imread(str(path / "0.png")).shape[:2] == tuple(folder["size"])
        boxes = np.fromfile(path / "boxes.float32", np.float32).reshape(-1, 4)
        count, first, last = folder["boxes"]
        assert len(boxes) == count
        np.testing.assert_allclose(boxes[[0, -1]], [first, last], rtol=0, atol=1e-4)
    assert sorted((root / "track_pairs.txt").read_text().split()) == expected["pairs"]


@needs_golden
@pytest.mark.parametrize("format_", ["json", "published"])
def test_crops_of_the_real_pair(tmp_path, format_):
    root, expected = golden_root(tmp_path / "root"), golden("training_stages.json")
    recorded = golden("detections.json")
    align(root, {name: each for name, each in recorded.items() if name.startswith("634")}, "--format", format_)
    assert run(root, "--format", format_) == 0
    check(root, expected)
    for name, folder in expected["folders"].items():
        path = root / "tracks" / name
        assert len(list(path.glob("*.png"))) == folder["files"]
        for number, thumb in folder["thumbs"].items():
            image = cv2.imread(str(path / f"{number}.png"))
            small = cv2.resize(image, (16, 16), interpolation=cv2.INTER_AREA)
            assert np.abs(small.astype(int) - thumb).max() <= 1


@needs_golden
@pytest.mark.slow
def test_crops_of_invented_detections(tmp_path):
    """Videos of several faces and fakes: every folder that was drawn, and every pair."""
    root, detections = invented_root(tmp_path)
    align(root, json.loads(detections.read_text()))
    assert run(root) == 0
    check(root, golden("synthetic_expected.json"))


def test_each_picture(made):
    x1, y1, x2, y2 = CUT
    start = int(folders(made)[0].rsplit("_", 3)[1])
    assert start in (0, 6, 12, 18)  # 8 of 11 detections
    assert folders(made) == [f"{video}_{start}_{x1}_{y1}" for video in (FAKE, REAL)]
    for video in (REAL, FAKE):
        folder = made / "tracks" / f"{video}_{start}_{x1}_{y1}"
        there = min(50, COUNT - start)  # the video ends before the fiftieth where it starts late
        names = [f"{number}.png" for number in range(there)]
        assert sorted(path.name for path in folder.iterdir()) == sorted([*names, "boxes.float32"])
        frames = media.opencv_frames(made / video)
        for number in range(there):
            image = cv2.imread(str(folder / f"{number}.png"))
            assert np.array_equal(image[..., ::-1], frames[start + number][y1:y2, x1:x2])
        boxes = np.fromfile(folder / "boxes.float32", np.float32).reshape(-1, 4)
        assert boxes.tolist() == [[15, 15, 75, 75]] * 11
        assert len(TrackImages(folder)) == there
    assert read_track_pairs(made / "track_pairs.txt") == [(f"{REAL}_{start}_{x1}_{y1}", f"{FAKE}_{start}_{x1}_{y1}")]
    assert sorted(path.name for path in made.iterdir()) == [
        *(".preprocessing", "aligned_tracks.json", PART, "face_tracks", "track_pairs.txt", "tracks")
    ]
    assert not [name for name in data.files(made / "tracks") if ALONE in name]


def test_one_worker_makes_the_same_as_two(made, root):
    assert extract_track_crops.main(["--root-dir", str(root), "--workers", "1"]) == 0
    assert data.files(root / "tracks") == data.files(made / "tracks")
    assert (root / "track_pairs.txt").read_bytes() == (made / "track_pairs.txt").read_bytes()


def test_draws_are_of_the_whole_list(made, root):
    """Tracks of videos that are not here draw too: a part of the videos gives the folders that it gives among all."""
    aligned, sizes = read_aligned_tracks(root / "aligned_tracks.json")
    elsewhere = [type(aligned[0])(**{**vars(aligned[0]), "real": "p/r.mp4", "fake": "p/f.mp4"})] * 3
    sizes |= {"p/r.mp4": (WIDTH, HEIGHT), "p/f.mp4": (WIDTH, HEIGHT)}
    write_aligned_tracks(root / "aligned_tracks.json", [*elsewhere, *aligned], sizes, root)
    assert run(root) == 1  # as the others are not here
    left_out = data.summary(root, "tracks")["left_out"]
    assert left_out == dict.fromkeys(
        ("p/r.mp4", "p/f.mp4"),
        f"is in {root}/aligned_tracks.json and not among the usable videos here; its faces are left out",
    )
    assert len(read_track_pairs(root / "track_pairs.txt")) == 1
    draw = random.Random(SEED)
    for _ in range(4):
        start = draw.randint(0, 3)
        draw.choice([False, True])
    assert folders(root) == [f"{video}_{6 * start}_{CUT[0]}_{CUT[1]}" for video in (FAKE, REAL)] != folders(made)


def test_what_is_done_is_not_done_again(root, capsys):
    assert run(root) == 0
    before = data.files(root / "tracks")
    assert run(root) == 0
    assert "2 to do, 2 of them done before" in capsys.readouterr().out
    shutil.rmtree(root / "tracks" / folders(root)[0])
    assert run(root) == 0
    assert "2 to do, 1 of them done before" in capsys.readouterr().out
    assert align_tracks.main(["--root-dir", str(root)]) == 0
    assert run(root) == 0
    assert "2 to do, 2 of them done before" in capsys.readouterr().out
    assert run(root, "--overwrite") == 0
    assert data.files(root / "tracks") == before


def test_another_video_is_cut_anew(root):
    assert run(root) == 0
    before = data.files(root / "tracks")
    media.write_video(root / FAKE, media.noise_frames(COUNT, WIDTH, HEIGHT))
    assert run(root) == 0
    after = data.files(root / "tracks")
    assert list(after) == list(before)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {name for name in before if "fake" in name and name.endswith(".png")}


def test_many_folders_of_a_video_at_a_time(made, root, monkeypatch):
    """The video is read again for each so many."""
    aligned, sizes = read_aligned_tracks(root / "aligned_tracks.json")
    write_aligned_tracks(root / "aligned_tracks.json", aligned * 6, sizes, root)
    assert run(root) == 0
    expected = data.files(root / "tracks")
    assert len(folders(root)) > 2
    monkeypatch.setattr(extract_track_crops, "_FOLDERS_AT_ONCE", 1)
    plan = extract_track_crops.Plan(root=root, published=False)
    for item in plan.list_items(read_data_root(root)):
        extract_track_crops.cut_tracks(item.task)
    found = {name: content for name, content in data.files(root / "tracks").items() if ".partial" not in name}
    assert found == expected


@pytest.mark.slow
def test_killed_at_random_and_started_again(root):
    script = [sys.executable, str(ROOT / "preprocessing" / "extract_track_crops.py"), "--root-dir", str(root)]
    killed_and_started_again([*script, "--workers", "2"], root / "tracks", 4)


@pytest.mark.slow
def test_two_ranks_do_the_same_as_one(made, root):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += [str(ROOT / "preprocessing" / "extract_track_crops.py"), "--root-dir", str(root)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    finished = processes.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert finished.returncode == 0, finished.stderr
    assert data.files(root / "tracks") == data.files(made / "tracks")
    assert (root / "track_pairs.txt").read_bytes() == (made / "track_pairs.txt").read_bytes()


def prepare(root, system, **environment):
    return processes.run_script("preprocess_data.sh", root, cwd=root, SYSTEM=system, **environment)


@pytest.mark.slow
def test_all_stages_by_the_script(tmp_path):
    root = write_root(tmp_path / "root")
    for video in (REAL, FAKE):
        media.write_video(root / video, media.face_frames(1) * COUNT)  # in the middle, where MTCNN finds it
    finished = prepare(root, "ntechlab", WORKERS="2", DEVICE="cpu")
    assert finished.returncode == 0, finished.stderr
    assert "track_pairs: 1 pairs: " in finished.stdout and len(folders(root)) == 2
    again = prepare(root, "ntechlab")
    assert again.returncode == 0 and again.stdout.count("of them done before") == 2


def test_a_system_that_is_not_known(root):
    finished = prepare(root, "toy")
    assert finished.returncode == 2 and finished.stdout == ""
    assert finished.stderr.startswith("error: SYSTEM=toy: there is no such system; use ")
    assert finished.stderr.count("\n") == 1


# bad input


def test_faces_at_the_border_and_outside(root, capsys):
    """Crops end where the frame does; a face of which nothing lies in it is left out and named."""
    corner, beside = (-10, -10, 50, 50), (400, 40, 460, 100)
    recorded = {name: entry([[corner, beside]] * 11) for name in ("real.mp4", "fake.mp4", "alone.mp4")}
    align(root, recorded)
    assert run(root) == 0
    out = capsys.readouterr().out
    for video in (REAL, FAKE):
        assert f"  note: {video}: a face lies outside the picture (frames " in out
    assert len(folders(root)) == 2
    for name in folders(root):
        assert name.endswith("_0_0")
        assert cv2.imread(str(root / "tracks" / name / "0.png")).shape == (65, 65, 3)
    assert len(read_track_pairs(root / "track_pairs.txt")) == 1


def test_no_track_long_enough(root, capsys):
    align(root, {**entries(), "fake.mp4": entry([[FACE]] * 7)})
    assert run(root) == 1
    line = (
        f"error: {root}/aligned_tracks.json: no face of a usable video is followed for 8 detections in an original and "
        "its fake; there is nothing to cut out\n"
    )
    assert capsys.readouterr().err.endswith(line)


def test_another_video_than_the_tracks_are_of(root, capsys):
    media.write_video(root / REAL, media.noise_frames(COUNT, WIDTH // 2, HEIGHT // 2))
    media.write_video(root / FAKE, media.noise_frames(6, WIDTH, HEIGHT))
    aligned, sizes = read_aligned_tracks(root / "aligned_tracks.json")
    later = [type(track)(**{**vars(track), "start": 1}) for track in aligned]
    write_aligned_tracks(root / "aligned_tracks.json", later, sizes, root)
    assert run(root) == 1
    out, err = capsys.readouterr()
    other = "its tracks are of another video; run detect_tracks.py and align_tracks.py\n"
    assert f"{root / REAL}: has frames of 160x90 pixels, and faces found in 320x180: {other}" in out
    assert f"{root / FAKE}: has 6 frames, and a face is to be cut out from frame " in out and other in out
    assert f"track_pairs: there is no pair to list: {root}/track_pairs.txt\n" in out
    assert err.endswith("error: track_crops: 2 failed, 0 left out; mend or remove them and run this again\n")
    assert err.count("error: ") == 1
    assert folders(root) == []


def test_a_video_that_changes_its_size(root, capsys):
    """Where the tracks are another's, as detect_tracks.py makes none of such a video."""
    frames = media.face_frames(30, WIDTH, HEIGHT, 90) + media.face_frames(36, 160, 90, 45)
    mjpeg.write_pictures(root / "fake.avi", frames)
    (root / "fake.avi").replace(root / FAKE)
    assert run(root) == 1
    line = f"{root / FAKE}: its frames change from 320x180 to 160x90 pixels (frame 30); encode it at one size\n"
    assert f"  failed: {FAKE}: {line}" in capsys.readouterr().out
    assert [name for name in folders(root) if "fake" in name] == []


def test_a_damaged_video(root, capsys):
    data.cut(str(root / FAKE))
    assert run(root) == 1
    out, err = capsys.readouterr()
    assert f"  failed: {FAKE}: {root / FAKE}: " in out and "1 failed, 0 left out" in err
    assert len(folders(root)) == 1 and not (root / "track_pairs.txt").exists()


def test_a_published_list_of_a_damaged_video(root, capsys):
    align(root, entries(), "--format", "published")
    data.cut(str(root / FAKE), 0.1)
    assert run(root, "--format", "published") == 1
    assert f"  left out: {FAKE}: {root / FAKE}: can't be read" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"aligned": None}, "'NoneType' object is not iterable"),
        ({"sizes": {}}, "no size of"),
        ({"sizes": {REAL: [1, 2, 3]}}, "too many values"),
        (
            {"aligned": [{"real": REAL, "fake": FAKE, "start": 0, "real_boxes": [FACE], "fake_boxes": [FACE] * 2}]},
            "1 and 2",
        ),
        ({"aligned": [{"real": REAL}]}, "'fake' is missing"),
    ],
)
def test_damaged_aligned_tracks(root, capsys, change, reason):
    path = root / "aligned_tracks.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert run(root) == 1
    err = capsys.readouterr().err
    assert f"error: {path}: is damaged (" in err and reason in err
    assert err.endswith("; delete it and run align_tracks.py\n")


def test_no_aligned_tracks(root, capsys):
    (root / "aligned_tracks.json").unlink()
    assert run(root) == 1
    line = f"error: {root}/aligned_tracks.json: can't be read (No such file or directory); run align_tracks.py\n"
    assert capsys.readouterr().err == line
    assert run(root, "--format", "published") == 1
    assert f"error: {root}/aligned_tracks.pkl: can't be read (No such file or directory)" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["tracks", f"tracks/{PART}", "folder", "track_pairs.txt"])
def test_pictures_behind_a_link_stay(made, root, tmp_path, capsys, place):
    home = tmp_path / "home"
    home.mkdir()
    (home / "0.png").write_text("precious")
    path = root / (f"tracks/{folders(made)[0]}" if place == "folder" else place)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(home / "0.png" if place == "track_pairs.txt" else home)
    assert run(root) == 1
    out, err = capsys.readouterr()
    assert f"{path}: is a link, and may lead anywhere" in err or f"{path}: is there, and no run of this stage" in out
    assert data.files(home) == {"0.png": b"precious"}


def test_pictures_where_crops_belong_stay(made, root, capsys):
    """Of a folder that no run has made; and of one that a run has made and someone put pictures into."""
    place = root / "tracks" / folders(made)[0]
    place.mkdir(parents=True)
    (place / "0.png").write_text("precious")
    assert run(root) == 1
    assert f"{place}: is there, and no run of this stage has made that; move it elsewhere\n" in capsys.readouterr().out
    assert (place / "0.png").read_text() == "precious"
    shutil.rmtree(place)
    assert run(root) == 0
    (place / "holiday.png").write_text("precious")
    assert run(root, "--overwrite") == 1
    assert f"{place}: holds holiday.png, which no stage made; move it elsewhere\n" in capsys.readouterr().out
    assert (place / "holiday.png").read_text() == "precious"
