"""Crops: the reference's folders, pixel for pixel."""

import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from preprocessing import extract_crops
from tests import data, media


def test_same_crops_as_the_reference(processed_root):
    """Fakes too are cut by the boxes of their original; coordinates by the formula of the published script."""
    real, fake = data.pair(processed_root)
    boxes = json.loads((processed_root / "boxes" / f"{real.id}.json").read_text())
    for video in (real, fake):
        frames = media.opencv_frames(video.path)
        folder = processed_root / "crops" / video.id
        assert sorted(path.name for path in folder.iterdir()) == ["0_0.png", "10_0.png", "20_0.png"]
        for number in (0, 10, 20):
            x1, y1, x2, y2 = (int(side * 2) for side in boxes[str(number)][0])
            p_h, p_w = (y2 - y1) // 3, (x2 - x1) // 3
            expected = frames[number][max(y1 - p_h, 0) : y2 + p_h, max(x1 - p_w, 0) : x2 + p_w]
            assert np.array_equal(cv2.imread(str(folder / f"{number}_0.png"))[..., ::-1], expected)


def test_no_face_no_crops(processed_root):
    assert list((processed_root / "crops" / "noise").iterdir()) == []


def test_every_box_is_an_actor(root):
    real, _ = data.pair(root)
    path = root / "boxes" / f"{real.id}.json"
    boxes = [[10, 10, 40.9, 50], [60, 20, 90, 60], [500, 500, 510, 510]]  # the last lies outside
    path.write_text(json.dumps({"0": boxes, "5": boxes, "10": None, "20": boxes[1:2]}))
    assert extract_crops.main(["--root-dir", str(root)]) == 0
    folder = root / "crops" / real.id
    assert sorted(path.name for path in folder.iterdir()) == ["0_0.png", "0_1.png", "20_0.png"]
    assert cv2.imread(str(folder / "0_0.png")).shape == (80 + 26 + 20, 61 + 20 + 20, 3)  # the margin above is cut at 0


@pytest.mark.parametrize("extension", ["jpg", "webp"])
def test_image_format(root, extension):
    real, _ = data.pair(root)
    png = cv2.imread(str(root / "crops" / real.id / "0_0.png"))
    assert extract_crops.main(["--root-dir", str(root), "--image-format", extension]) == 0
    folder = root / "crops" / real.id
    assert sorted(path.name for path in folder.iterdir()) == [f"{n}_0.{extension}" for n in (0, 10, 20)]
    image = cv2.imread(str(folder / f"0_0.{extension}"))
    assert image.shape == png.shape and np.abs(image.astype(int) - png).mean() < 4


def test_crops_dir(root, capsys):
    assert extract_crops.main(["--root-dir", str(root), "--crops-dir", "others"]) == 0
    assert data.files(root / "others") == data.files(root / "crops")
    assert extract_crops.main(["--root-dir", str(root), "--crops-dir", ""]) == 1
    assert "--crops-dir: is empty; name a folder" in capsys.readouterr().err
    for name in ("../elsewhere", "/tmp/crops", "a/../../b"):
        assert extract_crops.main(["--root-dir", str(root), "--crops-dir", name]) == 1
        assert "must name a folder in the data root, such as crops" in capsys.readouterr().err
    for name in ("landmarks", "boxes/", data.pair(root)[0].part):
        assert extract_crops.main(["--root-dir", str(root), "--crops-dir", name]) == 1
        assert "that folder holds something else" in capsys.readouterr().err


def test_what_is_wrong_with_one_video(root, capsys):
    real, fake = data.pair(root)
    data.cut(fake.path)
    (root / "boxes" / "noise.json").unlink()
    assert extract_crops.main(["--root-dir", str(root), "--overwrite"]) == 1
    out, err = capsys.readouterr()
    assert f"  failed: {fake.id}: {fake.path}: can't be read" in out
    assert "boxes/noise.json: no boxes (No such file or directory); run detect_original_faces.py\n" in out
    assert "crops: 3 of 5 done" in out and "2 failed" in err
    assert (root / "crops" / real.id / "0_0.png").exists()


