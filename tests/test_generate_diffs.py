"""Diffs: against scikit-image on the same crops."""

import shutil

import cv2
import numpy as np
from skimage.metrics import structural_similarity

from preprocessing import generate_diffs
from tests import data


def test_same_masks_as_the_reference(processed_root):
    real, fake = data.pair(processed_root)
    folder = processed_root / "diffs" / fake.id
    assert sorted(path.name for path in folder.iterdir()) == ["0_0_diff.png", "10_0_diff.png", "20_0_diff.png"]
    for stem in ("0_0", "10_0", "20_0"):
        first, second = (cv2.imread(str(processed_root / "crops" / v.id / f"{stem}.png")) for v in (real, fake))
        _, similarity = structural_similarity(first, second, channel_axis=2, full=True)
        expected = cv2.cvtColor(np.clip((1 - similarity) * 255, 0, 255).astype(np.uint8), cv2.COLOR_BGR2GRAY)
        mask = cv2.imread(str(folder / f"{stem}_diff.png"), cv2.IMREAD_UNCHANGED)
        assert mask.dtype == np.uint8 and mask.shape == expected.shape
        assert np.abs(mask.astype(int) - expected).max() <= 1
        height, width = mask.shape  # the fake's face, in the middle, is not the original's
        assert mask[height // 3 : -height // 3, width // 3 : -width // 3].mean() > 2 * mask[: height // 8].mean()
    assert not (processed_root / "diffs" / real.id).exists()


def test_crops_of_other_sizes_and_without_a_counterpart_get_no_mask(root):
    real, fake = data.pair(root)
    image = cv2.imread(str(root / "crops" / fake.id / "0_0.png"))
    cv2.imwrite(str(root / "crops" / fake.id / "0_0.png"), image[1:])
    (root / "crops" / real.id / "10_0.png").unlink()
    assert generate_diffs.main(["--root-dir", str(root), "--overwrite"]) == 0
    assert [path.name for path in (root / "diffs" / fake.id).iterdir()] == ["20_0_diff.png"]
    assert data.summary(root, "diffs")["made"] == {"files": 4, "pairs of other sizes": 1}


def test_png_against_jpg(root):
    """The original's crops may be of another format."""
    real, fake = data.pair(root)
    for path in (root / "crops" / real.id).iterdir():
        cv2.imwrite(str(path.with_suffix(".jpg")), cv2.imread(str(path)))
        path.unlink()
    assert generate_diffs.main(["--root-dir", str(root)]) == 0
    assert len(list((root / "diffs" / fake.id).iterdir())) == 3


def test_a_damaged_crop_is_told_and_the_others_are_done(root, capsys):
    real, fake = data.pair(root)
    data.cut(root / "crops" / real.id / "10_0.png")
    assert generate_diffs.main(["--root-dir", str(root), "--overwrite"]) == 1
    out = capsys.readouterr().out
    assert f"  failed: {fake.id}: 1 of 3 pairs of crops, the others are done: {root}/crops/{real.id}/10_0.png" in out
    assert len(list((root / "diffs" / fake.id).iterdir())) == 2


def test_no_crops_of_the_original(root, capsys):
    real, fake = data.pair(root)
    shutil.rmtree(root / "crops" / real.id)
    assert generate_diffs.main(["--root-dir", str(root)]) == 1
    assert f"  failed: {fake.id}: {root}/crops/{real.id}: no crops (No such file" in capsys.readouterr().out
