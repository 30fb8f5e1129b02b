"""The Medics' training parts: buckets, windows, augmentation, CutMix, mixup and schedules, worked out by hand."""

import itertools

import cv2
import numpy as np
import pytest
import torch

from systems.medics import augmentation, cutmix
from systems.medics.augmentation import ClipAugmentation, ClipDraws
from systems.medics.buckets import RealFakeBuckets, clip_window, epoch_of_frames, generator_of
from systems.medics.models import FAKE, MODELS, REAL


def test_buckets_cover_every_fake_once():
    buckets = RealFakeBuckets(reals=42000, fakes=216000)
    ends = [buckets.bucket(number) for number in range(42000)]
    assert ends[0].start == 0 and ends[-1].stop == 216000
    assert all(before.stop == after.start for before, after in itertools.pairwise(ends))


def test_an_epoch_shows_each_real_once_and_a_fake_of_each_bucket():
    buckets = RealFakeBuckets(reals=3, fakes=10)
    epochs = [[buckets.sample(i, generator_of(5, epoch, i)) for i in range(len(buckets))] for epoch in (0, 0, 1, 2, 3)]
    for samples in epochs:
        assert [kind for kind, _ in samples] == [FAKE] * 3 + [REAL] * 3
        assert [index for _, index in samples[3:]] == [0, 1, 2]
        assert all(index in buckets.bucket(number) for number, (_, index) in enumerate(samples[:3]))
    assert epochs[0] == epochs[1] and len({tuple(map(tuple, each)) for each in epochs}) > 1
    with pytest.raises(IndexError):
        buckets.sample(6, generator_of(5, 0, 6))


def test_buckets_of_few_fakes_and_of_none():
    assert [list(RealFakeBuckets(reals=4, fakes=2).bucket(i)) for i in range(4)] == [[0], [0], [1], [1]]
    with pytest.raises(ValueError, match="one of each"):
        RealFakeBuckets(reals=3, fakes=0)


def test_an_epoch_of_frames():
    samples = epoch_of_frames(8, 100, np.random.default_rng(1))
    assert sorted(index for kind, index in samples if kind == REAL) == list(range(8))
    assert len({index for kind, index in samples if kind == FAKE}) == 4
    assert len(epoch_of_frames(8, 2, np.random.default_rng(1))) == 12


def test_clip_windows():
    assert clip_window(100, 32, None).tolist() == list(range(32))
    assert clip_window(5, 8, None).tolist() == [0, 1, 2, 3, 4, 0, 1, 2]  # looped
    starts = {int(clip_window(40, 32, np.random.default_rng(seed))[0]) for seed in range(100)}
    assert starts == set(range(9))
    with pytest.raises(ValueError, match="without frames"):
        clip_window(0, 8, None)


def test_published_augmentation_of_each_model():
    augmentations = {name: ClipAugmentation.of(spec) for name, spec in MODELS.items() if spec.is_3d}
    assert {name for name, each in augmentations.items() if each.blur_and_noise} == {
        "i3d",
        "mc3_112",
        "r2p1_112",
        "r2p1_cutmix",
    }
    assert augmentations["r2p1_112"] == ClipAugmentation(size=112, blur_and_noise=True, least_area=0.33)
    assert augmentations["res34"] == ClipAugmentation(size=224, blur_and_noise=False, least_area=0.5)


def test_draws_have_the_published_shares():
    made = ClipAugmentation(size=8, blur_and_noise=True, least_area=0.5)
    draws = [made.draw(16, 16, np.random.default_rng(seed)) for seed in range(2000)]
    for share, count in (
        (0.1, sum(each.kernel is not None for each in draws)),
        (0.1, sum(each.noise is not None for each in draws)),
        (0.25, sum(each.levels is not None for each in draws)),
        (0.5, sum(each.mirrored for each in draws)),
    ):
        assert abs(count / 2000 - share) < 0.03
    assert {each.kernel for each in draws} == {None, 3, 5, 7}
    for top, left, height, width in (each.crop for each in draws):
        assert 0 <= top <= 16 - height and 0 <= left <= 16 - width
        assert height * width > 0.4 * 256 and 0.75 < width / height < 1.3  # rounded to whole pixels


def test_a_clip_changes_as_one():
    made = ClipAugmentation(size=32, blur_and_noise=True, least_area=0.5)
    frame = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    draws = made.draw(64, 64, generator_of(3, 1, 7))
    again = made.draw(64, 64, generator_of(3, 1, 7))
    assert draws.apply(frame).shape == (32, 32, 3)
    np.testing.assert_array_equal(draws.apply(frame), again.apply(frame))
    np.testing.assert_array_equal(draws.apply(frame), draws.apply(frame))


