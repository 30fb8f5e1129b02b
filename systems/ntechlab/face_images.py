"""A face's crop as the models see it: uint8, 224 pixels high and 192 wide, scaled and cut as albumentations 0.4 did."""

from collections.abc import Callable

import cv2
import numpy as np

from systems.ntechlab.models import HEIGHT, WIDTH

_MOST_ELONGATED = 32  # times its shorter side; a crop a pixel wide would become an image of hundreds of megabytes


def shorter_side_to(image: np.ndarray, side: int) -> np.ndarray:
    """Scale an image (h, w, 3) so that its shorter side is `side`; the other is rounded, a half to the even number."""
    height, width = image.shape[:2]
    scale = side / min(height, width)
    if scale == 1:
        return image
    return cv2.resize(image, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_LINEAR)


def padded(image: np.ndarray) -> np.ndarray:
    """An image of at least 224 x 192, its own pixels mirrored where it is smaller; an odd one goes below or right."""
    missing_rows, missing_columns = max(HEIGHT - image.shape[0], 0), max(WIDTH - image.shape[1], 0)
    top, left = missing_rows // 2, missing_columns // 2
    return cv2.copyMakeBorder(
        image, top, missing_rows - top, left, missing_columns - left, borderType=cv2.BORDER_REFLECT_101
    )


def center_crop(image: np.ndarray) -> np.ndarray:
    """The middle of an image, (224, 192, 3)."""
    top, left = (image.shape[0] - HEIGHT) // 2, (image.shape[1] - WIDTH) // 2
    return image[top : top + HEIGHT, left : left + WIDTH]


def large_crop_image(crop: np.ndarray) -> np.ndarray:
    """All of the crop's width, or of its height and some mirrored: uint8 (h, w, 3) to (224, 192, 3)."""
    return center_crop(padded(shorter_side_to(_middle(crop), WIDTH)))


def tight_image(crop: np.ndarray) -> np.ndarray:
    """All of the crop's height, or nearly: uint8 (h, w, 3) to (224, 192, 3)."""
    return center_crop(shorter_side_to(_middle(crop), HEIGHT))


IMAGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "large_crop": large_crop_image,
    "re": tight_image,
    "seq": tight_image,
}


def _middle(crop: np.ndarray) -> np.ndarray:
    """A crop without the ends of its longer side that would be cut off again, where there are very much of these."""
    height, width = crop.shape[:2]
    most = _MOST_ELONGATED * min(height, width)
    top, left = max(height - most, 0) // 2, max(width - most, 0) // 2
    return crop[top : top + most, left : left + most]
