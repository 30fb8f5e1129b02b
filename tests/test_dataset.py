"""Samples: what is read, what they hold, that they repeat, and what happens to broken files."""

import random

import cv2
import numpy as np
import pytest
import skimage.data
import torch
from torch.utils.data import DataLoader

from faces.images import encode_image
from runtime.errors import InputError, ItemError, UnreadableSamples
from systems.sample_loading import collate, start_worker
from systems.seferbekov.dataset import ClassifierDataset, CropFiles, read_landmarks
from systems.seferbekov.faces import prepare_face
from systems.seferbekov.folds import Row

SIZE = 64
FACE = np.ascontiguousarray(skimage.data.astronaut()[:120, 180:270])  # RGB
LANDMARKS = np.array([[30, 50], [60, 50], [45, 65], [33, 85], [57, 85]], np.int16)
ROWS = [
    Row(video=video, file=f"{frame}_0.png", label=label, original="004", frame=frame, fold=1)
    for frame in (0, 10, 20, 30)
    for video, label in (("004", 0), ("fake", 1))
]


@pytest.fixture
def root(tmp_path):
    """Four crops of real video 004 and of a fake of it, with landmarks and diffs."""
    for folder in ("crops/004", "crops/fake", "landmarks/004", "diffs/fake"):
        (tmp_path / folder).mkdir(parents=True)
    for row in ROWS:
        stem = row.file[:-4]
        image = np.roll(FACE, row.frame, axis=1)[..., ::-1]
        diff = np.zeros(FACE.shape[:2], np.uint8)
        diff[40:90, 25:65] = 200
        (tmp_path / "crops" / row.video / row.file).write_bytes(encode_image(image, "png"))
        if row.label:
            (tmp_path / "diffs" / "fake" / f"{stem}_diff.png").write_bytes(encode_image(diff, "png"))
        else:
            np.save(tmp_path / "landmarks" / "004" / f"{stem}.npy", LANDMARKS)
    return tmp_path


def dataset(root, rows=ROWS, training=True, **settings):
    return ClassifierDataset(rows, data_dir=root, size=SIZE, training=training, **settings)


def same(first: dict, second: dict) -> bool:
    return torch.equal(first["image"], second["image"])


def test_a_sample(root):
    samples = list(dataset(root))
    assert len(samples) == 8
    for index, sample in enumerate(samples):
        assert sample["image"].shape == (3, SIZE, SIZE)
        assert sample["image"].dtype == torch.uint8 and sample["image"].is_contiguous()
        assert sample["label"].tolist() == pytest.approx([0.99 if index % 2 else 0.01])
        assert sample["label"].dtype == torch.float32
        assert sample["valid"] is True
        assert (sample["row"], sample["errors"]) == (index, [])


def test_validation_is_what_inference_sees(root):
    sample = dataset(root, training=False)[2]
    expected = prepare_face(np.roll(FACE, 10, axis=1), SIZE)
    assert (sample["image"].permute(1, 2, 0).numpy() == expected).all()
    labels = [each["label"].item() for each in dataset(root, training=False)]
    assert labels == [0, 1] * 4


def test_label_smoothing(root):
    assert dataset(root, label_smoothing=0.1)[1]["label"].item() == pytest.approx(0.9)
    assert dataset(root, label_smoothing=0.0)[1]["label"].item() == 1


def test_samples_repeat_and_differ(root):
    plain = dataset(root, seed=3, epoch=1)
    first = [plain[index] for index in range(8)]
    again = [plain[index] for index in reversed(range(8))][::-1]
    assert all(map(same, first, again))
    other_seed, other_epoch = dataset(root, seed=4, epoch=1), dataset(root, seed=3, epoch=2)
    assert not all(same(first[index], other_seed[index]) for index in range(8))
    assert not all(same(first[index], other_epoch[index]) for index in range(8))
    twice = dataset(root, rows=[ROWS[0]] * 8)
    assert not all(same(twice[0], twice[index]) for index in range(1, 8))


def test_workers_change_nothing(root):
    cv2.setNumThreads(2)
    cv2.resize(np.zeros((1200, 1200, 3), np.uint8), (1900, 1900), interpolation=cv2.INTER_CUBIC)  # starts threads
    batches = [
        list(DataLoader(dataset(root), 4, num_workers=workers, collate_fn=collate, worker_init_fn=start_worker))
        for workers in (0, 2)
    ]
    for alone, shared in zip(*batches, strict=True):
        assert torch.equal(alone["image"], shared["image"])
        assert alone["row"].tolist() == shared["row"].tolist()


def test_global_generators_are_left_alone(root):
    python, numpy, pytorch = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    list(dataset(root))
    assert random.getstate() == python
    assert np.random.get_state()[1].tolist() == numpy
    assert torch.equal(torch.get_rng_state(), pytorch)


def test_collate(root):
    samples = [dataset(root)[index] for index in (1, 2)]
    samples[1]["errors"].append("one")
    batch = collate(samples)
    assert batch["image"].shape == (2, 3, SIZE, SIZE)
    assert batch["label"].shape == (2, 1)
    assert batch["valid"].tolist() == [True, True] and batch["valid"].dtype == torch.bool
    assert batch["row"].tolist() == [1, 2]
    assert batch["errors"] == ["one"]


def test_hardcore_takes_parts_of_fakes_out_by_the_landmarks_of_their_original(root):
    def black(**settings) -> int:
        data = dataset(root, rows=[ROWS[1]] * 60, **settings)
        files = data.read(ROWS[1])
        gone = 0
        for seed in range(60):
            image, _ = data.drop(files, 1, np.random.default_rng(seed))
            gone += not image[50, 45].any()  # between the eyes: gone with eyes or nose
        return gone

    assert 15 <= black() <= 45
    assert black(hardcore=False) == 0
    assert black(training=False) == 0
    assert black(hardcore=False, diff_dropout=1.0) > 10