def draws(**changes) -> ClipDraws:
    return ClipDraws(
        **{"kernel": None, "noise": None, "levels": None, "crop": (0, 0, 4, 4), "size": 4, "mirrored": False, **changes}
    )


def test_each_step_of_the_augmentation():
    frame = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    np.testing.assert_array_equal(draws().apply(frame), frame)
    np.testing.assert_array_equal(draws(mirrored=True).apply(frame), frame[:, ::-1])
    np.testing.assert_array_equal(draws(crop=(1, 2, 2, 2), size=2).apply(frame), frame[1:3, 2:4])
    np.testing.assert_array_equal(draws(kernel=3).apply(frame), cv2.GaussianBlur(frame, (3, 3), 0))
    noise = np.where(np.arange(48).reshape(4, 4, 3) % 2, 0.2, -0.2).astype(np.float32)
    expected = np.where((noise < 0) & (frame > 0), frame - 1.0, frame)
    np.testing.assert_array_equal(draws(noise=noise).apply(frame), expected)
    levels = np.arange(256)[::-1].astype(np.uint8)
    np.testing.assert_array_equal(draws(levels=levels).apply(frame), 255 - frame)


def test_validation_shows_the_middle():
    frame = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    np.testing.assert_array_equal(augmentation.validation_frame(frame, 224), frame[16:240, 16:240])
    small = cv2.resize(frame, (128, 128), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(augmentation.validation_frame(frame, 112), small[8:120, 8:120])


def test_frames_are_flipped_and_channels_permuted():
    frame = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    flips = [frame, frame[:, ::-1], frame[::-1], frame[::-1, ::-1]]
    seen = [augmentation.flip_frame(frame, np.random.default_rng(seed)) for seed in range(40)]
    counts = [sum(np.array_equal(flip, each) for each in seen) for flip in flips]
    assert sum(counts) == 40 and min(counts) >= 4
    assert augmentation.flip_frame(frame[:100, :100], np.random.default_rng(0)).shape == (256, 256, 3)
    batch = torch.arange(6.0).view(2, 3, 1, 1)
    permuted = augmentation.permute_channels(batch, np.array([[2, 0, 1], [0, 1, 2]]))
    assert permuted.flatten().tolist() == [2, 0, 1, 3, 4, 5]
    assert sorted(augmentation.draw_permutation(np.random.default_rng(0)).tolist()) == [0, 1, 2]


def test_cutmix_pastes_from_the_batch_as_it_was():
    sources, centres = np.array([1, 2, 0]), np.array([[1, 1], [1, 1], [0, 3]])
    mix = cutmix.cutmix_of(np.array([0.75, 0.75, 0.75]), sources, centres, (4, 4))
    assert mix.boxes.tolist() == [[[0, 2], [0, 2]], [[0, 2], [0, 2]], [[0, 1], [2, 4]]]
    assert mix.lam.tolist() == [0.75, 0.75, 0.875]
    batch = torch.arange(1.0, 4.0)[:, None, None, None].expand(3, 2, 4, 4).contiguous()
    mixed = cutmix.mix_batch(batch, mix)
    assert mixed.sum((1, 2, 3)).tolist() == [2 * (12 + 2 * 4), 2 * (2 * 12 + 3 * 4), 2 * (3 * 14 + 1 * 2)]
    assert batch.sum((1, 2, 3)).tolist() == [32, 64, 96]


def test_mixup_blends_samples_and_losses_alike():
    mix = cutmix.Mix(lam=np.array([0.75, 1.0]), sources=np.array([1, 0]), boxes=None)
    batch = torch.tensor([0.0, 4.0]).view(2, 1, 1, 1)
    assert cutmix.mix_batch(batch, mix).flatten().tolist() == [1, 4]
    loss = cutmix.mixed_binary_cross_entropy(torch.tensor([0.0, 2.0]), torch.tensor([1.0, 0.0]), mix)
    assert loss == pytest.approx((np.log(2) + np.log(1 + np.exp(2))) / 2, rel=1e-6)
    loss = cutmix.mixed_cross_entropy(torch.tensor([[0.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 1]), mix)
    assert loss == pytest.approx((np.log(2) + np.log(1 + np.exp(2))) / 2, rel=1e-6)


def test_mixes_come_from_the_generator():
    first, second = (cutmix.draw_cutmix(64, (32, 112, 112), np.random.default_rng(4)) for _ in range(2))
    np.testing.assert_array_equal(first.boxes, second.boxes)
    assert sorted(first.sources.tolist()) == list(range(64)) and (first.lam >= 0.5).all()
    assert (first.boxes >= 0).all() and (first.boxes[:, :, 1] <= np.array([32, 112, 112])).all()
    assert (cutmix.draw_mixup(64, np.random.default_rng(4)).lam >= 0.5).all()
