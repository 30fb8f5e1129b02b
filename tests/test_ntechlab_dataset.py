"""Pairs of track folders as training samples: what is read, that both are treated alike, and what can't be read."""

import os
import random
import shutil

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from runtime.errors import InputError, ItemError, UnreadableSamples
from runtime.workers import fork_server
from systems.ntechlab import dataset as module
from systems.ntechlab.augmentation import Augmentation, augment
from systems.ntechlab.dataset import SAMPLED_FRAMES, TrackImages, TrackPairDataset
from systems.ntechlab.models import ROLES
from systems.sample_loading import collate
from tests import media

PAIR = ("part_0/real.mp4_0_5_5", "part_0/fake.mp4_0_5_5")
TWINS = (PAIR[0], PAIR[0])
UNCOMPRESSED, COMPRESSED = 0, 1  # seeds: the first thing drawn is above a half, or is not


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A root with a pair of tracks, 50 images of 120x88 each."""
    root = tmp_path_factory.mktemp("tracks")
    for folder, shade in zip(PAIR, (1.0, 0.6), strict=True):
        (root / folder).mkdir(parents=True)
        for number, frame in enumerate(media.face_frames(50, width=100, height=120, face=70)):
            image = (frame[:120, :88, ::-1] * shade).astype(np.uint8)
            cv2.imwrite(str(root / folder / f"{number}.png"), image)
    return root


@pytest.fixture
def root(made, tmp_path):
    """A copy of it, to be damaged."""
    return shutil.copytree(made, tmp_path / "tracks")


def draw(seed: int) -> random.Random:
    return random.Random(seed)


@pytest.mark.parametrize(("role", "frames"), [("large_crop", 8), ("re", 8), ("seq", 7)])
def test_samples(made, role, frames):
    sample = TrackPairDataset([PAIR], root=made, role=role)[0]
    assert sample["real"].shape == sample["fake"].shape == (frames, 3, 224, 192)
    assert sample["real"].dtype == torch.float32
    assert sample["real"].mean() > sample["fake"].mean() + 0.2  # the fake is darker
    assert sample["row"] == 0 and sample["errors"] == []


def test_sampled_frames():
    assert list(SAMPLED_FRAMES["large_crop"]) == list(SAMPLED_FRAMES["re"]) == [9, 13, 17, 21, 25, 29, 33, 37]
    assert list(SAMPLED_FRAMES["seq"]) == [19, 21, 23, 25, 27, 29, 31]
    assert SAMPLED_FRAMES.keys() == set(ROLES)


def test_without_compression_only_sampled_images_are_read(made, monkeypatch):
    paths = []
    monkeypatch.setattr(module, "read_image", lambda path: paths.append(path) or cv2.imread(path))
    real, fake = TrackPairDataset([PAIR], root=made, role="seq").read(*PAIR, draw(UNCOMPRESSED))
    assert paths == [str(made / folder / f"{number}.png") for folder in PAIR for number in range(19, 32, 2)]
    for images, folder in zip((real, fake), PAIR, strict=True):
        expected = [cv2.imread(str(made / folder / f"{number}.png"))[..., ::-1] for number in range(19, 32, 2)]
        np.testing.assert_array_equal(images, expected)


@pytest.mark.parametrize("pix_fmt", ["yuv444p", "yuv420p"])
def test_both_are_compressed_alike(made, pix_fmt):
    dataset = TrackPairDataset([PAIR], root=made, role="large_crop", pix_fmt=pix_fmt)
    real, fake = dataset.read(*PAIR, draw(COMPRESSED))
    assert {image.shape for image in (*real, *fake)} == {(120, 88, 3)}
    plain, _ = dataset.read(*PAIR, draw(UNCOMPRESSED))
    assert 0.3 < np.abs(np.array(real, float) - plain).mean() < 12
    np.testing.assert_array_equal(*dataset.read(*TWINS, draw(COMPRESSED)))


def test_pixel_formats_differ(made):
    colours = [
        TrackPairDataset([PAIR], root=made, role="seq", pix_fmt=pix_fmt).read(*PAIR, draw(COMPRESSED))
        for pix_fmt in ("yuv444p", "yuv420p")
    ]
    assert not np.array_equal(*colours)


@pytest.mark.parametrize("role", ["large_crop", "seq"])
def test_both_are_augmented_alike(made, role):
    dataset = TrackPairDataset([TWINS] * 6, root=made, role=role)
    for index in range(6):
        assert torch.equal(dataset[index]["real"], dataset[index]["fake"])


def test_erasing_is_alike_but_for_its_noise(made):
    dataset = TrackPairDataset([TWINS] * 6, root=made, role="re")
    erased = 0
    for sample in map(dataset.__getitem__, range(6)):
        for real, fake in zip(sample["real"], sample["fake"], strict=True):
            rows, columns = torch.nonzero((real != fake).any(0), as_tuple=True)
            if len(rows):
                erased += 1
                height, width = (int(places.max() - places.min()) + 1 for places in (rows, columns))
                assert height * width == len(rows)  # a rectangle
    assert 2 <= erased <= 20  # of 48


def test_samples_follow_seed_epoch_and_number(made):
    def first(**kwargs):
        return TrackPairDataset([PAIR] * 2, root=made, role="re", **kwargs)[0]["real"]

    assert torch.equal(first(seed=3, epoch=1), first(seed=3, epoch=1))
    assert not torch.equal(first(seed=3, epoch=1), first(seed=3, epoch=2))
    assert not torch.equal(first(seed=3, epoch=1), first(seed=4, epoch=1))
    two = TrackPairDataset([PAIR] * 2, root=made, role="re")
    assert not torch.equal(two[0]["real"], two[1]["real"])


def test_samples_are_the_same_in_worker_processes(made):
    dataset = TrackPairDataset([PAIR] * 4, root=made, role="re", seed=1)
    here = collate([dataset[index] for index in range(4)])
    context = fork_server([module.__name__])
    loader = DataLoader(dataset, batch_size=2, num_workers=2, collate_fn=collate, multiprocessing_context=context)
    batches = list(loader)
    for key in ("real", "fake", "row"):
        assert torch.equal(torch.cat([batch[key] for batch in batches]), here[key])
    assert here["real"].shape == (4, 8, 3, 224, 192) and here["row"].tolist() == [0, 1, 2, 3] and here["errors"] == []


@pytest.mark.parametrize("seed", [UNCOMPRESSED, COMPRESSED])
def test_a_track_that_ends_early(root, seed):
    """Of 20 images the sampled ones are those at 20 / 50 of their numbers: 19 becomes 8 (7.6), 31 becomes 12 (12.4)."""
    for number in range(20, 50):
        (root / PAIR[1] / f"{number}.png").unlink()
    dataset = TrackPairDataset([PAIR], root=root, role="seq")
    real, fake = dataset.read(*PAIR, draw(seed))
    assert len(real) == len(fake) == 7
    images = TrackImages(root / PAIR[1])
    assert len(images) == 20
    if seed == UNCOMPRESSED:
        np.testing.assert_array_equal(fake, [images[number] for number in (8, 8, 9, 10, 11, 12, 12)])


def test_sizes_may_differ(root):
    """Another fake's rectangle may have been extracted to the original's folder first."""
    for number in range(50):
        path = str(root / PAIR[1] / f"{number}.png")
        cv2.imwrite(path, cv2.imread(path)[:100, :80])
    dataset = TrackPairDataset([PAIR], root=root, role="large_crop")
    for seed in (UNCOMPRESSED, COMPRESSED):
        tracks = dataset.read(*PAIR, draw(seed))
        augmentation = Augmentation(flip=False, crop=(0, 0), operations=(), erased=None)
        for track in tracks:
            assert augment(track, "large_crop", [augmentation] * 8, torch.Generator()).shape == (8, 3, 224, 192)


def remove_folder(folder):
    shutil.rmtree(folder)


def remove_first(folder):
    (folder / "0.png").unlink()


def remove_one(folder):
    (folder / "7.png").unlink()


def remove_all(folder):
    for path in folder.iterdir():
        path.unlink()


def cut_all(folder):
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[:-100])


def put_pipes(folder):
    for path in list(folder.iterdir()):
        path.unlink()
        os.mkfifo(path)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (remove_folder, r"{}: can't be opened \(No such file.*run extract_track_crops"),
        (remove_first, r"{}: has no 0\.png; run extract_track_crops.*track_pairs\.txt"),
        (remove_one, r"{}: has no 7\.png; run extract_track_crops.*track_pairs\.txt"),
        (remove_all, r"{}: has no 0\.png; run extract_track_crops"),
        (cut_all, r"{}/[0-9]+\.png: can't be read, or is damaged; run extract_track_crops"),
        (put_pipes, r"{}/[0-9]+\.png: can't be read, or is damaged; run extract_track_crops"),
    ],
)
def test_a_pair_that_can_not_be_used(root, damage, told, which, role):
    damage(root / PAIR[which])
    told = told.format(root / PAIR[which])
    dataset = TrackPairDataset([PAIR], root=root, role=role)
    for seed in (UNCOMPRESSED, COMPRESSED):
        with pytest.raises(ItemError, match=told):
            dataset.read(*PAIR, draw(seed))


def test_the_next_pair_is_taken_instead(root):
    gone = ("part_0/gone.mp4_0_5_5", PAIR[1])
    dataset = TrackPairDataset([PAIR, gone, gone, PAIR], root=root, role="seq")
    sample = dataset[1]
    assert sample["row"] == 3 and len(sample["errors"]) == 2
    assert all("gone.mp4_0_5_5: can't be opened" in line for line in sample["errors"])
    assert collate([sample, dataset[0]])["errors"] == sample["errors"]
    assert collate([sample, dataset[0]])["row"].tolist() == [3, 0]


def test_nothing_can_be_read(tmp_path):
    dataset = TrackPairDataset([PAIR] * 30, root=tmp_path, role="seq")
    expected = r"20 samples.*run extract_track_crops.*real\.mp4_0_5_5: can't be opened"
    with pytest.raises(UnreadableSamples, match=expected):
        dataset[0]
    with pytest.raises(IndexError):
        dataset[30]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"role": "b7"}, "unknown role 'b7'; use one of large_crop, re, seq"),
        ({"pix_fmt": "yuv422p"}, "unknown pixel format 'yuv422p'; use one of yuv444p, yuv420p"),
        ({"pairs": []}, "no pair of tracks.*run extract_track_crops"),
    ],
)
def test_what_makes_no_dataset(tmp_path, wrong, told):
    with pytest.raises(InputError, match=told):
        TrackPairDataset(**{"pairs": [PAIR], "root": tmp_path, "role": "seq", **wrong})


def test_other_files_are_left_alone(root):
    folder = root / PAIR[0]
    for name in ("boxes.float32", "07.png", "50.png.tmp", ".0.png"):
        (folder / name).write_bytes(b"")
    assert len(TrackImages(folder)) == 50
