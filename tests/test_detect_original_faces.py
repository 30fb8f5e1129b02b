"""Boxes: the reference's file format, against facenet-pytorch's MTCNN on Pillow's half-size frames."""

import json

import numpy as np
import pytest
from facenet_pytorch import MTCNN
from PIL import Image

from preprocessing import detect_original_faces
from tests import data, media


def boxes_of(root, video):
    return json.loads((root / "boxes" / f"{video}.json").read_text())


def test_same_boxes_as_the_reference(processed_root):
    real, fake = data.pair(processed_root)
    detector = MTCNN(margin=0, thresholds=[0.85, 0.95, 0.95], device="cpu")
    frames = media.opencv_frames(real.path)
    images = [Image.fromarray(frame).resize((240, 135)) for frame in frames]
    expected = {str(number): boxes for number, boxes in enumerate(detector.detect(images, landmarks=False)[0])}
    boxes = boxes_of(processed_root, real.id)
    assert list(boxes) == list(expected) == [str(number) for number in range(24)]
    for number, found in boxes.items():
        assert len(found) == 1
        np.testing.assert_allclose(found, np.array(expected[number], float), atol=0.01)
    assert not (processed_root / "boxes" / f"{fake.id}.json").exists()


def test_frames_without_a_face_are_null(processed_root):
    assert boxes_of(processed_root, "noise") == {str(number): None for number in range(24)}
    assert data.summary(processed_root, "boxes")["made"] == {"frames": 72, "faces": 48}


def test_frame_step_gives_the_same_boxes_of_fewer_frames(processed_root, root):
    real, _ = data.pair(root)
    assert detect_original_faces.main(["--root-dir", str(root), "--frame-step", "10"]) == 0
    every, tenth = boxes_of(processed_root, real.id), boxes_of(root, real.id)
    assert tenth == {number: every[number] for number in ("0", "10", "20")}


def test_scale_by_resolution_stores_half_size_pixels_too(processed_root, root):
    """480 pixels wide: searched at full size, where a face lies where it did."""
    real, _ = data.pair(root)
    assert detect_original_faces.main(["--root-dir", str(root), "--detector-scale", "auto", "--frame-step", "10"]) == 0
    half, auto = boxes_of(processed_root, real.id), boxes_of(root, real.id)
    for number, found in auto.items():
        assert found != half[number]
        np.testing.assert_allclose(found, half[number], atol=8)


def test_a_damaged_video_is_told_and_makes_no_file(root, capsys):
    real, _ = data.pair(root)
    frames = media.opencv_frames(real.path)
    media.write_video(root / "whole.mp4", frames, container_options={"movflags": "faststart"})
    (root / "whole.mp4").replace(real.path)
    data.cut(real.path, 0.7)
    (root / "boxes" / f"{real.id}.json").unlink()
    assert detect_original_faces.main(["--root-dir", str(root)]) == 1
    out, err = capsys.readouterr()
    assert "boxes: 2 of 3 done" in out and "boxes: 1 failed, 0 left out" in err
    assert f"  failed: {real.id}: {real.path}: is cut or damaged: only " in out and " of 24 frames can be read" in out
    assert not (root / "boxes" / f"{real.id}.json").exists()


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--frame-step", "0"], "'0' is not a whole number from 1 on"),
        (["--frame-step", "7"], "7: crops are made of every tenth frame; give 1, 2, 5 or a multiple of 10"),
        (["--detector-type", "S3FD"], "invalid choice: 'S3FD'"),
        (["--detector-scale", "full"], "invalid choice: 'full'"),
        (["--workers", "-1"], "is not a whole number"),
        (["--workers", "9999"], "'9999' is not a whole number from 1 to 256"),
    ],
)
def test_bad_flags(root, capsys, flags, message):
    with pytest.raises(SystemExit, match="2"):
        detect_original_faces.main(["--root-dir", str(root), *flags])
    assert message in capsys.readouterr().err


def test_device_that_is_not_there(root, capsys):
    assert detect_original_faces.main(["--root-dir", str(root), "--device", "cuda:7", "--overwrite"]) == 1
    err = capsys.readouterr().err
    assert "error: --device cuda:7: " in err and "Traceback" not in err
