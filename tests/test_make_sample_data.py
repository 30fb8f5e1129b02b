"""The sample data root: its format, its faces, where fakes differ from their originals, and who is where."""

import errno
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest

from faces.face_detector import FacenetDetector
from preprocessing import detect_original_faces, extract_crops, generate_diffs, made_videos, make_sample_data
from preprocessing.data_root import read_data_root
from preprocessing.made_motion import Walk, draw_walks
from preprocessing.made_videos import MadeVideo
from preprocessing.make_sample_data import main, make_data_root
from runtime.errors import InputError
from runtime.files import temporary_name
from systems.seferbekov.dataset import read_diff
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
    real, fake = (list(MadeVideo(0, 7, number, **size).images()) for number in (0, 1))
    changed = np.any(np.stack(real) != np.stack(fake), axis=(0, 3))
    assert changed.any()
    assert not changed[:, :40].any() and not changed[:10].any() and not changed[-20:].any()
    assert all(frame.dtype == np.uint8 and frame.shape == (180, 320, 3) for frame in fake)
    longer = first_image(7, frames=5, width=320, height=180)  # a longer video begins like a shorter one
    np.testing.assert_array_equal(longer, real[0])
    assert np.abs(real[0].astype(int) - first_image(8, **size)).mean() > 10
    assert np.abs(fake[0].astype(int) - first_image(7, 2, **size)).max() > 10


def first_image(video, fake=0, **settings):
    return next(MadeVideo(0, video, fake, **settings).images())


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


def test_what_a_stopped_run_has_begun_is_removed(tmp_path, monkeypatch):
    """Another run may have other settings, and never come to it."""

    def stop(film):
        temporary_name(film.path).touch()  # as a worker that was killed leaves it
        raise KeyboardInterrupt

    monkeypatch.setattr(make_sample_data, "_render", stop)
    assert run(tmp_path, workers=1) == 130
    assert list((tmp_path / "dfdc_train_part_0").iterdir()) == []


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
    def frames():
        yield np.zeros((160, 160, 3), np.uint8)
        raise OSError(errno.ENOSPC, "No space left on device")

    real = MadeVideo.images

    monkeypatch.setattr(MadeVideo, "images", lambda video: frames() if video.people()[0]["fake"] else real(video))
    assert run(tmp_path, workers=1) == 1
    assert "No space left on device" in capsys.readouterr().err.splitlines()[-1]
    assert [path.suffix for path in (tmp_path / "dfdc_train_part_0").iterdir()] == [".mp4"]  # the real one, whole


def test_a_full_disk_as_ffmpeg_tells_it(tmp_path, capsys, monkeypatch):
    def encode(*_):
        raise av.error.PyAVCallbackError(1447131472, "Error in PyAV callback")

    monkeypatch.setattr(made_videos, "_encode", encode)
    assert run(tmp_path, workers=1) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and "Error in PyAV callback: is the disk full?" in error


@pytest.mark.parametrize(
    "flag",
    [
        "--parts=0",
        "--parts=101",
        "--originals=-1",
        "--originals=1001",
        "--fakes=x",
        "--fakes=21",
        "--frames=0",
        "--frames=100001",
        "--frames=999999999999",
        "--width=161",
        "--height=158",
        "--height=9000",
        "--seed=-1",
        "--people=0",
        "--people=5",
        "--movement=run",
        "--half-fake=1.1",
        "--half-fake=nan",
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
    real, same, calm, wild = (
        np.stack(list(MadeVideo(3, 0, **settings, **size).images())).astype(int)
        for settings in ({}, {"fake": 1}, {"fake": 1, "flicker": 1}, {"fake": 1, "flicker": 4})
    )
    assert (calm == same).all()
    pasted = (calm != real).any(axis=(0, 3))
    moved = [np.abs(np.diff(frames[:, pasted], axis=0)).mean() for frames in (real, calm, wild)]
    assert moved[2] > 1.5 * moved[1] > moved[0]
    make_data_root(tmp_path, **SMALL, seed=1, flicker=2)
    with pytest.raises(InputError, match="not from these settings"):
        make_data_root(tmp_path, **SMALL, seed=1)


# several people

CAST = {"people": 3, "movement": "mixed", "half_fake": 0.5}


@pytest.fixture(scope="module")
def crowd(tmp_path_factory):
    """Real videos of three people who stay, cross and leave, and a fake of each."""
    folder = tmp_path_factory.mktemp("crowd")
    make_data_root(folder, parts=1, originals=3, fakes=1, frames=40, width=480, height=270, seed=1, **CAST)
    return folder / "dfdc_train_part_0"


@pytest.fixture(scope="module")
def cast(crowd):
    """The entries by name."""
    return json.loads((crowd / "metadata.json").read_text())


def iou(a, b):
    width, height = (min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1))
    common = max(width, 0) * max(height, 0)
    return common / (sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)) - common)


