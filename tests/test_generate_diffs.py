"""Diffs: against scikit-image on the same crops."""

import shutil

import cv2
import numpy as np
import pytest
from skimage.metrics import structural_similarity

from preprocessing import extract_crops, generate_diffs
from tests import data, media


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


def test_crops_of_other_sizes_get_no_mask_and_fail(root, capsys):
    _, fake = data.pair(root)
    path = root / "crops" / fake.id / "0_0.png"
    height, width = cv2.imread(str(path)).shape[:2]
    cv2.imwrite(str(path), cv2.imread(str(path))[1:])
    assert generate_diffs.main(["--root-dir", str(root), "--overwrite"]) == 1
    out = capsys.readouterr().out
    sizes = f"{width}x{height - 1} and {width}x{height} pixels"
    assert f"  failed: {fake.id}: 1 of 3 pairs of crops, the others are done: {path}: can't be compared" in out
    assert f" with its original's ({sizes}); run extract_crops.py --overwrite\n" in out
    assert sorted(path.name for path in (root / "diffs" / fake.id).iterdir()) == ["10_0_diff.png", "20_0_diff.png"]


def test_crops_without_a_counterpart_get_no_mask_and_are_told(root, capsys):
    real, fake = data.pair(root)
    (root / "crops" / real.id / "10_0.png").unlink()
    assert generate_diffs.main(["--root-dir", str(root), "--overwrite"]) == 0
    line = f"  note: {fake.id}: 1 of 3 crops have no counterpart in {root}/crops/{real.id}: no diff\n"
    assert line in capsys.readouterr().out
    assert sorted(path.name for path in (root / "diffs" / fake.id).iterdir()) == ["0_0_diff.png", "20_0_diff.png"]


@pytest.mark.parametrize("width, height", [(1920, 1080), (320, 180), (242, 136)])
def test_a_fake_at_another_scale_is_compared_at_its_own_size(root, capsys, width, height):
    """480x270 before."""
    _, fake = data.pair(root)
    before = cv2.imread(str(root / "diffs" / fake.id / "10_0_diff.png"), cv2.IMREAD_UNCHANGED)
    frames = [cv2.resize(f, (width, height), interpolation=cv2.INTER_AREA) for f in media.opencv_frames(fake.path)]
    media.write_video(fake.path, frames)
    assert extract_crops.main(["--root-dir", str(root)]) == 0
    assert generate_diffs.main(["--root-dir", str(root)]) == 0
    assert "note" not in capsys.readouterr().out
    assert len(list((root / "diffs" / fake.id).iterdir())) == 3
    crop = cv2.imread(str(root / "crops" / fake.id / "10_0.png"))
    mask = cv2.imread(str(root / "diffs" / fake.id / "10_0_diff.png"), cv2.IMREAD_UNCHANGED)
    assert mask.shape == crop.shape[:2]
    middle = tuple(slice(side // 3, -side // 3) for side in before.shape)
    resized = cv2.resize(mask, before.shape[::-1])
    assert resized[middle].mean() > 2 * resized[: before.shape[0] // 8].mean()


def test_a_video_that_cannot_be_looked_at(root, capsys):
    """Then nobody knows whether unlike crops belong together; like ones need no video."""
    _, fake = data.pair(root)
    path = root / "crops" / fake.id / "0_0.png"
    cv2.imwrite(str(path), cv2.imread(str(path))[::2, ::2])
    data.cut(fake.path)
    assert generate_diffs.main(["--root-dir", str(root)]) == 1
    out = capsys.readouterr().out
    assert f"  failed: {fake.id}: 1 of 3 pairs of crops, the others are done: {fake.path}: can't be read (" in out


@pytest.mark.parametrize("kind, is_told", [("still", False), ("moving", True), ("moving, small", False)])
def test_pairs_that_may_not_be_aligned_in_time(root, capsys, kind, is_told):
    """The same video, 9 frames late. What stands still gives nothing away, nor do crops of a few pixels."""
    real, fake = data.pair(root)
    side = 30 if "small" in kind else 120
    texture = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (side, 900, 3), dtype=np.uint8), (0, 0), 3)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)
    for number in (0, 10, 20):
        for video, late in ((real, 0), (fake, 9)):
            left = 0 if kind == "still" else 10 * (number + late)
            crop = texture[:, left : left + side].copy()
            crop[side // 3 : -side // 3, side // 3 : -side // 3] = 7 * late  # what is forged does not count
            cv2.imwrite(str(root / "crops" / video.id / f"{number}_0.png"), crop)
    assert generate_diffs.main(["--root-dir", str(root), "--overwrite"]) == 0
    out = capsys.readouterr().out
    start, end = (
        f"  note: {fake.id}: also the borders of its crops differ from its original's (median SSIM 0.",
        "in time\n",
    )
    assert (start in out and "below 0.85): the two may not be aligned " + end in out) == is_told
    assert len(data.summary(root, "diffs")["warnings"]) == is_told


def test_real_pairs_are_aligned(processed_root):
    assert data.summary(processed_root, "diffs")["warnings"] == {}


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
