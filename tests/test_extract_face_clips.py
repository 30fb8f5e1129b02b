"""Clips of faces: as published, each way a video can be bad in a line, whole whenever the stage is killed."""

import contextlib
import itertools
import json
import os
import random
import shutil
import sys
import time
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from faces.video import iter_frames
from preprocessing import extract_face_clips, face_boxes
from preprocessing.data_root import read_data_root
from preprocessing.face_boxes import SEARCH, BoxFinder
from systems.medics.clip_files import clip_length, read_clip
from systems.medics.clips import cut_face
from tests import data, media, medics, processes

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = media.SHARED / "golden" / "medics" / "preprocessing"
SETTINGS = {"search": "given", "exact": False, "lossless": False, "encoder": 1, "reader": 2}
LOSSLESS = {**SETTINGS, "lossless": True}
FACE, OTHER = medics.FACE, [50.0, 8.0, 70.0, 36.0]
BY_PART, BY_LABEL = "face_videos_by_part", "face_videos_by_real_fake"
shared = pytest.mark.skipif(not GOLDEN.is_dir(), reason="no ../shared")


@pytest.fixture(scope="module")
def made_root(tmp_path_factory):
    """A real video of two chunks, in the second of which another face is there for 49 frames, and a fake of it."""
    root = medics.make_root(tmp_path_factory.mktemp("made") / "root", {"a": 310, "b": 155}, {"b": "a"})
    given = root.parent / "given"
    medics.write_boxes(given, "a", [[FACE]] * 15 + [[FACE, OTHER]] * 5 + [[FACE]] * 10)
    medics.write_boxes(given, "b", [[FACE]] * 15)
    return root


@pytest.fixture
def root(made_root, tmp_path):
    shutil.copytree(made_root.parent, tmp_path, dirs_exist_ok=True)
    return tmp_path / "root"


def run(root, *flags, workers=1):
    given = ["--boxes", str(root.parent / "given")]
    return extract_face_clips.main(["--root-dir", str(root), "--workers", str(workers), *given, *flags])


def outputs(root):
    return {name: data.files(root / name) for name in (BY_PART, BY_LABEL)}


def cut(root, settings=SETTINGS):
    return medics.cut(extract_face_clips, root, root.parent / "given", settings)


def cut_one(tmp_path, rows, count=150, **kwargs):
    """What is made of one video, and its clips by the record."""
    root = medics.make_root(tmp_path / "root", {"a": count})
    medics.write_boxes(tmp_path / "given", "a", rows)
    (made,) = cut(root, **kwargs).values()
    record = root / BY_PART / "7" / "a.json"
    return made, json.loads(record.read_text())["videos"] if record.exists() else None


def test_names_folders_and_pictures(root, capsys):
    assert run(root, "--lossless") == 0
    assert "face clips: 2 of 2 done" in capsys.readouterr().out
    names = ["a.mp4_0_0.mp4", "a.mp4_1_0.mp4", "b.mp4_0_0.mp4"]
    by_part = {path.name for path in (root / BY_PART / "7").iterdir()}
    assert by_part == {*names, "a.mp4_1_1.mp4.short", "a.json", "b.json"}
    by_label = sorted(data.files(root / BY_LABEL))
    assert by_label == ["FAKE/7_b.mp4_0_0.mp4", "REAL/7_a.mp4_0_0.mp4", "REAL/7_a.mp4_1_0.mp4"]
    for path in by_label:
        assert os.path.samefile(root / BY_LABEL / path, root / BY_PART / "7" / path.split("_", 1)[1])

    clip = root / BY_PART / "7" / "a.mp4_1_0.mp4"
    assert clip_length(clip) == 149
    frames = dict(iter_frames(root / "dfdc_train_part_7" / "a.mp4", lambda count: [150, 298]))
    # cells 2 to 8 across (10 / 4 and 34 / 4, rounded half to even, the last one left out) and 2 to 9 down
    for place in (0, 148):
        expected = cut_face(frames[150 + place], (16, 64), (16, 56))
        np.testing.assert_array_equal(read_clip(clip, place, 1)[0], expected)
    short = json.loads((root / BY_PART / "7" / "a.json").read_text())["videos"][2]
    assert short == {
        "file": "a.mp4_1_1.mp4.short",
        "links": [],
        "chunk": 1,
        "face": 1,
        "length": 49,
        "frames": [150, 199],
        "rows": [16, 64],
        "cols": [96, 136],
    }


