"""NtechLab's augmentation: draws and images of the published pipelines, and what they do by hand."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from systems.ntechlab.augmentation import Augmentation, Operation, Rectangle, augment, draw_augmentation
from systems.ntechlab.augmentation import draw_augmentations as draw_all
from systems.ntechlab.models import ROLES
from tests.ntechlab import GOLDEN, golden

PLAIN = Augmentation(flip=False, crop=(0.0, 0.0), operations=(), erased=None)
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="no ../shared")


def noise(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def to_levels(images: torch.Tensor) -> np.ndarray:
    """Normalised (n, 3, h, w) back to levels (n, h, w, 3)."""
    return (images.numpy().transpose(0, 2, 3, 1) * STD + MEAN) * 255


@pytest.fixture(scope="module")
def image():
    """The golden data's formula image, 253 rows of 187."""
    rows, columns = np.mgrid[:253, :187]
    channels = rows * 255 // 252, columns * 255 // 186, (rows // 8 + columns // 8) % 2 * 160 + 40
    return np.stack(channels, axis=-1).astype(np.uint8)


@needs_golden
def test_published_pipelines(image):
    cases = golden("augmentation.json")["image_draws"]["cases"]
    assert {case["model"] for case in cases} == set(ROLES)
    for case in cases:
        draw = random.Random(case["seed"])
        augmentation = draw_augmentation(case["model"], draw)
        assert draw.random() == case["next"]
        assert [operation.name for operation in augmentation.operations] == [name for name, _ in case["ops"]]
        for operation, (_, arguments) in zip(augmentation.operations, case["ops"], strict=True):
            assert list(operation.arguments) == pytest.approx(arguments, abs=1e-6)
        (augmented,) = augment([image], case["model"], [augmentation], noise(case["seed"]))
        assert list(augmented.shape) == case["shape"]
        means = augmented.double().view(3, 4, 56, 4, 48).mean((2, 4)).view(3, 16)
        np.testing.assert_allclose(means, case["thumb"], atol=1e-4)


def test_frames_draw_one_after_another_and_clips_once():
    draw = random.Random(4)
    assert draw_all("re", 3, random.Random(4)) == [draw_augmentation("re", draw) for _ in range(3)]
    assert draw_all("seq", 7, random.Random(4)) == [draw_augmentation("seq", random.Random(4))] * 7


def test_global_generators_are_left_alone(image):
    states = random.getstate(), torch.get_rng_state()
    for seed in range(30):
        augment([image], "re", [draw_augmentation("re", random.Random(seed))], noise())
    assert random.getstate() == states[0]
    assert torch.equal(torch.get_rng_state(), states[1])


def test_crop_and_flip():
    """An image of 448 x 384 is halved to 224 x 192 for the frame model that sees all of it, and there is no room."""
    image = np.repeat(np.repeat(np.arange(192, dtype=np.uint8)[None, :, None], 224, axis=0), 3, axis=2)
    large = image.repeat(2, axis=0).repeat(2, axis=1)
    plain, flipped = to_levels(
        augment([large, large], "large_crop", [PLAIN, replace(PLAIN, flip=True, crop=(0.9, 0.9))], noise())
    )
    np.testing.assert_allclose(plain, image, atol=1e-3)
    np.testing.assert_allclose(flipped, image[:, ::-1], atol=1e-3)


def test_the_crop_moves_within_its_room():
    """224 rows of 292: columns int(100 * part) to the right."""
    image = np.repeat(np.repeat(np.arange(292)[None, :, None] // 2, 224, axis=0), 3, axis=2).astype(np.uint8)
    crops = [replace(PLAIN, crop=(part, part)) for part in (0.0, 0.509, 0.999)]
    levels = to_levels(augment([image] * 3, "seq", crops, noise()))
    np.testing.assert_allclose(levels[:, 0, 0, 0], [0, 25, 49], atol=1e-3)


def test_low_images_are_mirrored_for_the_large_crop():
    """192 rows of 224: 16 are added on either side, without the edge's own twice."""
    image = np.repeat(np.repeat(np.arange(192, dtype=np.uint8)[:, None, None], 192, axis=1), 3, axis=2)
    (levels,) = to_levels(augment([image], "large_crop", [PLAIN], noise()))
    np.testing.assert_allclose(levels[:, 5, 1], [*range(16, 0, -1), *range(192), *range(190, 174, -1)], atol=1e-3)


def test_erased_rectangle(image):
    rectangle = Rectangle(top=10, left=20, height=30, width=40)
    augmentation = replace(PLAIN, erased=rectangle)
    plain = augment([image], "re", [PLAIN], noise())[0]
    generator = noise(1)
    first, second = augment([image, image], "re", [augmentation, augmentation], generator)
    inside = torch.zeros(224, 192, dtype=torch.bool)
    inside[10:40, 20:60] = True
    assert torch.equal(first[:, ~inside], plain[:, ~inside])
    assert not torch.equal(first[:, inside], second[:, inside])  # an original and its fake get other noise
    assert abs(first[:, inside].mean()) < 0.1 and first[:, inside].std().item() == pytest.approx(1, abs=0.1)


def test_rectangles_fit():
    drawn = [draw_augmentation("re", random.Random(seed)).erased for seed in range(2000)]
    rectangles = [rectangle for rectangle in drawn if rectangle]
    assert 0.17 < len(rectangles) / len(drawn) < 0.23
    for rectangle in rectangles:
        assert 0 <= rectangle.top <= 224 - rectangle.height and 0 <= rectangle.left <= 192 - rectangle.width
        assert 0.019 < rectangle.height * rectangle.width / (224 * 192) < 0.335


def test_operations_fill_with_the_mean_colour(image):
    """A shear of 0.3 to the right brings what was outside into a corner."""
    drawn = (draw_augmentation("seq", random.Random(seed)).operations for seed in range(2000))
    rotations = [op for operations in drawn for op in operations if op.name == "Rotate" and abs(op.arguments[0]) > 20]
    assert {np.sign(op.arguments[0]) for op in rotations} == {-1, 1}
    assert len({op.resampling for op in rotations}) == 2
    shear = Operation(name="ShearX", arguments=(0.3,), resampling=rotations[0].resampling)
    (levels,) = to_levels(augment([image], "seq", [replace(PLAIN, operations=(shear,))], noise()))
    np.testing.assert_allclose(levels[-1, -1], [124, 116, 104], atol=1e-3)


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (40, 3), (1080, 700)])
@pytest.mark.parametrize("role", ROLES)
def test_any_size(role, size):
    image = np.full((*size, 3), 128, np.uint8)
    augmentations = draw_all(role, 1, random.Random(1))
    assert augment([image], role, augmentations, noise()).shape == (1, 3, 224, 192)
