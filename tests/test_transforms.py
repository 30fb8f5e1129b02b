"""Augmentation: sizes by hand, distributions and values against plain arithmetic."""

import random

import cv2
import numpy as np
import pytest
import skimage.data

from systems.seferbekov.faces import prepare_face
from systems.seferbekov.transforms import (
    Blur,
    BrightnessContrast,
    Gray,
    HueSaturation,
    IsotropicResize,
    Noise,
    PcaShift,
    ShiftScaleRotate,
    principal_shift,
    split,
    training_transforms,
    validation_transforms,
)

FACE = np.ascontiguousarray(skimage.data.astronaut()[:200, 150:300])
LEVELS = np.tile(np.arange(256, dtype=np.uint8)[:, None, None], (1, 1, 3))


def drawn(transform: Noise, key: str, count: int = 3000) -> np.ndarray:
    transform.set_random_seed(0)
    return np.array([transform.get_params()[key] for _ in range(count)])


def assert_uniform(values: np.ndarray, low: float, high: float) -> None:
    assert low <= values.min() and values.max() <= high
    shares = np.histogram(values, 10, (low, high))[0] / len(values)
    assert shares == pytest.approx(np.full(10, 0.1), abs=0.03)


@pytest.mark.parametrize(
    "shape, expected",
    [((400, 301), (380, 285)), ((301, 400), (285, 380)), ((100, 99), (380, 376)), ((380, 10), (380, 10))],
)
def test_isotropic_resize(shape, expected):
    image = np.zeros((*shape, 3), np.uint8)
    assert IsotropicResize(380, cv2.INTER_AREA, cv2.INTER_CUBIC)(image=image)["image"].shape == (*expected, 3)


def test_isotropic_resize_of_a_thread():
    image = np.zeros((900, 1, 3), np.uint8)
    assert IsotropicResize(380, cv2.INTER_AREA, cv2.INTER_CUBIC)(image=image)["image"].shape == (380, 1, 3)


