"""What is done to frames: RGB uint8 (height, width, 3) in, the same out, of another size where that is what is done.

What is random is drawn from the name of the video alone, and where it changes from frame to frame from the frame's
index too, so that a variant that is made again is the same.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LINE = 12  # letters


@dataclass(frozen=True, kw_only=True)
class Place:
    """Which frame it is: the name of its video's file, and its index in it."""

    video: str
    index: int


ChangeFrame = Callable[[np.ndarray, float, Place], np.ndarray]


def scale(frame: np.ndarray, factor: float, place: Place) -> np.ndarray:
    """Width and height times a factor up to 1, to the nearest even numbers."""
    height, width = (max(2, 2 * round(side * factor / 2)) for side in frame.shape[:2])
    return cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)


def shorter_side(frame: np.ndarray, most: float, place: Place) -> np.ndarray:
    """Made smaller where the shorter side has more pixels than that."""
    shorter = min(frame.shape[:2])
    return scale(frame, most / shorter, place) if shorter > most else frame


def crop(frame: np.ndarray, share: float, place: Place) -> np.ndarray:
    """The centre: that share of width and height, to the nearest even numbers."""
    height, width = (max(2, 2 * round(side * share / 2)) for side in frame.shape[:2])
    top, left = (frame.shape[0] - height) // 2, (frame.shape[1] - width) // 2
    return frame[top : top + height, left : left + width]


def blur(frame: np.ndarray, share: float, place: Place) -> np.ndarray:
    """Gaussian, its sigma that share of the shorter side."""
    return cv2.GaussianBlur(frame, (0, 0), share * min(frame.shape[:2]))


def noise(frame: np.ndarray, sigma: float, place: Place) -> np.ndarray:
    """Gaussian, drawn for each pixel and channel."""
    drawn = _draw(place, of_frame=True).standard_normal(frame.shape, np.float32)
    return _to_uint8(frame + np.float32(sigma) * drawn)


def brightness(frame: np.ndarray, factor: float, place: Place) -> np.ndarray:
    return _by_table(frame, np.arange(256) * factor)


def contrast(frame: np.ndarray, factor: float, place: Place) -> np.ndarray:
    """The distance of values to the middle, 127.5, times a factor."""
    return _by_table(frame, (np.arange(256) - 127.5) * factor + 127.5)


def grey(frame: np.ndarray, amount: float, place: Place) -> np.ndarray:
    """The brightness (ITU-R BT.601) in all channels."""
    return np.repeat(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)


def flip(frame: np.ndarray, amount: float, place: Place) -> np.ndarray:
    return frame[:, ::-1]


def rotate(frame: np.ndarray, degrees: float, place: Place) -> np.ndarray:
    """Counter-clockwise about the centre; corners that come into view are black."""
    height, width = frame.shape[:2]
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    return cv2.warpAffine(frame, turn, (width, height), flags=cv2.INTER_LINEAR)


def text(frame: np.ndarray, lines: float, place: Place) -> np.ndarray:
    """Lines of letters, the same in each frame of a video."""
    draw, drawn = _draw(place), frame.copy()
    height, width = frame.shape[:2]
    size = height / 300
    for _ in range(int(lines)):
        letters = "".join(_LETTERS[number] for number in draw.integers(0, len(_LETTERS), _LINE))
        where = int(draw.integers(0, max(1, width // 2))), int(draw.integers(height // 10, height))
        colour = draw.integers(0, 256, 3).tolist()
        cv2.putText(drawn, letters, where, cv2.FONT_HERSHEY_SIMPLEX, size, colour, max(1, round(2 * size)))
    return drawn


def shapes(frame: np.ndarray, count: float, place: Place) -> np.ndarray:
    """Filled rectangles and circles in turn, the same in each frame of a video."""
    draw, drawn = _draw(place), frame.copy()
    height, width = frame.shape[:2]
    for number in range(int(count)):
        centre = int(draw.integers(0, width)), int(draw.integers(0, height))
        radius = max(1, int(draw.uniform(0.03, 0.1) * min(height, width)))
        colour = draw.integers(0, 256, 3).tolist()
        if number % 2:
            cv2.circle(drawn, centre, radius, colour, cv2.FILLED)
        else:
            corners = [(centre[0] + sign * radius, centre[1] + sign * radius) for sign in (-1, 1)]
            cv2.rectangle(drawn, *corners, colour, cv2.FILLED)
    return drawn


def dots(frame: np.ndarray, count: float, place: Place) -> np.ndarray:
    """Dots that flash: each frame has others."""
    draw, drawn = _draw(place, of_frame=True), frame.copy()
    height, width = frame.shape[:2]
    for _ in range(int(count)):
        centre = int(draw.integers(0, width)), int(draw.integers(0, height))
        cv2.circle(drawn, centre, max(1, min(height, width) // 50), draw.integers(0, 256, 3).tolist(), cv2.FILLED)
    return drawn


CHANGES: dict[str, ChangeFrame] = {
    change.__name__: change
    for change in (scale, shorter_side, crop, blur, noise, brightness, contrast, grey, flip, rotate, text, shapes, dots)
}


def _draw(place: Place, *, of_frame: bool = False) -> np.random.Generator:
    digest = hashlib.sha256(place.video.encode(errors="surrogateescape")).digest()
    return np.random.default_rng((int.from_bytes(digest[:8]), *([place.index] if of_frame else [])))


def _by_table(frame: np.ndarray, values: np.ndarray) -> np.ndarray:
    return cv2.LUT(frame, _to_uint8(values))


def _to_uint8(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
