"""Squares of one size that follow a face from frame to frame: what the 2D network sees."""

from collections.abc import Sequence

import numpy as np

from systems.medics.volumes import FRAME_STEP, Component

_ENLARGED = 1.2  # the square's side, as a multiple of what nine tenths of the face's widths and heights keep within


def first_and_last_cells(component: Component) -> np.ndarray:
    """Int64 (rows, 4) for the component's rows: x and y of its first and of its last cell in reading order, in cells of
    the volume."""
    _, ys, xs = component.bounds
    corners = []
    for mask in component.mask:
        marked = np.flatnonzero(mask)
        (y1, y2), (x1, x2) = np.unravel_index(marked[[0, -1]], mask.shape)
        corners.append((x1 + xs.start, y1 + ys.start, x2 + xs.start, y2 + ys.start))
    return np.array(corners, np.int64)


def side_of(row_boxes: np.ndarray) -> int:
    """The side in pixels, an even number and 2 at least, for boxes (rows, 4)."""
    sizes = row_boxes[:, 2:] - row_boxes[:, :2]
    return max(int(_ENLARGED * np.percentile(sizes, 90)) // 2 * 2, 2)


def squares_of(row_boxes: np.ndarray, *, width: int, height: int, exact: bool = False) -> np.ndarray:
    """Int64 (frames, 4), x1 y1 x2 y2 of a square for each frame, right and lower edge not included, within the picture.

    `row_boxes` (rows, 4) are the face's boxes in the sampled frames, in pixels of a picture `width` by `height`.
    Published: an interval between two rows becomes 10 squares with both its ends among them, so that each row is
    repeated and the last row has one square only: 10 * (rows - 1) in all. `exact`: frame f lies at row f / 10, and the
    last row is held, 10 * rows in all. A square larger than the picture is cut (published: garbage).
    """
    half = side_of(row_boxes) // 2
    centres = _interpolated((row_boxes[:, :2] + row_boxes[:, 2:]) / 2, exact).astype(np.int64)
    limits = np.array([width, height])
    corners = centres - half
    corners -= np.minimum(corners, 0)
    corners -= np.maximum(corners + 2 * half - limits, 0)
    return np.concatenate([np.maximum(corners, 0), np.minimum(corners + 2 * half, limits)], axis=1)


def _interpolated(points: np.ndarray, exact: bool) -> np.ndarray:
    if exact:
        after, divisor = np.concatenate([points[1:], points[-1:]]), FRAME_STEP
        before = points
    else:
        before, after, divisor = points[:-1], points[1:], FRAME_STEP - 1
    weights = (np.arange(FRAME_STEP) / divisor)[None, :, None]
    return (before[:, None] + (after - before)[:, None] * weights).reshape(-1, 2)


def held(row_boxes: np.ndarray, present: Sequence[int], rows: int) -> np.ndarray:
    """Boxes (rows, 4) of all rows, given those of the `present` ones, consecutive: the others take the nearest's."""
    return row_boxes[np.clip(np.arange(rows), present[0], present[-1]) - present[0]]