def test_isotropic_resize_interpolates_as_told():
    for size, interpolation in ((100, cv2.INTER_AREA), (300, cv2.INTER_CUBIC)):
        resize = IsotropicResize(size, cv2.INTER_AREA, cv2.INTER_CUBIC)
        expected = cv2.resize(FACE, (size * 3 // 4, size), interpolation=interpolation)
        assert (resize(image=FACE)["image"] == expected).all()


@pytest.mark.parametrize("shape", [(401, 300), (400, 301), (760, 760), (760, 500), (1140, 1139), (381, 20), (1000, 3)])
def test_areas_are_opencv_s(shape):
    image = cv2.resize(FACE, shape, interpolation=cv2.INTER_CUBIC)
    found = IsotropicResize(380, cv2.INTER_AREA, cv2.INTER_CUBIC)(image=image)["image"]
    assert (found == cv2.resize(image, found.shape[1::-1], interpolation=cv2.INTER_AREA)).all()


@pytest.mark.parametrize("size", [128, 260, 381])
def test_validation_is_what_inference_does(size):
    assert (validation_transforms(size)(image=FACE)["image"] == prepare_face(FACE, size)).all()


def test_training_transforms_are_the_published_ones():
    found = [(type(each).__name__, each.p) for each in training_transforms(380).transforms]
    assert found == [
        ("ImageCompression", 0.5),
        ("Noise", 0.1),
        ("Blur", 0.05),
        ("HorizontalFlip", 0.5),
        ("OneOf", 1),
        ("PadIfNeeded", 1.0),
        ("OneOf", 0.7),
        ("Gray", 0.2),
        ("ShiftScaleRotate", 0.5),
    ]
    for choice in (training_transforms(380)[4], training_transforms(380)[6]):
        assert choice.transforms_ps == pytest.approx([1 / 3] * 3)


def test_training_transforms_follow_their_generators():
    transforms = training_transforms(96)

    def images(seed: int) -> list[bytes]:
        transforms.set_random_state(np.random.default_rng(seed), random.Random(seed))
        made = [transforms(image=FACE)["image"] for _ in range(8)]
        assert {(image.shape, image.dtype) for image in made} == {((96, 96, 3), np.dtype(np.uint8))}
        return [image.tobytes() for image in made]

    python, numpy = random.getstate(), np.random.get_state()[1].tolist()
    first = images(1)
    assert images(1) == first
    assert images(2) != first and len(set(first)) == 8
    assert random.getstate() == python and np.random.get_state()[1].tolist() == numpy


def test_compression_is_jpeg_of_60_to_100():
    compression = training_transforms(96)[0]
    compression.set_random_seed(0)
    qualities = [compression.get_params()["quality"] for _ in range(2000)]
    assert (min(qualities), max(qualities)) == (60, 100)
    image = compression.apply(FACE, quality=70, image_type=".jpg")
    expected = cv2.imdecode(cv2.imencode(".jpg", FACE, [cv2.IMWRITE_JPEG_QUALITY, 70])[1], cv2.IMREAD_UNCHANGED)
    assert (image == expected).all()


def test_noise():
    noise = Noise((10, 50))
    assert_uniform(drawn(noise, "std") ** 2, 10, 50)
    image = np.full((200, 200, 3), 128, np.uint8)
    difference = noise.apply(image, std=5.0, seed=3).astype(float) - image
    assert difference.mean() == pytest.approx(-0.5, abs=0.05)  # a sum's fraction is cut
    assert difference.std() == pytest.approx(np.hypot(5, 12**-0.5), rel=0.02)
    assert difference.std(axis=(0, 1)) == pytest.approx([5] * 3, rel=0.03)
    assert np.corrcoef(difference.reshape(-1, 3).T)[0, 1] == pytest.approx(0, abs=0.03)
    assert (noise.apply(image, std=5.0, seed=3) == image + difference).all()
    dark = noise.apply(np.zeros((100, 100, 3), np.uint8), std=5.0, seed=3)
    assert dark.max() < 40 and (dark == 0).mean() == pytest.approx(0.58, abs=0.02)  # below 1: all but P(z > 0.2)


def test_blur():
    image = np.zeros((5, 5, 3), np.uint8)
    image[2, 2] = 160
    assert Blur()(image=image, force_apply=True)["image"][1:4, 1:4, 0].tolist() == [
        [10, 20, 10],
        [20, 40, 20],
        [10, 20, 10],
    ]


def test_brightness_and_contrast():
    change = BrightnessContrast(0.2, 0.2)
    assert_uniform(drawn(change, "alpha"), 0.8, 1.2)
    assert_uniform(drawn(change, "beta"), -51, 51)
    found = change.apply(LEVELS, alpha=1.1, beta=-20.25)[:, 0, 0]
    assert found[[0, 18, 19, 100, 250, 251, 255]].tolist() == [0, 0, 0, 89, 254, 255, 255]


def published_pca(image: np.ndarray, draw: float) -> np.ndarray:
    """What albumentations 1.0 does, in the order in which it does it."""
    pixels = image.reshape(-1, 3) / 255
    values, vectors = np.linalg.eigh(np.cov(pixels - pixels.mean(0), rowvar=False))
    order = values[::-1].argsort()
    shift = np.column_stack(tuple(vectors[:, order])) @ (draw * np.sort(values)[::-1])
    return np.clip(image.astype(float) + shift * 255, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("draw", [-0.35, -0.1, 0.03, 0.1, 0.29])
def test_pca_is_the_published_one(draw):
    found = PcaShift(0.1).apply(FACE, amount=draw)
    assert (found == published_pca(FACE, draw)).all()


def test_pca_draws():
    amounts = drawn(PcaShift(0.1), "amount")
    assert amounts.mean() == pytest.approx(0, abs=0.01)
    assert amounts.std() == pytest.approx(0.1, rel=0.05)
    assert principal_shift(np.full((4, 4, 3), 7, np.uint8)) == pytest.approx([0, 0, 0])
    assert principal_shift(np.full((380, 380, 3), 255, np.uint8)) == pytest.approx([0, 0, 0])
    grey = np.repeat(LEVELS[:, :, :1], 3, axis=2)
    largest = 3 * np.var(np.arange(256) / 255, ddof=1)  # eigenvalue, its vector (1, 1, 1) / sqrt(3)
    assert principal_shift(grey)[0] ** 2 == pytest.approx(largest**2 / 3, rel=1e-4)


def test_hue_saturation_and_value():
    change = HueSaturation(20, 30, 20)
    for name, limit in (("hue", 20), ("saturation", 30), ("value", 20)):
        assert_uniform(drawn(change, name), -limit, limit)
    hsv = cv2.cvtColor(FACE, cv2.COLOR_RGB2HSV).astype(float)
    hsv[..., 0] = np.floor((hsv[..., 0] - 12.4) % 180)
    hsv[..., 1] = np.floor(np.clip(hsv[..., 1] + 25.7, 0, 255))
    hsv[..., 2] = np.floor(np.clip(hsv[..., 2] - 3.5, 0, 255))
    expected = cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB)
    assert (change.apply(FACE, hue=-12.4, saturation=25.7, value=-3.5) == expected).all()
    black = change.apply(np.zeros((2, 2, 3), np.uint8), hue=0, saturation=0, value=9)
    assert (black == 9).all()  # the padding, too


def test_gray():
    grey = Gray()(image=FACE, force_apply=True)["image"]
    assert (grey == grey[..., :1]).all()
    assert np.abs(grey[..., 0] - FACE @ [0.299, 0.587, 0.114]).max() <= 0.51


def test_shift_scale_and_rotate():
    move = ShiftScaleRotate(0.1, 0.2, 10)
    for name, low, high in (("angle", -10, 10), ("scale", 0.8, 1.2), ("x", -0.1, 0.1), ("y", -0.1, 0.1)):
        assert_uniform(drawn(move, name), low, high)
    matrix = cv2.getRotationMatrix2D((75, 100), 7.3, 1.1)
    matrix[:, 2] += 0.05 * 150, -0.02 * 200
    assert (move.apply(FACE, angle=7.3, scale=1.1, x=0.05, y=-0.02) == cv2.warpAffine(FACE, matrix, (150, 200))).all()
    image = np.zeros((100, 50, 3), np.uint8)
    image[50, 25] = 255  # where the centre is
    assert (move.apply(image, angle=9.0, scale=0.9, x=0, y=0)[50, 25] > 200).all()
    assert np.argwhere(move.apply(image, angle=0, scale=1, x=0.1, y=-0.2)[..., 0]).tolist() == [[30, 30]]
    image[50, 35] = 255
    doubled = move.apply(image, angle=0, scale=2, x=0, y=0)[..., 0]
    assert doubled[50, 45] == 255
    turned = move.apply(image, angle=90, scale=1, x=0, y=0)[..., 0]
    assert turned[40, 25] == 255  # to the left, seen as a picture
    assert move.apply(image + 255, angle=0, scale=0.8, x=0, y=0)[0, 0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("shape", [(1, 1), (3, 1), (1, 5), (380, 380)])
def test_split(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    planes = split(image)
    assert planes.flags.c_contiguous
    assert (planes == image.transpose(2, 0, 1)).all()
