"""The sheet of a video and its fake: what is on it, what is said to be missing, and what can't be drawn."""

import json
import os
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.patches import Rectangle

from faces.crop import crop_face
from preprocessing.data_root import read_data_root
from preprocessing.extract_crops import read_boxes
from preprocessing.inspect_data import Panel, Sheet, choose_frames, crops_of, draw, load_sheet, main, shortened
from tests import media, processes

SCRIPT = Path(__file__).resolve().parents[1] / "preprocessing" / "inspect_data.py"
BOXES = [[20.25, 10.0, 50.0, 40.5], [0.0, 0.0, 8.0, 8.0]]  # half-size pixels
LANDMARKS = np.array([[30, 30], [60, 30], [45, 50], [33, 65], [57, 65]], np.int16)
CROP = (slice(0, 101), slice(20, 120))  # of the frame: BOXES[0] doubled and cut to whole pixels, a third more around


def write_root(root, width=160, height=120, frames=31):
    """A real video "004" with fakes "f1", which has no crops, and "f2", as the stages would leave them: boxes and crops
    of frames 0, 10, 20 and 30."""
    part = root / "part_0"
    part.mkdir(parents=True)
    real = media.face_frames(frames, width, height, face=80)
    for name, images in {"004": real, "f1": real, "f2": [image[::-1] for image in real]}.items():
        media.write_video(part / f"{name}.mp4", images)
    labels = {"004.mp4": {"label": "REAL"}}
    labels.update({f"{name}.mp4": {"label": "FAKE", "original": "004.mp4"} for name in ("f1", "f2")})
    (part / "metadata.json").write_text(json.dumps(labels))
    (root / "boxes").mkdir()
    boxes = {str(index): BOXES if index % 10 == 0 else None for index in range(frames)}
    (root / "boxes" / "004.json").write_text(json.dumps(boxes))
    for folder in ("crops/004", "crops/f1", "crops/f2", "landmarks/004", "diffs/f2"):
        (root / folder).mkdir(parents=True)
    for index in range(0, frames, 10):
        for name, images in {"004": real, "f2": [image[::-1] for image in real]}.items():
            crop = np.ascontiguousarray(images[index][CROP][..., ::-1])
            cv2.imwrite(str(root / "crops" / name / f"{index}_0.png"), crop)
        np.save(root / "landmarks" / "004" / f"{index}_0.npy", LANDMARKS)
        mask = np.full(crop.shape[:2], 10 + index, np.uint8)
        cv2.imwrite(str(root / "diffs" / "f2" / f"{index}_0_diff.png"), mask)
    return root


@pytest.fixture
def root(tmp_path):
    return write_root(tmp_path / "root")


def run(root, video, out):
    return main(["--root-dir", str(root), "--video", video, "--out", str(out)])


def load(root, *ids):
    videos = {video.id: video for video in read_data_root(root).videos}
    chosen = [videos[name] for name in ids]
    crops = {name: crops_of(videos[name], root / "crops") for name in ids}
    boxes = read_boxes(root / "boxes" / f"{chosen[0].source}.json")
    return load_sheet(root, chosen, boxes, crops, choose_frames(crops))


def error_of(capsys, root, video, out):
    assert run(root, video, out) == 1 and not Path(out).exists()
    printed, error = capsys.readouterr()
    assert printed == "" and error.startswith("error: ") and error.count("\n") == 1
    return error.removeprefix("error: ").rstrip()


def test_the_sheet_of_a_pair(root, tmp_path, capsys):
    out = tmp_path / "sheet.png"
    assert run(root, "f2", out) == 0
    assert capsys.readouterr() == (f"{out}: 004 (real) and f2 (fake), frame(s) 0, 20, 30\n", "")
    image = cv2.imread(str(out))
    # widths to heights: 160:120 twice and 100:101 thrice; 0.1 inch between and beside the columns
    height = (20 - 0.6) / (2 * 160 / 120 + 3 * 100 / 101)
    assert image.shape[1] == 2000 and abs(image.shape[0] - 100 * (3 * (height + 0.55) + 1.6)) <= 1
    assert image.std() > 40
    assert sorted(os.listdir(tmp_path)) == ["root", "sheet.png"]