def test_who_is_where(cast):
    assert Counter(entry["movement"] for entry in cast.values()) == {"still": 2, "cross": 2, "leave": 2}
    for entry in cast.values():
        people = entry["people"]
        assert [person["fake"] for person in people].count(True) == (entry["label"] == "FAKE")
        for person in people:
            assert person.keys() == ({"fake", "fake_frames", "boxes"} if person["fake"] else {"fake", "boxes"})
        boxes = [person["boxes"] for person in people]
        assert all(set(each) <= {str(index) for index in range(40)} for each in boxes)
        assert all(type(number) is int for each in boxes for box in each.values() for number in box)
        assert sorted(each["0"] for each in boxes) == [each["0"] for each in boxes]  # from the left
        if entry["original"]:
            assert [person["boxes"] for person in cast[entry["original"]]["people"]] == boxes
        gaps = [40 - len(each) for each in boxes]
        if entry["movement"] == "still":
            assert gaps == [0, 0, 0]
        else:
            assert sum(gap > 0 for gap in gaps) == 1  # the one who leaves, or is hidden


def test_the_detector_finds_them_there(crowd, cast):
    """Faces that are wholly in the picture; and hardly anything else, as a curl that it takes for a small face."""
    detector = FacenetDetector(thresholds=(0.7, 0.8, 0.8), engine="torch")
    found = expected = others = 0
    for name in cast:
        frames = opencv_frames(crowd / name)
        for index, faces in zip(range(0, 40, 8), detector.detect(frames[::8]), strict=True):
            boxes = [person["boxes"].get(str(index)) for person in cast[name]["people"]]
            boxes = [box for box in boxes if box]
            inside = [box for box in boxes if box[0] >= 0 and box[2] <= 480]
            found += sum(max((iou(box, face) for face in faces.bboxes), default=0) > 0.6 for box in inside)
            expected += len(inside)
            others += sum(max(iou(box, face) for box in boxes) < 0.4 for face in faces.bboxes)
    assert expected > 70 and found >= 0.97 * expected and others <= 0.05 * expected


def test_one_person_is_swapped_for_a_time():
    """To the pixel: outside of the face that is fake, and of the frames in which it is, a fake equals its original."""
    settings = {"frames": 20, "width": 480, "height": 270, "people": 3}
    fakes = [MadeVideo(2, 1, number, half_fake=0.5, **settings) for number in range(1, 6)]
    real = np.stack(list(MadeVideo(2, 1, **settings).images()))
    lengths, swapped = set(), set()
    for fake in fakes:
        (number,) = [number for number, person in enumerate(fake.people()) if person["fake"]]
        person = fake.people()[number]
        first, end = person["fake_frames"]
        changed = np.any(np.stack(list(fake.images())) != real, axis=3)
        assert changed.any(axis=(1, 2)).tolist() == [first <= index < end for index in range(20)]
        x1, y1, x2, y2 = np.array(list(person["boxes"].values())).T
        outside = np.ones(changed.shape[1:], bool)
        outside[min(y1) - 10 : max(y2) + 10, min(x1) - 20 : max(x2) + 20] = False
        assert not changed[:, outside].any()
        lengths.add(end - first)
        swapped.add(number)
    assert 20 in lengths and any(6 <= length <= 11 for length in lengths)  # some are swapped throughout
    assert len(swapped) > 1


@pytest.mark.parametrize("movement", ["cross", "leave"])
def test_a_face_is_fake_for_a_time_in_which_it_is_in_sight(movement):
    settings = {"frames": 60, "width": 320, "height": 180, "people": 2, "movement": movement, "half_fake": 1.0}
    fakes = [MadeVideo(3, video, 1, **settings) for video in range(12)]
    people = [next(person for person in fake.people() if person["fake"]) for fake in fakes]
    assert any(len(person["boxes"]) < 60 for person in people)
    for person in people:
        frames = range(*person["fake_frames"])
        assert 10 <= len(frames) <= 30
        assert all(str(index) in person["boxes"] for index in frames)


