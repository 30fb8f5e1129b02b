"""The pictures of an explanation, as WebP: a face, its heat over it, what was blacked out, where it is in its frame."""

from collections.abc import Sequence

import cv2
import numpy as np

from faces.fit import isotropically_resize_image
from faces.sampling import evenly_spaced
from faces.video import iter_frames

FRAMES = 5  # of a clip that are shown, from its first to its last
_FACE = 256  # pixels of the longer side
_CLIP_FACE = 144
_FRAME = 480
_QUALITY = 85
_LEAST_COVER, _MOST_COVER = 0.2, 0.8  # of the colours of heat, which a face is seen through
_BOX = (255, 214, 10)  # RGB


def face_picture(pixels: np.ndarray, *, flipped: bool) -> bytes:
    """A face, uint8 RGB (t, h, w, 3), or some frames of its clip side by side; mirrored back where it is mirrored."""
    return _encoded(_side_by_side([pixels[place] for place in evenly_spaced(len(pixels), FRAMES)], flipped))


def heat_picture(pixels: np.ndarray, heat: np.ndarray, *, flipped: bool) -> bytes:
    """The same in grey, the more covered the hotter it is, in colours from black by way of red to light yellow. `heat`
    is float32 (t, h, w) from 0 to 1."""
    shown = evenly_spaced(len(pixels), FRAMES)
    return _encoded(_side_by_side([_under_heat(pixels[place], heat[place]) for place in shown], flipped))


def read_frame_picture(path: str, index: int, bbox: Sequence[int]) -> bytes:
    """Frame `index` of a video with a box in it, x1, y1, x2, y2 in its pixels. Raises VideoError."""
    _, frame = next(iter_frames(path, lambda count: [index]))
    small = np.ascontiguousarray(isotropically_resize_image(frame, _FRAME))
    scale = small.shape[1] / frame.shape[1]
    x1, y1, x2, y2 = (round(float(value) * scale) for value in bbox)
    for colour, width in (((0, 0, 0), 4), (_BOX, 2)):  # is seen on any ground
        cv2.rectangle(small, (x1, y1), (x2, y2), colour, width)
    return _encoded(small)


def _side_by_side(images: Sequence[np.ndarray], flipped: bool) -> np.ndarray:
    side = _CLIP_FACE if len(images) > 1 else _FACE
    return np.hstack([isotropically_resize_image(image[:, ::-1] if flipped else image, side) for image in images])


def _under_heat(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """RGB uint8 (h, w, 3), of an image of that kind and float32 (h, w)."""
    colours = cv2.applyColorMap(np.rint(255 * heat).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    cover = (_LEAST_COVER + (_MOST_COVER - _LEAST_COVER) * heat)[..., None]
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
    return np.rint((1 - cover) * grey + cover * colours).astype(np.uint8)


def _encoded(image: np.ndarray) -> bytes:
    bgr = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2BGR)
    return cv2.imencode(".webp", bgr, [cv2.IMWRITE_WEBP_QUALITY, _QUALITY])[1].tobytes()