def test_what_is_on_it(root):
    sheet = load(root, "004", "f2")
    assert sheet.title == ["real: 004, part folder part_0", "fake: f2, part folder part_0"]
    assert [[panel.heading for panel in row] for row in sheet.rows] == [
        [f"real frame {i}", f"real crop {i}_0", f"fake frame {i}", f"fake crop {i}_0", f"SSIM mask {i}_0"]
        for i in (0, 20, 30)
    ]
    assert not any(panel.note for row in sheet.rows for panel in row)
    real, real_crop, fake, fake_crop, mask = sheet.rows[1]
    doubled = [[40.5, 20.0, 100.0, 81.0], [0.0, 0.0, 16.0, 16.0]]
    assert real.boxes == doubled and fake.boxes == doubled and not real_crop.boxes
    originals = media.face_frames(31, 160, 120, face=80)
    assert np.abs(real.image.astype(int) - originals[20]).mean() < 6  # RGB, and encoded once
    assert np.abs(fake.image.astype(int) - originals[20][::-1]).mean() < 6
    assert np.array_equal(real_crop.image, originals[20][CROP])
    assert np.array_equal(real_crop.image, crop_face(originals[20], doubled[0]))
    assert np.array_equal(fake_crop.image, originals[20][::-1][CROP])
    assert np.array_equal(real_crop.landmarks, LANDMARKS) and np.array_equal(fake_crop.landmarks, LANDMARKS)
    assert mask.image.shape == (101, 100) and (mask.image == 30).all()


def test_a_real_video_gets_its_first_fake_with_crops(root, tmp_path, capsys):
    assert run(root, "004", tmp_path / "sheet.png") == 0
    assert "004 (real) and f2 (fake), frame(s) 0, 20, 30" in capsys.readouterr().out


def test_a_real_video_alone(root, tmp_path, capsys):
    for crop in (root / "crops" / "f2").iterdir():
        crop.unlink()
    (root / "crops" / "f1").rmdir()
    assert run(root, "004", tmp_path / "sheet.jpg") == 0
    assert capsys.readouterr().out == f"{tmp_path}/sheet.jpg: 004 (real), frame(s) 0, 20, 30\n"
    assert [panel.heading for panel in load(root, "004").rows[0]] == ["real frame 0", "real crop 0_0"]
    assert cv2.imread(str(tmp_path / "sheet.jpg")).std() > 40


def test_a_fake_of_unknown_origin_has_boxes_of_its_own(root, tmp_path, capsys):
    (root / "part_0" / "metadata.json").write_text(json.dumps({"f2.mp4": {"label": "FAKE"}}))
    (root / "boxes" / "004.json").rename(root / "boxes" / "f2.json")
    (root / "landmarks" / "004").rename(root / "landmarks" / "f2")
    assert run(root, "f2", tmp_path / "sheet.png") == 0
    assert capsys.readouterr().out.endswith("f2 (fake), frame(s) 0, 20, 30\n")
    frame, crop = load(root, "f2").rows[0]
    assert frame.heading == "fake frame 0" and len(frame.boxes) == 2 and np.array_equal(crop.landmarks, LANDMARKS)


@pytest.mark.parametrize(
    "crops, expected",
    [
        ({"a": [50]}, [50]),
        ({"a": [50, 10]}, [10, 50]),
        ({"a": range(0, 400, 10)}, [0, 200, 390]),
        ({"a": [0, 10, 20, 30], "b": [10, 20, 90]}, [10, 20]),
        ({"a": [0, 10, 20], "b": []}, [0, 10, 20]),
        ({"a": [0], "b": [20]}, [0, 20]),
    ],
)
def test_frames(crops, expected):
    assert choose_frames({name: dict.fromkeys(frames, Path()) for name, frames in crops.items()}) == expected


def test_what_is_missing_is_said(root, tmp_path):
    (root / "landmarks" / "004" / "0_0.npy").unlink()
    (root / "diffs" / "f2" / "20_0_diff.png").unlink()
    notes = [[panel.note for panel in row] for row in load(root, "004", "f2").rows]
    missing = "no mask: a crop is missing\nor they differ in size"
    assert notes == [
        ["", "no landmarks found", "", "no landmarks found", ""],
        ["", "", "", "", missing],
        [""] * 5,
    ]
    assert run(root, "f2", tmp_path / "sheet.png") == 0


def test_stages_that_have_not_run_are_said(root, tmp_path):
    (root / "landmarks").rename(root / "other")
    (root / "diffs").rename(root / "another")
    for crop in (root / "crops" / "f2").iterdir():
        crop.unlink()
    sheet = load(root, "004", "f2")
    assert [panel.note for panel in sheet.rows[0]] == [
        "",
        "no landmarks:\nrun generate_landmarks.py",
        "",
        "no crop",
        "no mask:\nrun generate_diffs.py",
    ]
    assert [panel.image is None for panel in sheet.rows[0]] == [False, False, False, True, True]
    assert run(root, "f2", tmp_path / "sheet.png") == 0


