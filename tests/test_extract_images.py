"""Every frame as a JPEG."""

import os
from pathlib import Path

import cv2
import numpy as np

from preprocessing import extract_images
from tests import data, media


def test_every_frame_of_every_video(root, capsys):
    assert extract_images.main(["--root-dir", str(root)]) == 0
    assert "images: 5 of 5 done" in capsys.readouterr().out
    names = sorted(path.name for path in (root / "jpegs").iterdir())
    real, fake = data.pair(root)
    assert len(names) == 5 * 24 and {f"{video.id}_{n}.jpg" for video in (real, fake) for n in range(24)} <= set(names)
    image = cv2.imread(str(root / "jpegs" / f"{fake.id}_7.jpg"))[..., ::-1]
    assert np.abs(image.astype(int) - media.opencv_frames(fake.path)[7]).mean() < 1.5

    (root / "jpegs" / f"{real.id}_0.jpg").unlink()
    assert extract_images.main(["--root-dir", str(root)]) == 0
    assert "5 to do, 4 of them done before" in capsys.readouterr().out


def test_frame_0_tells_that_all_are_there(root, monkeypatch):
    """Else a run that is killed, when the images were removed but not the journal, would leave half of a video's."""
    real, _ = data.pair(root)
    written = []
    replace = os.replace
    monkeypatch.setattr(
        os,
        "replace",
        lambda source, target, **kwargs: (written.append(Path(target).name), replace(source, target, **kwargs)),
    )
    (root / "jpegs").mkdir()
    extract_images.write_frames((real.path, real.id, root / "jpegs"))
    assert len(written) == 24 and written[-1] == f"{real.id}_0.jpg"


def test_a_damaged_video_is_told(root, capsys):
    real, _ = data.pair(root)
    data.cut(real.path)
    assert extract_images.main(["--root-dir", str(root)]) == 1
    assert f"  failed: {real.id}: {real.path}: can't be read" in capsys.readouterr().out
    assert len(list((root / "jpegs").iterdir())) == 4 * 24


def test_images_that_no_run_has_made_stay(root, capsys):
    real, _ = data.pair(root)
    (root / "jpegs").mkdir()
    (root / "jpegs" / f"{real.id}_7.jpg").write_text("precious")
    assert extract_images.main(["--root-dir", str(root)]) == 1
    assert f"  failed: {real.id}: {root}/jpegs: other images of it are there, and no run" in capsys.readouterr().out
    assert (root / "jpegs" / f"{real.id}_7.jpg").read_text() == "precious"