def test_goes_on_where_it_stopped(root, capsys):
    assert run(root) == 0
    before = outputs(root)
    clip = root / BY_PART / "7" / "a.mp4_0_0.mp4"
    written = clip.stat().st_mtime_ns
    capsys.readouterr()
    assert run(root) == 0 and clip.stat().st_mtime_ns == written
    assert "face clips: 2 to do, 2 of them done before" in capsys.readouterr().out

    clip.unlink()
    (root / BY_LABEL / "FAKE" / "7_b.mp4_0_0.mp4").unlink()
    assert run(root) == 0 and outputs(root) == before
    assert "2 to do\n" in capsys.readouterr().out

    # what other boxes don't give any more goes, and so does what has another label
    medics.write_boxes(root.parent / "given", "a", [[FACE]] * 15 + [None] * 15)
    metadata = root / "dfdc_train_part_7" / "metadata.json"
    metadata.write_text(metadata.read_text().replace("FAKE", "REAL"))
    assert run(root, "--exact") == 0
    assert sorted(data.files(root / BY_LABEL)) == ["REAL/7_a.mp4_0_0.mp4", "REAL/7_b.mp4_0_0.mp4"]
    assert sorted(data.files(root / BY_PART)) == ["7/a.json", "7/a.mp4_0_0.mp4", "7/b.json", "7/b.mp4_0_0.mp4"]
    assert clip_length(clip) == 150
    assert data.summary(root, BY_PART)["made"] == {"clips": 2, "short clips": 0, "frames": 300}


