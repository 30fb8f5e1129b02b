"""Pictures fitted to a square: resized, their sides in proportion, and padded."""

import cv2
import numpy as np


def isotropically_resize_image(
    img: np.ndarray, size: int, interpolation_down: int = cv2.INTER_AREA, interpolation_up: int = cv2.INTER_CUBIC
) -> np.ndarray:
    """Scale an image so that its longer side is `size`; the other side is truncated to whole pixels, at least 1."""
    height, width = img.shape[:2]
    if max(width, height) == size:
        return img
    scale = size / max(width, height)
    width, height = (size, height * scale) if width > height else (width * scale, size)
    interpolation = interpolation_up if scale > 1 else interpolation_down
    return cv2.resize(img, (max(int(width), 1), max(int(height), 1)), interpolation=interpolation)


def put_to_center(img: np.ndarray, input_size: int) -> np.ndarray:
    """Centre an RGB image no larger than `input_size` on a black square of that side."""
    img = img[:input_size, :input_size]
    image = np.zeros((input_size, input_size, 3), dtype=np.uint8)
    left, top = (input_size - img.shape[1]) // 2, (input_size - img.shape[0]) // 2
    image[top : top + img.shape[0], left : left + img.shape[1]] = img
    return image