@pytest.mark.parametrize(
    "text",
    [
        *("{", "[]", "3", "[" * 99999, '{"x": [[1, 2, 3, 4]]}', '{"0": 7}'),
        *('{"0": [[1, 2, 3]]}', '{"0": [["a", 2, 3, 4]]}', '{"0": [1, 2, 3, 4]}', '{"0": [[1, 2], [3]]}'),
        *('{"0": [[1, 2, 3, NaN]]}', '{"0": [[1, 2, 3, {}]]}', f'{{"0": {[[1, 2, 3, 4]] * 2001}}}'),
    ],
    ids=range(13),
)
def test_damaged_boxes(root, capsys, text):
    (root / "boxes" / "noise.json").write_text(text)
    assert extract_crops.main(["--root-dir", str(root)]) == 1
    out = capsys.readouterr().out
    assert "boxes/noise.json: is damaged (" in out and "delete it and run detect_original_faces.py\n" in out


@pytest.mark.parametrize("target", ["/dev/zero", "pipe"])
def test_boxes_that_are_no_regular_file(root, tmp_path, capsys, target):
    os.mkfifo(tmp_path / "pipe")
    (root / "boxes" / "noise.json").unlink()
    (root / "boxes" / "noise.json").symlink_to(tmp_path / target)
    assert extract_crops.main(["--root-dir", str(root)]) == 1
    out = capsys.readouterr().out
    assert "boxes/noise.json: no boxes (is not a regular file); run detect_original_faces.py\n" in out


@pytest.mark.parametrize("depth", ["crops", "crops/<id>"])
def test_pictures_behind_a_link_stay(root, tmp_path, capsys, depth):
    """A folder of pictures that is named like a video, and a link to it where crops belong."""
    real, _ = data.pair(root)
    pictures = tmp_path / "home" / real.id
    pictures.mkdir(parents=True)
    (pictures / "0_0.png").write_text("precious")
    place = root / depth.replace("<id>", real.id)
    shutil.rmtree(place)
    place.symlink_to(pictures if place.name == real.id else pictures.parent)
    assert extract_crops.main(["--root-dir", str(root), "--overwrite"]) == 1
    out, err = capsys.readouterr()
    assert f"{place}: is in the way, and no folder that a stage made; remove it" in out or f"{place}: is a link" in err
    assert data.files(tmp_path / "home") == {f"{real.id}/0_0.png": b"precious"}


@pytest.mark.parametrize("name", ["0_0.png", "holiday.png"])
def test_pictures_where_crops_belong_stay(root, capsys, name):
    """Of a folder that no run has made; and of one that a run has made and someone put pictures into."""
    real, _ = data.pair(root)
    place = root / "crops" / real.id
    if name == "0_0.png":
        for journal in (root / ".preprocessing").glob("*crops*"):
            journal.unlink()
        reason = "is there, and no run of this stage has made that; move it elsewhere"
    else:
        reason = "holds holiday.png, which no stage made; move it elsewhere"
    (place / name).write_text("precious")
    assert extract_crops.main(["--root-dir", str(root), "--overwrite"]) == 1
    assert f"  failed: {real.id}: {place}: {reason}\n" in capsys.readouterr().out
    assert (place / name).read_text() == "precious"


@pytest.mark.parametrize("width, height", [(960, 540), (320, 180), (240, 134), (242, 136)])
def test_a_fake_at_another_scale_is_cut_at_scaled_boxes(root, capsys, width, height):
    """480x270 before; where a side is rounded to an even number too."""
    real, fake = data.pair(root)
    frames = media.opencv_frames(fake.path)
    before = cv2.imread(str(root / "crops" / fake.id / "10_0.png"))
    media.write_video(fake.path, [cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in frames])
    assert extract_crops.main(["--root-dir", str(root)]) == 0
    assert "note" not in capsys.readouterr().out
    crop = cv2.imread(str(root / "crops" / fake.id / "10_0.png"))
    assert np.abs(np.divide(crop.shape, before.shape)[:2] - [height / 270, width / 480]).max() < 0.03
    assert np.abs(cv2.resize(crop, before.shape[1::-1]).astype(int) - before).mean() < 12
    assert (root / "crops" / real.id / "10_0.png").stat().st_mtime_ns < (root / "crops" / fake.id).stat().st_mtime_ns