def test_two_workers_equal_one(root, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(root, other / "root")
    shutil.copytree(tmp_path / "given", other / "given")
    assert run(root) == 0 and run(other / "root", workers=2) == 0
    assert outputs(root)[BY_LABEL] == outputs(other / "root")[BY_LABEL]
    assert sorted(outputs(root)[BY_PART]) == sorted(outputs(other / "root")[BY_PART])


class Searched(BoxFinder):
    """Finds what the tests' own boxes say, and notes which frames it looked at."""

    def __init__(self, root, given, **kwargs):
        super().__init__(root, None, **kwargs)
        self.rows, self.seen = json.loads((given / "a.boxes.json").read_text())["boxes"], []

    def search(self, frames):
        found = [(index, frame.mean()) for index, frame in frames]
        self.seen += found
        return [self.rows[index // 10] for index, _ in found]


@pytest.mark.parametrize("most", [2**29, 0], ids=["one pass", "a video with large frames"])
def test_searched_and_cut_in_one_pass(root, monkeypatch, most):
    """The same files as by boxes that were known; frames are decoded once where a chunk's fit into memory."""
    medics.write_boxes(root.parent / "given", "a", [[OTHER, FACE]] * 15 + [[FACE, OTHER]] * 5 + [[FACE]] * 10)
    cut(root)
    expected = outputs(root)[BY_PART]
    for folder in (BY_PART, BY_LABEL):
        shutil.rmtree(root / folder)
    reads, asked = [], []
    for module, name in ((face_boxes, "iter_all_frames"), (extract_face_clips, "iter_held_frames")):
        read = getattr(module, name)
        monkeypatch.setattr(
            module,
            name,
            lambda *args, read=read, name=name: reads.append(name) or asked.append(sorted(args[1](310))) or read(*args),
        )
    monkeypatch.setattr(extract_face_clips, "_MOST_HELD", most)
    finder = Searched(root, root.parent / "given", device="cpu", local_rank=0)
    work = extract_face_clips.make_work(lambda: finder, SETTINGS)
    item = extract_face_clips.list_items(root, None, SETTINGS, read_data_root(root))[0]
    work(item.task)
    assert [index for index, _ in finder.seen] == list(range(0, 300, 10))
    frames = dict(iter_frames(item.task.video.path, lambda count: [0, 10, 290]))
    assert dict(finder.seen)[290] == frames[290].mean() and dict(finder.seen)[10] != frames[0].mean()
    made = outputs(root)[BY_PART]
    clips = {name for name in expected if "a.mp4_" in name}
    assert clips == {name for name in made if "a.mp4_" in name} and len(clips) == 4
    assert all(made[name] == expected[name] for name in clips)
    assert reads == (["iter_held_frames"] if most else ["iter_all_frames", "iter_held_frames"])
    assert asked[-1] == list(range(300))  # however often: of a damaged file other frames would come otherwise
    kept = json.loads((root / "rois" / "a.boxes.json").read_text())
    assert kept["boxes"] == finder.rows


def test_a_crowd_is_encoded_a_few_at_a_time(tmp_path):
    """Six faces at once, and one encoder holds much."""
    row = [[2 + 26 * column, 2 + 24 * line, 18 + 26 * column, 18 + 24 * line] for column in range(3) for line in (0, 1)]
    made, clips = cut_one(tmp_path, [row] * 15, settings=LOSSLESS)
    assert made.counts == {"clips": 6, "short clips": 0, "frames": 6 * 149}
    frame = next(iter_frames(tmp_path / "root" / "dfdc_train_part_7" / "a.mp4", lambda count: [80]))[1]
    for clip in clips:
        picture = read_clip(tmp_path / "root" / BY_PART / "7" / clip["file"], 80, 1)[0]
        np.testing.assert_array_equal(picture, cut_face(frame, clip["rows"], clip["cols"]))


def test_no_face_for_30_frames(tmp_path):
    made, clips = cut_one(tmp_path, [[FACE]] * 7 + [None] * 3 + [[FACE]] * 5)
    assert [(clip["file"], clip["frames"]) for clip in clips] == [
        ("a.mp4_0_0.mp4", [0, 69]),
        ("a.mp4_0_1.mp4.short", [100, 149]),
    ]
    assert made.warnings == ["no face in frames 70 to 99: a face before and after these is two clips"]


def test_two_faces_that_touch(tmp_path):
    made, clips = cut_one(tmp_path, [[FACE, [34.0, 20.0, 60.0, 40.0]]] * 15)
    assert [(clip["file"], clip["cols"]) for clip in clips] == [("a.mp4_0_0.mp4", [16, 112])]
    assert made.warnings == ["face 0 of chunk 0 has up to 2 boxes at once, which touch: one clip shows all"]


@pytest.mark.parametrize(
    "box, rows, cols", [([64, 30, 90, 60], (64, 112), (128, 168)), ([-20, -9, 30, 30], (0, 56), (0, 56))]
)
def test_a_face_that_leaves_the_frame(tmp_path, box, rows, cols):
    made, (clip,) = cut_one(tmp_path, [[box]] * 15)
    assert (tuple(clip["rows"]), tuple(clip["cols"])) == (rows, cols)
    assert made.warnings == ["a face leaves the frame in 15 of 15 frames searched: clips show what is in it"]
    assert clip_length(tmp_path / "root" / BY_PART / "7" / clip["file"]) == 149


def test_no_clip_is_named(tmp_path):
    made, clips = cut_one(tmp_path, [[FACE]] * 14, count=149)
    assert clips == [] and made.warnings == ["has 149 frames, fewer than 150: no clip is made of it"]
    shutil.rmtree(tmp_path / "root")
    made, clips = cut_one(tmp_path, [[FACE]] * 3 + [None] * 12)
    assert clips == [] and made.counts == {"clips": 0, "short clips": 0, "frames": 0}
    assert made.warnings[1] == "no face is in one place for 4 frames searched in sequence: no clip is made of it"


def test_what_cannot_be_used(root):
    folder = root / "dfdc_train_part_7"
    media.write_video(folder / "a.mp4", medics.frames(310), container_options={"movflags": "faststart"})
    data.cut(str(folder / "a.mp4"), 0.7)
    made = cut(root)
    assert made["a"].startswith(f"{folder}/a.mp4: is cut or damaged: only ")
    assert made["b"].counts["clips"] == 1
    assert not (root / BY_PART / "7" / "a.json").exists()

    medics.write_video(folder / "a.mp4", 160)
    assert "the boxes given are of 30 frames, and 16 of its 160 are searched" in cut(root)["a"]
    for text, line in (
        ("{", "is damaged, or holds no boxes"),
        ('{"boxes": [[[1, 2, 3]]]}', "not four numbers"),
        (f'{{"boxes": [{[FACE] * 2001}]}}', "2001 faces in a frame, over the limit of 2000"),
    ):
        (root.parent / "given" / "a.boxes.json").write_text(text)
        assert line in cut(root)["a"] and "\n" not in cut(root)["a"]
    (root.parent / "given" / "a.boxes.json").unlink()
    assert "no boxes (No such file or directory); name the folder that has them by --boxes" in cut(root)["a"]


def test_a_size_that_changes(root):
    """Two streams one after the other, as a call's recording has them."""
    folder = root / "dfdc_train_part_7"
    parts = [root / "first.h264", root / "second.h264"]
    for path, (width, height) in zip(parts, ((160, 96), (128, 96)), strict=True):
        video = root / "video.mp4"
        medics.write_video(video, 100, width=width, height=height)
        path.write_bytes(elementary_stream(video))
    (folder / "b.mp4").write_bytes(b"".join(path.read_bytes() for path in parts))
    medics.write_boxes(root.parent / "given", "b", [[FACE]] * 20)
    line = cut(root)["b"]
    assert line == f"{folder}/b.mp4: changes its size from 160x96 to 128x96 by frame 100; encode it at one size"


def elementary_stream(path):
    """The H.264 of an MP4, without the container."""
    import av

    with av.open(str(path)) as container:
        to_stream = av.BitStreamFilterContext("h264_mp4toannexb", container.streams.video[0])
        packets = [packet for packet in container.demux(video=0) if packet.size]
        return b"".join(bytes(each) for packet in packets for each in to_stream.filter(packet))


def test_a_fake_without_its_original(root, capsys):
    metadata = json.loads((root / "dfdc_train_part_7" / "metadata.json").read_text())
    del metadata["a.mp4"]
    (root / "dfdc_train_part_7" / "metadata.json").write_text(json.dumps(metadata))
    medics.write_video(root / "dfdc_train_part_7" / "c.mp4", 20)
    metadata["c.mp4"] = {"label": "REAL"}
    (root / "dfdc_train_part_7" / "metadata.json").write_text(json.dumps(metadata))
    assert run(root) == 1
    out = capsys.readouterr().out
    assert "  left out: dfdc_train_part_7/b.mp4: its original a.mp4 is not among the real videos\n" in out
    assert "  note: c: has 20 frames, fewer than 150: no clip is made of it\n" in out


def test_nothing_is_written_through_a_link(root, tmp_path, capsys):
    (tmp_path / "elsewhere").mkdir()
    (root / BY_LABEL).symlink_to(tmp_path / "elsewhere")
    assert run(root) == 1
    err = capsys.readouterr().err
    assert f"error: {root / BY_LABEL}: is a link, and may lead anywhere; remove it" in err and "Traceback" not in err
    assert os.listdir(tmp_path / "elsewhere") == []


def test_what_no_run_has_made_stays(root):
    (root / BY_PART / "7").mkdir(parents=True)
    (root / BY_PART / "7" / "a.mp4_0_0.mp4").write_text("precious")
    (root / BY_PART / "7" / "b.json").write_text(json.dumps({"mine": 1}))
    made = cut(root)
    assert made["a"].endswith("a.mp4_0_0.mp4: is there, and no run of this stage has made that; move it elsewhere")
    assert made["b"].endswith("b.json: is no record of this stage (its keys are others); move it elsewhere")
    assert (root / BY_PART / "7" / "a.mp4_0_0.mp4").read_text() == "precious"
    assert not (root / BY_LABEL).exists() and sorted(os.listdir(root / BY_PART / "7")) == [
        ".partial",
        "a.mp4_0_0.mp4",
        "b.json",
    ]


@pytest.mark.parametrize("file", ["../../dfdc_train_part_7/a.mp4", "b.mp4_0_0.mp4", "a.mp4"])
def test_a_record_from_elsewhere_removes_nothing(root, file):
    cut(root)
    record = root / BY_PART / "7" / "a.json"
    content = json.loads(record.read_text())
    content["videos"][0] = {"file": file, "links": []}
    record.write_text(json.dumps(content))
    before = outputs(root)
    assert f"is no record of this stage (lists {file})" in cut(root, {**SETTINGS, "exact": True})["a"]
    assert (root / "dfdc_train_part_7" / "a.mp4").exists()
    for name, files in without_partial(outputs(root)).items():
        ours = {path for path in before[name] if ".partial" not in path}
        assert ours == set(files)


def test_a_file_system_without_links(root, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    cut(root)
    first, second = root / BY_PART / "7" / "b.mp4_0_0.mp4", root / BY_LABEL / "FAKE" / "7_b.mp4_0_0.mp4"
    assert not os.path.samefile(first, second) and first.read_bytes() == second.read_bytes()


@shared
@pytest.mark.parametrize("name", ["634_660", "facenet_video"])
def test_the_published_clips(name, tmp_path):
    """Boxes in, the same clips and pictures out."""
    expected = json.loads((GOLDEN / f"{name}.json").read_text())
    root = tmp_path / "root"
    (root / "part_0").mkdir(parents=True)
    (video,) = (media.SHARED / "videos").rglob(f"{name}.mp4")
    shutil.copy(video, root / "part_0")
    (root / "part_0" / "metadata.json").write_text(json.dumps({f"{name}.mp4": {"label": "REAL"}}))
    medics.cut(extract_face_clips, root, GOLDEN, LOSSLESS)
    clips = json.loads((root / BY_PART / "0" / f"{name}.json").read_text())["videos"]
    keys = ("file", "chunk", "face", "rows", "cols", "length")
    assert [[clip[key] for key in keys] for clip in clips] == [[c[key] for key in keys] for c in expected["clips"]]
    stored = np.load(GOLDEN / f"{name}.npz")
    for clip, wanted in zip(clips, expected["clips"], strict=True):
        for k in wanted["fingerprints"]:
            picture = read_clip(root / BY_PART / "0" / clip["file"], k, 1)[0].astype(float)
            fingerprint = cv2.resize(picture, (16, 16), interpolation=cv2.INTER_AREA)
            expected_print = stored[f"clip{clip['chunk']}_{clip['face']}_frame{k}"]
            np.testing.assert_allclose(fingerprint, expected_print, atol=0.01)


@shared
def test_the_published_boxes(tmp_path):
    """Of our own detector; they are kept, and found again only if the video or the search is another."""
    (video,) = (media.SHARED / "videos").rglob("facenet_video.mp4")
    path = shutil.copy(video, tmp_path / "v.mp4")
    (tmp_path / "work").mkdir()
    finder = BoxFinder(tmp_path, None, device="cpu", local_rank=0)
    boxes = finder.boxes_of("v", path, tmp_path / "work")
    expected = json.loads((GOLDEN / "facenet_video.boxes.json").read_text())["boxes"]
    assert len(boxes) == len(expected) == 10
    for found, wanted in zip(boxes, expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=0.001)

    kept = tmp_path / "rois" / "v.boxes.json"
    content = json.loads(kept.read_text())
    assert content["search"] == SEARCH and list((tmp_path / "work").iterdir()) == []
    kept.write_text(json.dumps({**content, "boxes": [None]}))
    assert finder.boxes_of("v", path, tmp_path / "work") == [None]
    os.utime(path)
    assert finder.boxes_of("v", path, tmp_path / "work") == boxes


@pytest.mark.slow
def test_killed_at_random_and_started_again(root, tmp_path):
    draw = random.Random(16)
    command = [sys.executable, str(ROOT / "preprocessing" / "extract_face_clips.py"), "--root-dir", str(root)]
    command += ["--workers", "2", "--boxes", str(tmp_path / "given")]
    started = time.time()
    assert processes.run(command, capture_output=True).returncode == 0
    whole, expected, names = time.time() - started, outputs(root), sorted(os.listdir(root))
    for _ in range(4):
        for name in (BY_PART, BY_LABEL):
            shutil.rmtree(root / name)
        process = processes.Popen(command, stdout=processes.DEVNULL, stderr=processes.DEVNULL)
        time.sleep(whole * draw.uniform(0.3, 0.95))
        process.kill()
        process.wait()
        finished = processes.run(command, capture_output=True, text=True)
        assert finished.returncode == 0, finished.stderr
        assert outputs(root) == expected and sorted(os.listdir(root)) == names


@pytest.mark.slow
def test_killed_at_each_change_of_a_name(tmp_path, monkeypatch):
    """Wherever a run ends, the next one makes all as if it had never been, and removes what is not made any more."""
    root = medics.make_root(tmp_path / "root", {"a": 150})
    expected = {}
    for name, rows in (("two", [[FACE, OTHER]] * 7 + [[FACE]] * 8), ("one", [[FACE]] * 15)):
        medics.write_boxes(tmp_path / name, "a", rows)

    def cut_by(name):
        shutil.copytree(tmp_path / name, tmp_path / "given", dirs_exist_ok=True)  # with their times of change
        cut(root)
        return without_partial(outputs(root))

    expected = {name: cut_by(name) for name in ("two", "one")}
    assert len(expected["two"][BY_PART]) == 3 and len(expected["one"][BY_PART]) == 2

    def dying(function, left):
        def call(*args, **kwargs):
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return function(*args, **kwargs)

        return call

    for moment in itertools.count():
        left, before, after = [moment], *random.Random(moment).sample(["two", "one"], 2)
        cut_by(before)
        with monkeypatch.context() as patched, contextlib.suppress(Killed):
            for name in ("replace", "link", "unlink"):
                patched.setattr(os, name, dying(getattr(os, name), left))
            cut_by(after)
        assert cut_by(after) == expected[after]
        if left[0] >= 0:
            break
    assert moment > 5


class Killed(BaseException):
    pass


def without_partial(files):
    return {
        name: {path: content for path, content in of.items() if ".partial" not in path} for name, of in files.items()
    }


def test_the_system_of_preprocess_data(tmp_path):
    root = medics.make_root(tmp_path / "root", {"a": 60, "b": 60}, {"b": "a"})
    run = partial(processes.run_script, "preprocess_data.sh", root, cwd=tmp_path, WORKERS="1", DEVICE="cpu")
    finished = run(SYSTEM="medics")
    assert finished.returncode == 0, finished.stderr
    assert "face clips: 2 of 2 done" in finished.stdout and "mini videos: 2 of 2 done" in finished.stdout
    assert (root / "train_minivideos_df.csv").exists() and not (tmp_path / "folds.csv").exists()
    finished = run(SYSTEM="nobody")
    assert finished.returncode == 2 and "SYSTEM=nobody: there is no such system" in finished.stderr
