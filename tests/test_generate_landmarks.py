"""Landmarks: against facenet-pytorch's MTCNN on the same crops."""

import cv2
import numpy as np
from facenet_pytorch import MTCNN
from PIL import Image

from preprocessing import generate_landmarks
from tests import data


def reference(path):
    detector = MTCNN(margin=0, thresholds=[0.65, 0.75, 0.75], device="cpu")
    image = Image.fromarray(cv2.imread(str(path))[..., ::-1])
    return np.around(np.asarray(detector.detect(image, landmarks=True)[2][0], np.float32)).astype(np.int16)


def test_same_landmarks_as_the_reference(processed_root):
    real, fake = data.pair(processed_root)
    folder = processed_root / "landmarks" / real.id
    assert sorted(path.name for path in folder.iterdir()) == ["0_0.npy", "10_0.npy", "20_0.npy"]
    for path in folder.iterdir():
        points = np.load(path)
        assert points.dtype == np.int16 and points.shape == (5, 2)
        assert np.array_equal(points, reference(processed_root / "crops" / real.id / f"{path.stem}.png"))
        left_eye, right_eye, nose, left_mouth, right_mouth = points  # left in the picture
        assert left_eye[0] < right_eye[0] and left_mouth[0] < right_mouth[0]
        assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])
    assert not (processed_root / "landmarks" / fake.id).exists()
    assert list((processed_root / "landmarks" / "noise").iterdir()) == []


def test_crop_without_a_face_has_no_file_and_third_actors_are_left_out(root):
    real, _ = data.pair(root)
    folder = root / "crops" / real.id
    cv2.imwrite(str(folder / "10_1.png"), np.full((80, 60, 3), 90, np.uint8))
    cv2.imwrite(str(folder / "20_1.png"), cv2.imread(str(folder / "0_0.png")))
    cv2.imwrite(str(folder / "20_2.png"), cv2.imread(str(folder / "0_0.png")))
    assert generate_landmarks.main(["--root-dir", str(root)]) == 0
    found = sorted(path.name for path in (root / "landmarks" / real.id).iterdir())
    assert found == ["0_0.npy", "10_0.npy", "20_0.npy", "20_1.npy"]


def test_a_damaged_crop_is_told_and_the_others_are_done(root, capsys):
    real, _ = data.pair(root)
    data.cut(root / "crops" / real.id / "10_0.png")
    assert generate_landmarks.main(["--root-dir", str(root), "--overwrite"]) == 1
    out = capsys.readouterr().out
    assert f"  failed: {real.id}: 1 of 3 crops, the others are done: {root}/crops/{real.id}/10_0.png: is cut" in out
    assert sorted(path.name for path in (root / "landmarks" / real.id).iterdir()) == ["0_0.npy", "20_0.npy"]
    assert data.summary(root, "landmarks")["done"] == 2


def test_no_crops(root, capsys):
    real, _ = data.pair(root)
    (root / "crops").rename(root / "away")
    assert generate_landmarks.main(["--root-dir", str(root)]) == 1
    assert f"crops/{real.id}: no crops (No such file or directory); run extract_crops.py\n" in capsys.readouterr().out
