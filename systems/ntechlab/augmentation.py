"""From a track's images to what the networks are trained on: scaled, flipped, cropped, recoloured, normalised.

    large_crop    shorter side 192, padded to 224 x 192, flip, crop, AutoAugment
    re            shorter side 224, flip, crop, AutoAugment, a rectangle erased
    seq           as re, without erasing; all images of a clip alike

All that is drawn about an image is drawn before it is looked at, from a `random.Random` in the order in which the
published code (albumentations 0.4.3, timm 0.1.18) asked Python's `random`. What was drawn is then applied to the image
of the original and to that of the fake.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from timm.data.auto_augment import NAME_TO_OP, AugmentOp, auto_augment_policy

from systems.imagenet import IMAGENET_MEAN, IMAGENET_STD
from systems.ntechlab.face_images import padded, shorter_side_to
from systems.ntechlab.models import HEIGHT, WIDTH

_SHORTER_SIDES = {"large_crop": WIDTH, "re": HEIGHT, "seq": HEIGHT}
_STEPS_BEFORE_FLIP = {"large_crop": 3, "re": 2, "seq": 2}  # albumentations asks even for those that are always done
_FLIP = _AUTO_AUGMENT = 0.5

_POLICY = auto_augment_policy("original")  # of ImageNet (arXiv:1805.09501): 25 pairs of operations
_MAGNITUDE_STD, _MAX_MAGNITUDE = 0.5, 10
_SIGNED = {"Rotate": 30.0, "ShearX": 0.3}  # degrees and shear at the largest magnitude, to either side
_FILL = (124, 116, 104)  # ImageNet's mean colour
_RESAMPLING = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)

_ERASE = 0.2
_ERASED_AREA = (0.02, 1 / 3)  # of the image
_ERASED_ASPECT = (math.log(0.3), math.log(1 / 0.3))  # height to width
_ERASE_ATTEMPTS = 10


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation of AutoAugment, by timm's name, with its arguments."""

    name: str
    arguments: tuple[float, ...]
    resampling: Image.Resampling  # of those that move pixels


@dataclass(frozen=True, kw_only=True)
class Rectangle:
    """Of an image of 224 x 192, in pixels."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """All that was drawn about an image."""

    flip: bool
    crop: tuple[float, float]  # how far down and to the right, 0 to 1 of what there is room for
    operations: tuple[Operation, ...]
    erased: Rectangle | None


def draw_augmentations(role: str, count: int, draw: random.Random) -> list[Augmentation]:
    """Of the images of a track, for one of `models.ROLES`: each its own for a frame model, all the same for "seq"."""
    if role == "seq":
        return [draw_augmentation(role, draw)] * count
    return [draw_augmentation(role, draw) for _ in range(count)]


def draw_augmentation(role: str, draw: random.Random) -> Augmentation:
    """Of one image, for one of `models.ROLES`."""
    for _ in range(_STEPS_BEFORE_FLIP[role]):  # Compose itself, and what scales and pads
        draw.random()
    flip = draw.random() < _FLIP
    draw.random()  # whether to crop
    crop = draw.random(), draw.random()
    operations = _draw_operations(draw) if draw.random() < _AUTO_AUGMENT else ()
    draw.random()  # whether to normalise
    erased = None
    if role == "re":
        draw.random()  # whether to ask random erasing at all
        erased = _draw_rectangle(draw)
    return Augmentation(flip=flip, crop=crop, operations=operations, erased=erased)


def augment(
    images: Sequence[np.ndarray], role: str, augmentations: Sequence[Augmentation], noise: torch.Generator
) -> torch.Tensor:
    """RGB uint8 images (h, w, 3), of any sizes, as normalised float32 (n, 3, 224, 192).

    `noise` (on the CPU) gives what is written into erased rectangles, N(0, 1) for each value.
    """
    augmented = torch.empty((len(images), 3, HEIGHT, WIDTH))
    for image, augmentation, output in zip(images, augmentations, augmented, strict=True):
        image = shorter_side_to(image, _SHORTER_SIDES[role])
        if role == "large_crop":
            image = padded(image)
        if augmentation.flip:
            image = image[:, ::-1]
        image = _apply_operations(_crop(image, augmentation.crop), augmentation.operations)
        normalize(image, output.numpy())
        if augmentation.erased:
            _erase(output, augmentation.erased, noise)
    return augmented


def _apply_operations(image: np.ndarray, operations: Sequence[Operation]) -> np.ndarray:
    """AutoAugment's operations, of RGB uint8 (h, w, 3)."""
    if not operations:
        return image
    picture = Image.fromarray(np.ascontiguousarray(image))
    for operation in operations:
        picture = NAME_TO_OP[operation.name](
            picture, *operation.arguments, fillcolor=_FILL, resample=operation.resampling
        )
    return np.asarray(picture)


