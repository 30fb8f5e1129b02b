"""Pillow's default resize of RGB images, to the bit, in a fifth of the time where a side is exactly halved.

MTCNN finds other faces on frames scaled by any other filter, so the half-size frame must be Pillow's own. At a scale of
exactly 2 the bicubic weights are whole multiples of 1/256, and simpler arithmetic (our own kernel's, or PyTorch's
vectorised one's) then gives Pillow's result everywhere but in the two outermost rows and columns, which Pillow itself
recomputes. Whether that holds on this processor is tried once; where it does not, Pillow does it all.
"""

from functools import cache

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from engines.native import libraries
from engines.native.halve import halve

_STRIP = 16  # pixels of the image's edge that its two outermost output lines can depend on, and then some
_EDGE = 2


def resize_rgb(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resize a uint8 RGB image (h, w, 3) to (height, width, 3), equal to Pillow's `Image.resize((width, height))`."""
    halved = image.shape[1] == 2 * width and image.shape[0] == 2 * height
    if halved and min(width, height) >= _STRIP and _fast_is_exact():
        return _halve(image)
    return _resize_pillow(image, width, height)


def _resize_pillow(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Across first, then down: the order of the Pillow that the reference used; newer ones turn it for tall images."""
    across = Image.fromarray(image).resize((width, image.shape[0]))
    return np.asarray(across.resize((width, height)))


def _halve(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[0] // 2, image.shape[1] // 2
    result = _inner(image)
    half = _STRIP // 2
    result[:_EDGE] = _resize_pillow(image[:_STRIP], width, half)[:_EDGE]
    result[-_EDGE:] = _resize_pillow(image[-_STRIP:], width, half)[-_EDGE:]
    result[:, :_EDGE] = _resize_pillow(np.ascontiguousarray(image[:, :_STRIP]), half, height)[:, :_EDGE]
    result[:, -_EDGE:] = _resize_pillow(np.ascontiguousarray(image[:, -_STRIP:]), half, height)[:, -_EDGE:]
    return result


def _inner(image: np.ndarray) -> np.ndarray:
    return _inner_torch(image) if libraries.why_not("halve") else halve(image)


def _inner_torch(image: np.ndarray) -> np.ndarray:
    source = torch.as_tensor(image)[None].permute(0, 3, 1, 2)  # channels_last as it lies
    size = image.shape[0] // 2, image.shape[1] // 2
    return F.interpolate(source, size=size, mode="bicubic", antialias=True)[0].permute(1, 2, 0).numpy()


@cache
def _fast_is_exact() -> bool:
    """True where `_halve` equals Pillow on noise with many saturated pixels, the hardest case for rounding."""
    draw = np.random.default_rng(0)
    noise = draw.integers(0, 256, (192, 320, 3), dtype=np.uint8)
    saturated = draw.random(noise.shape) < 0.3
    noise[saturated] = draw.choice(np.array([0, 255], np.uint8), int(saturated.sum()))
    return np.array_equal(_halve(noise), _resize_pillow(noise, 160, 96))
