"""Mini videos and their table: squares on faces, fakes by their originals' boxes, each bad video in a line."""

import csv
import json
import os
import random
import shutil
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from faces.video import iter_frames
from preprocessing import extract_mini_videos
from preprocessing.extract_mini_videos import MINI_VIDEOS, TABLE, balanced, generator_of
from systems.medics import clip_files
from systems.medics.clip_files import clip_length, read_clip
from systems.medics.mini_videos import cut_mini_videos, draw_start, plan_mini_videos
from tests import data, media, medics, processes

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = media.SHARED / "golden" / "medics" / "preprocessing"
SETTINGS = {"search": "given", "seed": 0, "exact": False, "encoder": 1, "reader": 2}
FACE, OTHER = medics.FACE, [50.0, 8.0, 70.0, 36.0]
PART = "dfdc_train_part_7"


@pytest.fixture(scope="module")
def made_root(tmp_path_factory):
    """A real video with two faces, fakes of it, one of half the size, and a real video without a face."""
    videos = {"a": 120, "b": 120, "small": 120, "empty": 60}
    root = medics.make_root(tmp_path_factory.mktemp("made") / "root", videos, {"b": "a", "small": "a"})
    medics.write_video(root / PART / "small.mp4", 120, seed=2, width=80, height=48)
    medics.write_boxes(root.parent / "given", "a", [[FACE, OTHER]] * 12)
    medics.write_boxes(root.parent / "given", "empty", [None] * 6)
    return root


@pytest.fixture
def root(made_root, tmp_path):
    shutil.copytree(made_root.parent, tmp_path, dirs_exist_ok=True)
    return tmp_path / "root"


def run(root, *flags, workers=1):
    given = ["--boxes", str(root.parent / "given")]
    return extract_mini_videos.main(["--root-dir", str(root), "--workers", str(workers), *given, *flags])


def outputs(root):
    return {**data.files(root / MINI_VIDEOS), TABLE: (root / TABLE).read_bytes()}


def cut(root, settings=SETTINGS):
    return medics.cut(extract_mini_videos, root, root.parent / "given", settings)


def table(root):
    with open(root / TABLE, newline="") as file:
        return list(csv.DictReader(file))


def record(root, video):
    return json.loads((root / MINI_VIDEOS / f"{video}.json").read_text())["videos"]


def test_mini_videos_and_their_table(root, capsys):
    assert run(root) == 0
    out = capsys.readouterr().out
    assert "mini videos: 4 of 4 done" in out and "(6 mini videos, 300 frames)" in out
    assert "  note: empty: no face is there from frame " in out
    names = [f"07_{video}_{face}.mp4" for video in ("a", "b", "small") for face in (0, 1)]
    records = [f"{video}.json" for video in ("a", "b", "empty", "small")]
    assert sorted(path.name for path in (root / MINI_VIDEOS).iterdir()) == sorted([*names, *records])
    rows = table(root)
    assert [row["vidfile"] for row in rows] == names
    assert rows[0] == {
        "vidfile": "07_a_0.mp4",
        "filename": "a.mp4",
        "video_label": "REAL",
        "split": "train",
        "original": "",
        "train_part": PART,
        "part": "7",
        "label": "0",
    }
    assert (rows[2]["video_label"], rows[2]["original"], rows[2]["label"]) == ("FAKE", "a.mp4", "1")

    before = outputs(root)
    assert run(root) == 0 and outputs(root) == before
    assert "4 to do, 4 of them done before" in capsys.readouterr().out
    (root / MINI_VIDEOS / "07_b_1.mp4").unlink()
    assert run(root, workers=2) == 0 and outputs(root) == before
    assert run(root, "--seed", "1") == 0 and outputs(root) != before


def test_a_fake_takes_the_boxes_of_its_original(root):
    cut(root)
    start = draw_start(120, generator_of(0, "b"))
    plans = plan_mini_videos([[FACE, OTHER]] * 12, start=start, width=160, height=96)
    wanted = range(start, start + 50)
    frames = iter_frames(root / PART / "b.mp4", lambda count: wanted)
    pictures = [picture for plan, picture in cut_mini_videos(plans, frames) if plan.face == 1]
    written = read_clip(root / MINI_VIDEOS / "07_b_1.mp4", 0, 50, any_size=True)
    assert written.shape == np.shape(pictures)
    errors = [np.abs(written[: 50 - late].astype(int) - np.stack(pictures)[late:]).mean() for late in (0, 4, 8)]
    assert errors[0] < 5 and errors == sorted(errors) and errors[2] > 2 * errors[0]  # H.264 leaves that of noise
    assert record(root, "small")[0]["side"] == pytest.approx(record(root, "a")[0]["side"] / 2, abs=8)


def test_starts_depend_on_seed_and_video_alone():
    draws = [[draw_start(300, generator_of(seed, video)) for video in ("a", "b", "c")] for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2] and len(set(draws[0])) == 3


def test_exact_squares(root):
    rows = [[[10.0 + n, 8, 34 + n, 36]] for n in range(12)]
    medics.write_boxes(root.parent / "given", "a", rows)
    cut(root, {**SETTINGS, "exact": True})
    assert record(root, "a")[0]["length"] == 50