def test_a_fake_of_another_shape_fails(root, capsys):
    """Its crops would show background: as when a rotation was lost, or bars were cut off."""
    real, fake = data.pair(root)
    frames = media.opencv_frames(fake.path)
    turned = (
        f"{fake.path}: has frames of 270x480 pixels, its original {real.id}.mp4 of 480x270: the faces' boxes don't fit"
    )
    for changed, line in (
        ([np.rot90(frame) for frame in frames], turned),
        ([frame[15:-15] for frame in frames], "has frames of 480x240 pixels, its original"),
    ):
        media.write_video(fake.path, changed)
        assert extract_crops.main(["--root-dir", str(root)]) == 1
        out, err = capsys.readouterr()
        assert line in out and "; turn, crop or pad it as its original, or remove it\n" in out
        assert "crops: 4 of 5 done" in out and "1 failed" in err
        assert list((root / "crops" / fake.id).iterdir()) == []  # those of before are no longer trained on


def test_a_fake_and_its_original_that_are_turned_by_their_tags(root):
    real, fake = data.pair(root)
    frames = [np.rot90(frame) for frame in media.opencv_frames(fake.path)]
    media.write_video(fake.path, frames)
    media.set_rotation(Path(fake.path), 90)
    assert media.opencv_frames(fake.path)[0].shape == media.opencv_frames(real.path)[0].shape
    assert extract_crops.main(["--root-dir", str(root)]) == 0


def test_a_fake_of_another_frame_rate_fails(root, capsys):
    real, fake = data.pair(root)
    media.write_video(fake.path, media.opencv_frames(fake.path)[::2], rate=15)
    assert extract_crops.main(["--root-dir", str(root)]) == 1
    out = capsys.readouterr().out
    line = (
        f"{fake.path}: has 12 frames at 15 a second, its original {real.id}.mp4 24 frames at 30 a second: frames of the"
    )
    assert line in out and "encode it at its original's rate, or remove it\n" in out


@pytest.mark.parametrize("count", [15, 30])
def test_a_fake_of_another_length_is_done_with_a_warning(root, capsys, count):
    """As FaceForensics++'s Face2Face. The original's boxes are there for frames 0, 10 and 20."""
    real, fake = data.pair(root)
    frames = media.opencv_frames(fake.path)
    media.write_video(fake.path, (frames + frames)[:count])
    warning = (
        f"has {count} frames at 30 a second, its original {real.id}.mp4 24 frames at 30 a second: "
        "only the frames that both have are used"
    )
    for _ in range(2):  # also where it was done before
        assert extract_crops.main(["--root-dir", str(root)]) == 0
        assert f"  note: {fake.id}: {warning}\n" in capsys.readouterr().out
        assert data.summary(root, "crops")["warnings"] == {fake.id: [warning]}
    names = sorted(path.name for path in (root / "crops" / fake.id).iterdir())
    assert names == ["0_0.png", "10_0.png", "20_0.png"][: 2 + (count > 20)]


def test_another_original_is_looked_at_again(root, capsys):
    """Its boxes stay as they are: the fake's crops depend on the original's size too."""
    real, _ = data.pair(root)
    media.write_video(real.path, media.face_frames(24, 270, 480, 90))
    assert extract_crops.main(["--root-dir", str(root)]) == 1
    assert "has frames of 480x270 pixels, its original" in capsys.readouterr().out


def test_crops_of_the_version_before_are_done_again_for_fakes_only(root, capsys):
    """It looked at no original: what it recorded has no identity of it."""
    path = root / ".preprocessing" / "crops.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    for record in records:
        del record["warnings"], record["inputs"][2:], record["chain"]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert extract_crops.main(["--root-dir", str(root)]) == 0
    assert "crops: 5 to do, 3 of them done before" in capsys.readouterr().out