def test_a_fake_that_is_shorter_and_a_frame_without_boxes(root, tmp_path):
    media.write_video(root / "part_0" / "f2.mp4", media.face_frames(15, 160, 120, face=80))
    boxes = {"0": BOXES, "10": None, "20": None, "30": BOXES}
    (root / "boxes" / "004.json").write_text(json.dumps(boxes))
    rows = load(root, "004", "f2").rows
    assert [row[0].note for row in rows] == ["", "no box", ""]
    assert [row[2].note for row in rows] == ["", *["no such frame:\nthe video is shorter"] * 2]
    for name in ("0_0.png", "10_0.png"):
        (root / "crops" / "f2" / name).unlink()
        (root / "crops" / "004" / name).unlink()
    assert all(row[2].image is None for row in load(root, "004", "f2").rows)  # not one frame of the fake
    assert run(root, "f2", tmp_path / "sheet.png") == 0


def panels(width, height, crop_width=80, crop_height=100):
    frame = Panel(heading="real frame 0", image=np.zeros((height, width, 3), np.uint8), boxes=[[10, 20, 40, 60]])
    crop = Panel(heading="crop", image=np.zeros((crop_height, crop_width, 3), np.uint8), landmarks=LANDMARKS)
    mask = Panel(heading="mask", image=np.zeros((crop_height, crop_width), np.uint8))
    return [frame, crop, frame, crop, mask]


@pytest.mark.parametrize("width, height", [(1920, 1080), (1080, 1920), (160, 120), (3840, 2160), (2560, 600)])
def test_nothing_overlaps(width, height):
    name = "x" * 200
    rows = [panels(width, height), panels(width, height), [*panels(width, height)[:4], Panel(heading="m", note="none")]]
    figure = draw(Sheet(title=[f"real: {shortened(name)}, part folder {shortened(name)}"] * 2, rows=rows))
    figure.draw_without_rendering()
    sheet = figure.bbox
    texts = [figure._suptitle.get_window_extent(), figure.legends[0].get_window_extent()]
    boxes = texts + [axes.title.get_window_extent() for axes in figure.axes]
    boxes += [axes.get_window_extent() for axes in figure.axes]
    for i, box in enumerate(boxes):
        assert sheet.x0 <= box.x0 < box.x1 <= sheet.x1 and sheet.y0 <= box.y0 < box.y1 <= sheet.y1
        for other in boxes[:i]:
            apart = box.x1 <= other.x0 or other.x1 <= box.x0 or box.y1 <= other.y0 or other.y1 <= box.y0
            assert apart, (box, other)
    shown = sum(axes.get_window_extent().width * axes.get_window_extent().height for axes in figure.axes)
    assert shown > 0.45 * sheet.width * sheet.height  # the pictures fill the sheet
    assert 1900 <= sheet.width <= 2000


def test_drawn_where_they_are():
    figure = draw(Sheet(title=["t"], rows=[panels(4000, 2000)[:2]]))
    frame, crop = figure.axes
    assert frame.get_xlim() == (0, 4000) and frame.get_ylim() == (2000, 0)
    assert frame.images[0].get_array().shape == (500, 1000, 3)  # smaller, in the same coordinates
    (box,) = (patch for patch in frame.patches if isinstance(patch, Rectangle))
    assert box.get_bbox().extents.tolist() == [10, 20, 40, 60]
    (points,) = (each for each in crop.collections if isinstance(each, PathCollection))
    assert points.get_offsets().tolist() == LANDMARKS.tolist()
    assert crop.get_title() == "crop\n80 × 100 px"


def test_long_names_are_shortened():
    assert shortened("x" * 44) == "x" * 44
    assert shortened("a" * 30 + "b" * 30) == "a" * 22 + "…" + "b" * 22


def test_names_that_matplotlib_could_take_for_something_else(root, tmp_path, capsys):
    name = "$\\frac{_$%視頻"
    for folder, suffix in (("part_0", ".mp4"), ("crops", ""), ("diffs", "")):
        (root / folder / f"f2{suffix}").rename(root / folder / f"{name}{suffix}")
    part, labels = root / "part_0", {"004.mp4": {"label": "REAL"}}
    path = part / "metadata.json"
    path.write_text(json.dumps({**labels, f"{name}.mp4": {"label": "FAKE", "original": "004.mp4"}}))
    out = tmp_path / "sheet.png"
    assert run(root, "004", out) == 0
    (part / f"{name}.mp4").rename(part / "$_.mp4")
    path.write_text(json.dumps({**labels, "$_.mp4": {"label": "FAKE", "original": "004.mp4"}}))
    assert run(root, "$_", out) == 1
    assert "crops/$_" in capsys.readouterr().err


