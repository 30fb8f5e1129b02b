"""Crops: the reference's folders, pixel for pixel."""

import json

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
    for name in ("../elsewhere", "/tmp/crops", "a/../../b", ""):
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
        *('{"0": [[1, 2, 3, NaN]]}', '{"0": [[1, 2, 3, {}]]}'),
    ],
    ids=range(12),
)
def test_damaged_boxes(root, capsys, text):
    (root / "boxes" / "noise.json").write_text(text)
    assert extract_crops.main(["--root-dir", str(root)]) == 1
    out = capsys.readouterr().out
    assert "boxes/noise.json: is damaged (" in out and "delete it and run detect_original_faces.py\n" in out


def test_a_fake_that_is_shorter_or_smaller_than_its_original(root):
    _, fake = data.pair(root)
    frames = [frame[:100, :200] for frame in media.opencv_frames(fake.path)[:15]]
    media.write_video(fake.path, frames)
    assert extract_crops.main(["--root-dir", str(root)]) == 0
    assert {path.name for path in (root / "crops" / fake.id).iterdir()} <= {"0_0.png", "10_0.png"}
