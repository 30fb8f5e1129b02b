"""Files of clips: the same bytes, read at random, damaged ones told of."""

from dataclasses import dataclass

import numpy as np
import pytest

from runtime.errors import ItemError
from systems.medics.clip_files import ClipWriter, clip_length, read_clip, write_clips
from tests import data, medics


def write(path, pictures, lossless=False):
    with ClipWriter(path, lossless=lossless) as writer:
        for picture in pictures:
            writer.add(picture)
    return path


@pytest.fixture(scope="module")
def pictures():
    return medics.frames(120, width=256, height=256)


@pytest.fixture(scope="module")
def clip(pictures, tmp_path_factory):
    return write(tmp_path_factory.mktemp("clips") / "a.mp4_0_0.mp4", pictures)


def test_any_frames_of_a_clip(clip, pictures):
    assert clip_length(clip) == 120
    whole = read_clip(clip, 0, 120)
    assert whole.shape == (120, 256, 256, 3) and whole.dtype == np.uint8
    assert np.abs(whole.astype(int) - np.stack(pictures)).mean() < 2
    for start, count in ((0, 1), (37, 64), (119, 1)):
        np.testing.assert_array_equal(read_clip(clip, start, count), whole[start : start + count])


def test_same_bytes_again(clip, pictures, tmp_path):
    assert write(tmp_path / "again.mp4", pictures).read_bytes() == clip.read_bytes()


def test_lossless_keeps_every_pixel(pictures, tmp_path):
    path = write(tmp_path / "a.mp4", pictures[:30], lossless=True)
    np.testing.assert_array_equal(read_clip(path, 0, 30), np.stack(pictures[:30]))


def test_pictures_of_mini_videos_have_any_size(tmp_path):
    small = medics.frames(9, width=87, height=87)
    path = write(tmp_path / "00_a_0.mp4", small)
    assert read_clip(path, 3, 6, any_size=True).shape == (6, 87, 87, 3)
    with pytest.raises(ItemError, match="has frames of 87x87 pixels, and a clip has 256x256"):
        read_clip(path, 3, 6)


@pytest.mark.parametrize("share", [0.2, 0.6, 0.99])
def test_a_damaged_file_is_told_of(clip, tmp_path, share):
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(clip.read_bytes())
    data.cut(str(damaged), share)
    with pytest.raises(ItemError, match=r"damaged\.mp4: ") as told:
        read_clip(damaged, 0, 120)
    assert "\n" not in str(told.value)


def test_what_is_no_clip(clip, tmp_path):
    with pytest.raises(ItemError, match="has 120 frames, and 100 to 163 are wanted"):
        read_clip(clip, 100, 64)
    with pytest.raises(ItemError, match="can't be opened"):
        read_clip(tmp_path / "none.mp4", 0, 1)
    large = write(tmp_path / "large.mp4", medics.frames(3, width=320, height=320))
    with pytest.raises(ItemError, match="320x320 pixels, and a clip has at most 256x256"):
        read_clip(large, 0, 1, any_size=True)


def test_clips_are_written_as_frames_pass(tmp_path, pictures):
    @dataclass(frozen=True)
    class Plan:
        video_frames: range

    plans = [Plan(range(3)), Plan(range(2, 5)), Plan(range(90, 99))]
    passing = ((plan, pictures[n]) for n in range(6) for plan in plans if n in plan.video_frames)
    lengths = write_clips([(tmp_path / f"{n}.mp4", plan) for n, plan in enumerate(plans)], passing, lossless=True)
    assert lengths == {"0.mp4": 3, "1.mp4": 3, "2.mp4": 0} and not (tmp_path / "2.mp4").exists()
    np.testing.assert_array_equal(read_clip(tmp_path / "1.mp4", 0, 3), np.stack(pictures[2:5]))
