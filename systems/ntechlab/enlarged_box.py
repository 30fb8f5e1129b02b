"""The rectangle of pixels around a face that is cut out of a frame: half as large again as the box."""

from collections.abc import Sequence

_ENLARGED = 1.5  # times each side of the box

Corners = tuple[int, int, int, int]  # x1, y1, x2, y2 in pixels, the last two exclusive


def enlarged_box(bbox: Sequence[float], width: int, height: int) -> Corners:
    """A box x1 y1 x2 y2 in pixels, enlarged about its centre, truncated towards zero, and cut at a frame's edges.

    Sides are subtracted in the type of the coordinates, and the rest is computed in double precision: what NumPy 1 made
    of single-precision coordinates at inference, and Python of its floats in training. The rectangle may be empty.
    """
    x1, x2 = _enlarged(bbox[0], bbox[2])
    y1, y2 = _enlarged(bbox[1], bbox[3])
    return _within(x1, width), _within(y1, height), _within(x2, width), _within(y2, height)


def is_empty(corners: Corners) -> bool:
    """Whether a rectangle holds no pixel."""
    x1, y1, x2, y2 = corners
    return x2 <= x1 or y2 <= y1


def _enlarged(start: float, end: float) -> tuple[float, float]:
    side = float(end - start)
    enlarged_start = float(start) + side / 2 - side * _ENLARGED / 2
    return enlarged_start, enlarged_start + side * _ENLARGED


def _within(coordinate: float, side: int) -> int:
    return min(max(int(coordinate), 0), side)