def test_padding_part_trims_margins(root):
    data = dataset(root, hardcore=False, padding_part=4)
    image, mask = data.drop(data.read(ROWS[1]), 1, np.random.default_rng(0))
    assert image.shape == (108, 80, 3) and mask().shape == (108, 80)  # 24 - 18 of 120, 18 - 13 of 90
    expected = cv2.resize(FACE[6:114, 5:85], (47, 64), interpolation=cv2.INTER_AREA)
    sample = dataset(root, training=False, padding_part=4)[0]
    assert (sample["image"][:, :, 8:55].permute(1, 2, 0).numpy() == expected).all()


def test_a_fake_without_changes_is_not_valid(root, capfd):
    (root / "diffs" / "fake" / "0_0_diff.png").unlink()
    (root / "diffs" / "fake" / "10_0_diff.png").write_bytes(encode_image(np.full((50, 50), 255, np.uint8), "png"))
    few = np.zeros(FACE.shape[:2], np.uint8)
    few[0, :32], few[1, :] = 21, 20
    (root / "diffs" / "fake" / "20_0_diff.png").write_bytes(encode_image(few, "png"))
    few[2, 0] = 21
    (root / "diffs" / "fake" / "30_0_diff.png").write_bytes(encode_image(few, "png"))
    data = dataset(root, hardcore=False, only_changed=True)
    assert [data[index]["valid"] for index in (1, 3, 5, 7)] == [False, False, False, True]
    assert [data[index]["valid"] for index in (0, 2, 4, 6)] == [True] * 4
    assert all(not sample["errors"] for sample in data)
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""
    anything_goes = dataset(root, hardcore=False)
    assert [anything_goes[index]["valid"] for index in range(8)] == [True] * 8


def test_what_is_taken_out_of_the_image_is_taken_out_of_the_mask(root):
    data = dataset(root, hardcore=False, diff_dropout=1.0)
    files = data.read(ROWS[1])
    files = CropFiles(image=np.full_like(files.image, 255), landmarks=None, diff=files.diff)
    for seed in range(20):
        image, mask = data.drop(files, 1, np.random.default_rng(seed))
        assert not image.all()
        assert (mask() == np.where(image[..., 0], files.mask(), 0)).all()


def test_a_diff_is_read_only_where_it_is_needed(root):
    for path in (root / "diffs" / "fake").iterdir():
        path.write_bytes(b"")
    rows = [ROWS[1]]

    def unreadable(**settings) -> int:
        data = [dataset(root, rows, seed=seed, **settings) for seed in range(100)]
        return sum(not can_be_read(each) for each in data)

    assert unreadable(hardcore=False) == unreadable(training=False) == 0
    assert unreadable(hardcore=False, only_changed=True) == unreadable(hardcore=False, diff_dropout=1.0) == 100
    assert 0 < unreadable() < 10  # 0.3 * 0.8 * 0.1 of them lose a part of the crop


def can_be_read(data: ClassifierDataset) -> bool:
    try:
        return data[0]["valid"]
    except UnreadableSamples:
        return False


def test_ids_that_look_like_numbers_and_rows_without_original(root):
    row = ROWS[0]._replace(original="")
    files = dataset(root, rows=[row]).read(row)
    assert files.landmarks.tolist() == LANDMARKS.tolist()


@pytest.mark.parametrize(
    "name, message",
    [
        ("crops/fake/0_0.png", "run extract_crops.py --overwrite"),
        ("diffs/fake/0_0_diff.png", "run generate_diffs.py --overwrite"),
        ("landmarks/004/0_0.npy", "run generate_landmarks.py --overwrite"),
    ],
)
def test_a_cut_file_is_replaced_by_the_next_row(root, capfd, name, message):
    path = root / name
    path.write_bytes(path.read_bytes()[:-20])
    sample = dataset(root, only_changed=True)[1]
    assert sample["row"] == 2
    assert sample["label"].item() == pytest.approx(0.01)
    (error,) = sample["errors"]
    assert str(path) in error and message in error and "\n" not in error
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_a_missing_crop_at_the_end_is_replaced_by_the_first_row(root):
    (root / "crops" / "fake" / "30_0.png").unlink()
    sample = dataset(root)[7]
    assert sample["row"] == 0
    assert "30_0.png: can't be opened (No such file or directory)" in sample["errors"][0]


@pytest.mark.parametrize("workers", [0, 1])
def test_nothing_but_broken_rows_is_one_line(tmp_path, workers):
    rows = ROWS * 10
    loader = DataLoader(dataset(tmp_path, rows), 2, num_workers=workers, collate_fn=collate)
    with pytest.raises(UnreadableSamples, match=r"20 samples after one another can't be read.*0_0\.png") as error:
        next(iter(loader))
    assert isinstance(error.value, InputError)
    assert "\n" not in str(error.value)
    with pytest.raises(UnreadableSamples, match="8 samples"):
        dataset(tmp_path)[5]


def test_landmarks_that_are_none(tmp_path):
    path = tmp_path / "0_0.npy"
    assert read_landmarks(str(path)) is None
    for broken in (np.zeros((4, 2), int), np.zeros((5, 2)), np.array([{}])):
        np.save(path, broken, allow_pickle=True)
        with pytest.raises(ItemError, match=r"run generate_landmarks\.py --overwrite"):
            read_landmarks(str(path))
    path.write_bytes(b"")
    with pytest.raises(ItemError, match=r"run generate_landmarks\.py"):
        read_landmarks(str(path))