@pytest.mark.parametrize("frames", [12, 40])
def test_few_frames(tmp_path, frames):
    root = medics.make_root(tmp_path / "root", {"a": frames})
    medics.write_boxes(tmp_path / "given", "a", [[FACE]] * (frames // 10))
    (made,) = cut(root).values()
    if frames == 12:
        assert made.warnings == ["no face is there from frame 0 on for 50 frames: no mini video is made of it"]
    else:
        assert made.warnings == ["has 40 frames, fewer than 50: its mini videos are as short"]
        assert clip_length(root / MINI_VIDEOS / "07_a_0.mp4") == 30


def test_what_cannot_be_used(root):
    folder = root / PART
    media.write_video(folder / "b.mp4", medics.frames(120), container_options={"movflags": "faststart"})
    data.cut(str(folder / "b.mp4"), 0.7)
    medics.write_video(folder / "small.mp4", 120, width=96, height=160)
    made = cut(root)
    assert made["b"].startswith(f"{folder}/b.mp4: is cut or damaged: only ")
    assert "has frames of 96x160 pixels, its original a.mp4 of 160x96: the faces' boxes don't fit" in made["small"]
    assert made["a"].counts == {"mini videos": 2, "frames": 100}
    data.cut(str(folder / "a.mp4"))
    assert all("a.mp4" in line and "\n" not in line for line in (cut(root)["a"], cut(root)["b"]))


def test_what_failed_is_not_in_the_table(root, capsys):
    assert run(root) == 0
    data.cut(str(root / PART / "b.mp4"))
    assert run(root) == 1
    assert f"  failed: b: {root}/{PART}/b.mp4: can't be read" in capsys.readouterr().out
    assert {row["filename"] for row in table(root)} == {"a.mp4", "small.mp4"}


def test_a_fake_without_its_original(root, capsys):
    metadata = json.loads((root / PART / "metadata.json").read_text())
    del metadata["a.mp4"]
    (root / PART / "metadata.json").write_text(json.dumps(metadata))
    assert run(root) == 1
    assert f"  left out: {PART}/b.mp4: its original a.mp4 is not among the real videos\n" in capsys.readouterr().out
    assert table(root) == []


def test_links_and_what_no_run_has_made(root, tmp_path, capsys):
    (root / TABLE).write_text("precious")
    assert run(root) == 1 and (root / TABLE).read_text() == "precious"
    assert f"error: {root / TABLE}: is there, and no run of this stage has made that" in capsys.readouterr().err
    (root / TABLE).unlink()
    (tmp_path / "elsewhere").mkdir()
    (root / MINI_VIDEOS).symlink_to(tmp_path / "elsewhere")
    assert run(root) == 1
    assert f"error: {root / MINI_VIDEOS}: is a link" in capsys.readouterr().err
    assert os.listdir(tmp_path / "elsewhere") == []


def test_validation_has_as_many_fakes_as_reals():
    rows = [
        {"vidfile": f"{part}_{n}", "part": part, "label": int(n > 3), "split": "valid" if part > 44 else "train"}
        for part in (3, 45, 46)
        for n in range(12)
    ]
    kept = balanced(rows)
    assert kept == balanced(rows[::-1]) and [row["vidfile"] for row in kept] == sorted(row["vidfile"] for row in kept)
    counts = {
        part: [sum(row["part"] == part and row["label"] == label for row in kept) for label in (0, 1)]
        for part in (3, 45, 46)
    }
    assert counts == {3: [4, 8], 45: [4, 4], 46: [4, 4]}
    chosen = {part: [row["vidfile"][3:] for row in kept if row["part"] == part] for part in (45, 46)}
    assert chosen[45] != chosen[46]


@pytest.mark.skipif(not GOLDEN.is_dir(), reason="no ../shared")
def test_the_published_mini_videos(tmp_path, monkeypatch):
    """At a start that is given; without loss, so that pictures can be told from others."""
    monkeypatch.setattr(clip_files, "_PUBLISHED", clip_files._LOSSLESS)
    expected = json.loads((GOLDEN / "634.json").read_text())["mini_videos"][1]
    monkeypatch.setattr(extract_mini_videos, "draw_start", lambda count, generator: expected["start"])
    root = tmp_path / "root"
    shutil.copytree(media.SHARED / "videos" / "dfdc_train_part_0", root / "dfdc_train_part_0")
    made = medics.cut(extract_mini_videos, root, GOLDEN, SETTINGS)
    assert [each.counts for each in made.values()] == [{"mini videos": 1, "frames": 50}] * 2
    assert record(root, "634")[0]["side"] == expected["faces"][0]["side"]
    stored = np.load(GOLDEN / "634.npz")
    clip = read_clip(root / MINI_VIDEOS / "00_634_0.mp4", 0, 50)
    for k in (0, 25, 49):
        fingerprint = cv2.resize(clip[k].astype(float), (16, 16), interpolation=cv2.INTER_AREA)
        np.testing.assert_allclose(fingerprint, stored[f"mini{expected['start']}_0_frame{k}"], atol=0.01)


@pytest.mark.slow
def test_killed_at_random_and_started_again(root, tmp_path):
    draw = random.Random(17)
    command = [sys.executable, str(ROOT / "preprocessing" / "extract_mini_videos.py"), "--root-dir", str(root)]
    command += ["--workers", "2", "--boxes", str(tmp_path / "given")]
    started = time.time()
    assert processes.run(command, capture_output=True).returncode == 0
    whole, expected, names = time.time() - started, outputs(root), sorted(os.listdir(root))
    for _ in range(4):
        shutil.rmtree(root / MINI_VIDEOS)
        (root / TABLE).unlink()
        process = processes.Popen(command, stdout=processes.DEVNULL, stderr=processes.DEVNULL)
        time.sleep(whole * draw.uniform(0.3, 0.95))
        process.kill()
        process.wait()
        finished = processes.run(command, capture_output=True, text=True)
        assert finished.returncode == 0, finished.stderr
        assert outputs(root) == expected and sorted(os.listdir(root)) == names
