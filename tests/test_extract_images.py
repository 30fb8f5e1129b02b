"""Every frame as a JPEG."""

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


def test_a_damaged_video_is_told(root, capsys):
    real, _ = data.pair(root)
    data.cut(real.path)
    assert extract_images.main(["--root-dir", str(root)]) == 1
    assert f"  failed: {real.id}: {real.path}: can't be read" in capsys.readouterr().out
    assert len(list((root / "jpegs").iterdir())) == 4 * 24