@pytest.mark.parametrize(
    "video, message",
    [
        ("f22", "--video f22: not among the 3 videos of the data root; did you mean f2?"),
        ("004.mp4", "--video 004.mp4: not among the 3 videos of the data root; did you mean 004?"),
        ("004.AVI", "--video 004.AVI: not among the 3 videos of the data root; did you mean 004?"),
        ("zzzzzz", "; an id is a file name without its ending, such as 004"),
        ("gone", "--video gone: can't be used: part_0/gone.MOV: there is no such video (No such file or directory)"),
        ("gone.mov", "can't be used: part_0/gone.MOV: there is no such video (No such file or directory)"),
    ],
)
def test_unknown_ids(root, tmp_path, capsys, video, message):
    path = root / "part_0" / "metadata.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "gone.MOV": {"label": "REAL"}}))
    assert error_of(capsys, root, video, tmp_path / "s.png").endswith(message)


@pytest.mark.parametrize(
    "path, message",
    [
        ("boxes/004.json", "no boxes (No such file or directory); run detect_original_faces.py"),
        ("crops/004", "no crops (No such file or directory); run extract_crops.py"),
        ("crops/f2", "no crops (No such file or directory); run extract_crops.py"),
    ],
)
def test_stages_that_are_needed(root, tmp_path, capsys, path, message):
    (root / path).rename(root / "elsewhere")
    assert error_of(capsys, root, "f2", tmp_path / "s.png") == f"{root}/{path}: {message}"


@pytest.mark.parametrize(
    "path, message",
    [
        ("part_0/f2.mp4", "can't be read (Invalid data found when processing input)"),
        ("boxes/004.json", "delete it and run detect_original_faces.py"),
        ("crops/004/0_0.png", "is cut or damaged; run extract_crops.py --overwrite"),
        ("landmarks/004/0_0.npy", "can't be read or is damaged; run generate_landmarks.py --overwrite"),
        ("diffs/f2/0_0_diff.png", "can't be read or is damaged; run generate_diffs.py --overwrite"),
    ],
)
@pytest.mark.parametrize("content", [b"rubbish" * 100, b"\x93NUMPY\x01\x00"])
def test_unreadable_files(root, tmp_path, capsys, path, message, content):
    (root / path).write_bytes(content)
    error = error_of(capsys, root, "f2", tmp_path / "s.png")
    assert error.startswith(f"{root}/{path}: ") and error.endswith(message)


@pytest.mark.parametrize("landmarks", [np.zeros((4, 2)), np.zeros((5, 2), complex), np.array([None] * 5)])
def test_landmarks_of_another_form(root, tmp_path, capsys, landmarks):
    np.save(root / "landmarks" / "004" / "0_0.npy", landmarks)
    assert error_of(capsys, root, "f2", tmp_path / "s.png").endswith("run generate_landmarks.py --overwrite")


def test_no_face_at_all(root, tmp_path, capsys):
    for crop in (root / "crops").glob("*/*.png"):
        crop.unlink()
    assert error_of(capsys, root, "f2", tmp_path / "s.png").startswith("--video 004 and f2: no crops, as no face was")
    assert error_of(capsys, root, "004", tmp_path / "s.png").startswith("--video 004: no crops, as no face was found")


@pytest.mark.parametrize("name", ["sheet", "sheet.txt", "sheet.pgf", ".png"])
def test_suffixes_that_cannot_be_written(root, tmp_path, capsys, name):
    error = error_of(capsys, root, "f2", tmp_path / name)
    assert error.startswith(f"--out {tmp_path}/{name}: must end in .png, or one of .avif, .eps, ")


def test_out_that_cannot_be_written(root, tmp_path, capsys):
    out = tmp_path / "none" / "s.png"
    message = f"{out}: can't be written (No such file or directory); choose another --out"
    assert error_of(capsys, root, "f2", out) == message


def test_a_failed_run_leaves_the_old_picture(root, tmp_path, monkeypatch, capsys):
    out = tmp_path / "s.png"
    out.write_text("old")

    def full(self, path, **_):
        Path(path).write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full)
    assert run(root, "f2", out) == 1 and out.read_text() == "old"
    assert "can't be written (No space left on device)" in capsys.readouterr().err
    assert sorted(os.listdir(tmp_path)) == ["root", "s.png"]


def test_as_a_script_from_another_folder(root, tmp_path):
    command = [sys.executable, SCRIPT, "--root-dir", "root", "--video", "f2", "--out", "s.svg"]
    environment = {name: value for name, value in os.environ.items() if name != "DISPLAY"}
    done = processes.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.returncode == 0 and done.stdout == "s.svg: 004 (real) and f2 (fake), frame(s) 0, 20, 30\n"
    assert "<svg" in (tmp_path / "s.svg").read_text()
