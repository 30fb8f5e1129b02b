"""The published augmentation. All frames of a clip are changed alike, by draws that are made once for the clip.

Pictures stay uint8 until they are on the device, where the model normalises them; what albumentations 0.4.3 truncated
is truncated here.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from systems.medics.clips import SIZE
from systems.medics.models import ModelSpec

_BLUR_KERNELS = (3, 5, 7)
_LARGEST_VARIANCE = 5 / 255  # of the noise, in levels squared: half the values drop by one, and that is all it does
_RATIO = (0.9, 1.1)
_ATTEMPTS = 10
_VALIDATION_RESIZE = 128  # of the models at 112 pixels
_LEVELS = np.arange(256, dtype=np.float32)


@dataclass(frozen=True, kw_only=True)
class ClipAugmentation:
    """What a 3D model's clips go through: `size` of the result in pixels, `blur_and_noise` (a tenth of the clips each),
    and the least share of the area that a crop has."""

    size: int
    blur_and_noise: bool
    least_area: float

    @classmethod
    def of(cls, spec: ModelSpec) -> "ClipAugmentation":
        """As published for a model of MODELS."""
        return cls(
            size=spec.size,
            blur_and_noise=spec.name in ("i3d", "mc3_112", "r2p1_112", "r2p1_cutmix"),
            least_area=0.33 if spec.name == "r2p1_112" else 0.5,
        )

    def draw(self, height: int, width: int, generator: np.random.Generator) -> "ClipDraws":
        """The draws for one clip of `height` by `width` pixels."""
        kernel = noise = levels = None
        if self.blur_and_noise:
            if generator.random() < 0.1:
                kernel = int(generator.choice(_BLUR_KERNELS))
            if generator.random() < 0.1:
                deviation = math.sqrt(generator.uniform(0, _LARGEST_VARIANCE))
                noise = generator.normal(0, deviation, (height, width, 3)).astype(np.float32)
        if generator.random() < 0.25:
            contrast, brightness = generator.uniform(0.8, 1.2), generator.uniform(-0.2, 0.2)
            levels = np.clip(_LEVELS * contrast + 255 * brightness, 0, 255).astype(np.uint8)
        crop = _draw_crop(height, width, self.least_area, generator)
        return ClipDraws(
            kernel=kernel, noise=noise, levels=levels, crop=crop, size=self.size, mirrored=generator.random() < 0.5
        )


@dataclass(frozen=True, kw_only=True)
class ClipDraws:
    """What is done to every frame of one clip, in this order: side of the blur's kernel, the noise float32 (h, w, 3),
    the new level of each level uint8 (256,), top, left, height and width of the crop, its new size, the mirror."""

    kernel: int | None
    noise: np.ndarray | None
    levels: np.ndarray | None
    crop: tuple[int, int, int, int]
    size: int
    mirrored: bool

    def apply(self, frame: np.ndarray) -> np.ndarray:
        """One frame, uint8 (h, w, 3), to uint8 (size, size, 3); colours stay in their order."""
        if self.kernel is not None:
            frame = cv2.GaussianBlur(frame, (self.kernel, self.kernel), 0)
        if self.noise is not None:
            frame = np.clip(frame + self.noise, 0, 255).astype(np.uint8)
        if self.levels is not None:
            frame = cv2.LUT(frame, self.levels)
        top, left, height, width = self.crop
        frame = frame[top : top + height, left : left + width]
        frame = cv2.resize(frame, (self.size, self.size), interpolation=cv2.INTER_LINEAR)
        return cv2.flip(frame, 1) if self.mirrored else frame


def validation_frame(frame: np.ndarray, size: int) -> np.ndarray:
    """A frame of a clip, uint8 (256, 256, 3), as validation shows it to a 3D model: the middle 224 of 256 pixels, or
    the middle 112 of 128. (Inference halves the middle 224.)"""
    if size < SIZE // 2:
        frame = cv2.resize(frame, (_VALIDATION_RESIZE, _VALIDATION_RESIZE), interpolation=cv2.INTER_LINEAR)
    edge = (frame.shape[0] - size) // 2
    return frame[edge : edge + size, edge : edge + size]


def flip_frame(frame: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A frame of a mini video, uint8 (h, w, 3), at 256 pixels for the 2D model: with equal chances as it is, mirrored,
    upside down, or both."""
    frame = cv2.resize(frame, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    upside_down, mirrored = divmod(int(generator.integers(4)), 2)
    return np.ascontiguousarray(frame[:: -1 if upside_down else 1, :: -1 if mirrored else 1])


def permute_channels(batch: torch.Tensor, permutations: np.ndarray) -> torch.Tensor:
    """Normalised frames (n, 3, h, w) with the channels of each in another order; `permutations` int (n, 3).

    Of normalised ones, as each channel has a mean of its own.
    """
    rows = torch.arange(len(batch), device=batch.device)[:, None]
    return batch[rows, torch.from_numpy(permutations).to(batch.device, non_blocking=True)]


def draw_permutation(generator: np.random.Generator) -> np.ndarray:
    """An order of the channels, int64 (3,), each with the same chance."""
    return generator.permutation(3)


def _draw_crop(height: int, width: int, least_area: float, generator: np.random.Generator) -> tuple[int, int, int, int]:
    """RandomResizedCrop's rule: ten attempts at an area and a ratio that fit, else the middle."""
    for _ in range(_ATTEMPTS):
        area = height * width * generator.uniform(least_area, 1)
        ratio = math.exp(generator.uniform(math.log(_RATIO[0]), math.log(_RATIO[1])))
        crop_width, crop_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            top = int(generator.integers(height - crop_height + 1))
            left = int(generator.integers(width - crop_width + 1))
            return top, left, crop_height, crop_width
    crop_width = min(width, round(height * _RATIO[1]))
    crop_height = min(height, round(width / _RATIO[0]))
    return (height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width
