"""Pictures in face units that are put into frames: lit, moved with the head, bent by what the face does."""

from dataclasses import dataclass

import cv2
import numpy as np

from preprocessing.made_geometry import CENTRE, EYES, MIDDLE, MOUTH, Box, Bump


@dataclass(frozen=True, kw_only=True)
class Expression:
    """How far the face is turned and nods, in face units, and shuts mouth and eyes, 1 being as good as shut."""

    yaw: float
    nod: float
    mouth: float
    eyes: float


class Layer:
    """A picture in face units that is put into frames, lit from the left, from the right or between.

    `paint(xs, ys)` returns RGB (h, w, 3), 0 to 255, and opacity (h, w), 0 to 1, at places in face units. `detail` is in
    pixels to a face unit; with `oversampling` it is painted so much larger and averaged.
    """

    def __init__(self, box: Box, detail: float, paint, oversampling: int = 1):
        left, top, right, bottom = box
        width, height = round((right - left) * detail), round((bottom - top) * detail)
        xs, ys = _grid(box, width * oversampling, height * oversampling)
        image, alpha = paint(xs, ys)
        picture = np.dstack([np.clip(image, 0, 255), 255 * alpha]).astype(np.float32)
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
        picture[..., :3] *= picture[..., 3:] / 255  # premultiplied: no fringe where it is interpolated
        xs, ys = _grid(box, width, height)
        ramp = np.tanh((xs - MIDDLE) / 60)
        self._lit = lit_pair(picture, ramp, 0.3)
        x_detail, y_detail = width / (right - left), height / (bottom - top)
        self._to_face = np.array([[1 / x_detail, 0, left + 0.5 / x_detail], [0, 1 / y_detail, top + 0.5 / y_detail]])
        self._places = [np.ascontiguousarray(plane) for plane in np.indices((height, width), np.float32)[::-1]]
        turn, mouth, eyes = _gestures(xs, ys)
        self._gestures = [turn * x_detail, turn * y_detail, mouth * y_detail, eyes * y_detail]

    def show(
        self,
        frame: np.ndarray,
        pose: np.ndarray,
        light: float,
        expression: Expression | None = None,
        tint: np.ndarray | None = None,
        opacity: float = 1.0,
    ) -> None:
        """Put it into `frame`, uint8 (h, w, 3), in place. `tint` is a factor for each channel."""
        picture = cv2.addWeighted(self._lit[0], 1 - light, self._lit[1], light, 0)
        picture = self._moved(picture, expression)
        if tint is not None:
            picture = cv2.multiply(picture, (*(tint * opacity), opacity))
        _overlay(frame, picture, self._matrix(pose))

    def cover(self, mask: np.ndarray, pose: np.ndarray, expression: Expression | None = None) -> None:
        """Draw white, into `mask`, uint8 (h, w, 3), in place, where it hides what is behind it."""
        picture = np.repeat(self._lit[0][..., 3:], 4, axis=2)
        _overlay(mask, self._moved(picture, expression), self._matrix(pose))

    def _moved(self, picture: np.ndarray, expression: Expression | None) -> np.ndarray:
        if expression is None:
            return picture
        return cv2.remap(picture, *self._places_of(expression), cv2.INTER_LINEAR)

    def _matrix(self, pose: np.ndarray) -> np.ndarray:
        """From the picture's pixels to the frame's, float64 (2, 3)."""
        matrix = pose[:, :2] @ self._to_face
        matrix[:, 2] += pose[:, 2]
        return matrix

    def _places_of(self, expression: Expression) -> tuple[np.ndarray, np.ndarray]:
        """From where each pixel is taken, float32 x (h, w) and y (h, w)."""
        xs, ys = self._places
        turn, nod, mouth, eyes = self._gestures
        xs = cv2.scaleAdd(turn, expression.yaw, xs)
        ys = cv2.scaleAdd(nod, expression.nod, ys)
        return xs, cv2.scaleAdd(eyes, expression.eyes, cv2.scaleAdd(mouth, expression.mouth, ys))


def _gestures(xs: np.ndarray, ys: np.ndarray) -> list[np.ndarray]:
    """How places in the face move, in face units: by turning it (in x, and as much in y by nodding), by shutting the
    mouth (in y), by shutting the eyes (in y). float32 (h, w) each."""
    turn, _ = Bump(centre=CENTRE, sigma=(36, 46), shift=(-1, 0)).at(xs, ys)
    _, mouth = Bump(centre=MOUTH, sigma=(19, 9), stretch=(0, 1)).at(xs, ys)
    _, jaw = Bump(centre=(MIDDLE, 160), sigma=(30, 12), shift=(0, 2)).at(xs, ys)
    eyes = sum(Bump(centre=eye, sigma=(12, 5), stretch=(0, 1)).at(xs, ys)[1] for eye in EYES)
    return [np.float32(turn), np.float32(mouth + jaw), np.float32(eyes)]


def lit_pair(picture: np.ndarray, ramp: np.ndarray, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """A picture, (h, w, 3 or 4), lit from the left and from the right, uint8. `ramp` is -1 on the left, 1 on the right.

    Between the two frames are mixed: light that moves, for the price of a sum.
    """
    pair = []
    for side in (-1, 1):
        lit = picture.copy()
        lit[..., :3] *= 1 + side * strength * np.broadcast_to(ramp, picture.shape[:2])[..., None]
        pair.append(np.rint(lit).clip(0, 255).astype(np.uint8))
    return pair[0], pair[1]


def _overlay(frame: np.ndarray, picture: np.ndarray, matrix: np.ndarray) -> None:
    """Put a premultiplied RGBA picture, uint8, into a frame in place, its pixels moved by `matrix`, (2, 3)."""
    height, width = picture.shape[:2]
    corners = matrix @ np.array([(0, 0, 1), (width, 0, 1), (0, height, 1), (width, height, 1)]).T
    left, top = np.maximum(np.floor(corners.min(axis=1)).astype(int), 0)
    right, bottom = np.minimum(np.ceil(corners.max(axis=1)).astype(int) + 1, frame.shape[1::-1])
    if left >= right or top >= bottom:
        return
    matrix = matrix - [[0, 0, left], [0, 0, top]]
    moved = cv2.warpAffine(picture, matrix, (int(right - left), int(bottom - top)), flags=cv2.INTER_LINEAR)
    window = frame[top:bottom, left:right]
    through = cv2.cvtColor(255 - moved[..., 3], cv2.COLOR_GRAY2RGB)
    below = cv2.multiply(window, through, scale=1 / 255)
    cv2.add(below, cv2.cvtColor(moved, cv2.COLOR_RGBA2RGB), dst=below)
    window[...] = below


def _grid(box: Box, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Face units, float32 x (h, w) and y (h, w), of the middles of the pixels that cover a box."""
    left, top, right, bottom = box
    xs = left + (np.arange(width, dtype=np.float32) + 0.5) * ((right - left) / width)
    ys = top + (np.arange(height, dtype=np.float32) + 0.5) * ((bottom - top) / height)
    return np.meshgrid(xs, ys)