def normalize(image: np.ndarray, output: np.ndarray) -> None:
    """Write RGB uint8 (h, w, 3), less ImageNet's mean and over its standard deviation, to float32 (3, h, w)."""
    for channel, table in enumerate(_NORMALIZED):
        np.take(table, image[..., channel], out=output[channel], mode="clip")  # "raise" would copy the output


def _normalized_levels() -> np.ndarray:
    """float32 (3, 256): each level of each channel as albumentations computes it."""
    mean, std = (np.array(values, np.float32) * np.float32(255) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (np.arange(256, dtype=np.float32) - mean[:, None]) * np.reciprocal(std)[:, None]


_NORMALIZED = _normalized_levels()


def _crop(image: np.ndarray, crop: tuple[float, float]) -> np.ndarray:
    top, left = (
        int((side - kept) * part) for side, kept, part in zip(image.shape, (HEIGHT, WIDTH), crop, strict=False)
    )
    return image[top : top + HEIGHT, left : left + WIDTH]


def _draw_operations(draw: random.Random) -> tuple[Operation, ...]:
    operations = []
    for step in draw.choice(_POLICY):
        if step.prob < 1 and draw.random() > step.prob:
            continue
        magnitude = min(max(draw.gauss(step.magnitude, _MAGNITUDE_STD), 0.0), _MAX_MAGNITUDE)
        arguments = _arguments(step, magnitude, draw)
        # timm asks for it only in the operations that move pixels
        resampling = draw.choice(_RESAMPLING) if step.name in _SIGNED else _RESAMPLING[0]
        operations.append(Operation(name=step.name, arguments=arguments, resampling=resampling))
    return tuple(operations)


def _arguments(step: AugmentOp, magnitude: float, draw: random.Random) -> tuple[float, ...]:
    """What timm makes of a magnitude; where it would ask the global `random` for a sign, `draw` is asked."""
    if step.name in _SIGNED:
        argument = magnitude / _MAX_MAGNITUDE * _SIGNED[step.name]
        return (-argument if draw.random() > 0.5 else argument,)
    return step.level_fn(magnitude, {}) if step.level_fn else ()


def _draw_rectangle(draw: random.Random) -> Rectangle | None:
    """What random erasing (arXiv:1708.04896) takes out; None for four of five images."""
    if draw.random() > _ERASE:
        return None
    for _ in range(_ERASE_ATTEMPTS):
        area = draw.uniform(*_ERASED_AREA) * HEIGHT * WIDTH
        aspect = math.exp(draw.uniform(*_ERASED_ASPECT))
        height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if height < HEIGHT and width < WIDTH:
            top, left = draw.randint(0, HEIGHT - height), draw.randint(0, WIDTH - width)
            return Rectangle(top=top, left=left, height=height, width=width)
    return None


def _erase(image: torch.Tensor, erased: Rectangle, noise: torch.Generator) -> None:
    rows = slice(erased.top, erased.top + erased.height)
    columns = slice(erased.left, erased.left + erased.width)
    image[:, rows, columns] = torch.empty((len(image), erased.height, erased.width)).normal_(generator=noise)