def test_who_walks_in_front_hides_the_swap():
    """A hidden face has no box, and where it is hidden by half or more most of the swap is too."""
    settings = {"frames": 60, "width": 320, "height": 180, "people": 2, "movement": "cross"}
    fakes = (MadeVideo(0, 0, number, **settings) for number in range(1, 9))
    is_behind = {}  # of either person
    for fake in fakes:
        person = next(person for person in fake.people() if person["fake"])
        changed = np.any(np.stack(list(fake.images())) != np.stack(list(MadeVideo(0, 0, **settings).images())), axis=3)
        areas = changed.sum(axis=(1, 2))
        hidden = [index for index in range(60) if str(index) not in person["boxes"]]
        is_behind[bool(hidden)] = areas[hidden].max() / np.median(areas) if hidden else areas.min() / np.median(areas)
        if len(is_behind) == 2:
            break
    assert is_behind[True] < 0.7 and is_behind[False] > 0.8


def test_walks():
    """Two who stand side by side change places; who leaves is out of the picture for a while, and comes back."""
    stands, reaches = [100.0, 300.0, 500.0], [50.0, 60.0, 70.0]
    seen = set()
    for seed in range(20):
        crossing = draw_walks(np.random.default_rng(seed), "cross", stands, reaches, 100, 640)
        ends = [stand + walk.at(99) for stand, walk in zip(stands, crossing, strict=True)]
        assert sorted(ends) == pytest.approx(stands) and sum(walk != Walk() for walk in crossing) == 2
        leaving = draw_walks(np.random.default_rng(seed), "leave", stands, reaches, 100, 640)
        (who,) = [number for number, walk in enumerate(leaving) if walk != Walk()]
        places = [stands[who] + leaving[who].at(index) for index in range(100)]
        assert places[0] == places[9] == stands[who] and places[99] == pytest.approx(stands[who])
        assert places[50] == pytest.approx(-50.0 if who == 0 else 640 + 70.0)
        seen.add(who)
    assert seen == {0, 2}
    assert draw_walks(np.random.default_rng(0), "still", stands, reaches, 100, 640) == 3 * [Walk()]


def test_one_person_who_leaves(tmp_path):
    run(tmp_path, movement="leave", frames=20)
    (entry, other) = json.loads((tmp_path / "dfdc_train_part_0" / "metadata.json").read_text()).values()
    assert len(entry["people"]) == 1 and 5 < len(entry["people"][0]["boxes"]) < 18
    assert {entry["label"], other["label"]} == {"REAL", "FAKE"}
    with pytest.raises(InputError, match="not from these settings"):
        make_data_root(tmp_path, **{**SMALL, "frames": 20}, seed=0)


def test_the_stages_find_who_is_fake(crowd, cast, tmp_path):
    """The crops of a fake differ from its original's where metadata.json says so, and nowhere else."""
    root = tmp_path / "root"
    shutil.copytree(crowd.parent, root)
    assert detect_original_faces.main(["--root-dir", str(root), "--frame-step", "10", "--workers", "1"]) == 0
    assert extract_crops.main(["--root-dir", str(root), "--workers", "1"]) == 0
    assert generate_diffs.main(["--root-dir", str(root), "--workers", "1"]) == 0
    means = {True: [], False: []}  # of the diffs' middle parts
    for name, entry in cast.items():
        if not entry["original"]:
            continue
        boxes = json.loads((root / "boxes" / f"{Path(entry['original']).stem}.json").read_text())
        for path in (root / "diffs" / Path(name).stem).iterdir():
            frame, actor, _ = path.name.split("_")
            place = 2 * np.array(boxes[frame][int(actor)])
            person = max(entry["people"], key=lambda person: iou(person["boxes"].get(frame, (0, 0, 1, 1)), place))
            first, end = person.get("fake_frames", (0, 0))
            diff = read_diff(path)
            height, width = diff.shape
            middle = diff[height // 3 : height * 2 // 3, width // 3 : width * 2 // 3]
            means[first <= int(frame) < end].append(middle.mean())
    assert len(means[True]) >= 6 and len(means[False]) >= 12
    assert min(means[True]) > 50 and max(means[False]) < 20
    data = read_data_root(root)
    assert len(data.videos) == 6 and not data.problems


@pytest.mark.parametrize(
    ("settings", "told"),
    [({"movement": "cross"}, "--people 2"), ({"people": 3, "width": 240}, "give 300")],
)
def test_people_who_do_not_fit(tmp_path, capsys, settings, told):
    assert run(tmp_path / "root", **settings) == 1
    assert told in capsys.readouterr().err and not (tmp_path / "root").exists()
