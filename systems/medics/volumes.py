"""Faces as components of a 3D mask: the boxes of frames sampled at a fixed step, one slice of cells for each frame.

A face that moves little from one sampled frame to the next marks cells that touch, and so becomes one component. A
volume is bool (rows, height, width): a row is a sampled frame, a cell a square of pixels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

FRAME_STEP = 10  # from one sampled frame to the next
_TOUCHING = np.ones((3, 3, 3))  # 26 neighbours: cells that touch at a corner belong together

Boxes = np.ndarray | Sequence[Sequence[float]] | None


@dataclass(frozen=True, kw_only=True)
class Component:
    """Cells that touch. `bounds` are slices of the volume for row, y and x; `mask` is bool, of the size of these."""

    bounds: tuple[slice, slice, slice]
    mask: np.ndarray

    @property
    def rows(self) -> range:
        """The sampled frames in which the face is: all from the first to the last."""
        return range(self.bounds[0].start, self.bounds[0].stop)


def cell_boxes(boxes: Boxes, cell: int, to_whole: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Boxes (n, 4), x1 y1 x2 y2, as int64 cells of `cell` pixels; of each the last column and row are not included.

    The published code let negative coordinates count from the far end, where the box vanished; here they are 0.
    Raises ValueError where boxes are of another shape or not finite.
    """
    if boxes is None or len(boxes) == 0:
        return np.zeros((0, 4), np.int64)
    array = np.asarray(boxes, np.float32)
    if array.ndim != 2 or array.shape[1] != 4 or not np.isfinite(array).all():
        raise ValueError(f"boxes of shape {array.shape}: give finite numbers (n, 4), x1 y1 x2 y2, or None for no face")
    return np.maximum(to_whole(array / cell), 0).astype(np.int64)


def volume_of(cells: Sequence[np.ndarray], height: int, width: int) -> np.ndarray:
    """Mark the boxes of each row, given in cells. What lies beyond the right or lower edge is cut off."""
    volume = np.zeros((len(cells), height, width), bool)
    for marked, row in zip(volume, cells, strict=True):
        for x1, y1, x2, y2 in row:
            marked[y1:y2, x1:x2] = True
    return volume


def fill_missing_rows(volume: np.ndarray) -> None:
    """A row without any face, but for the first one, gets the cells that both its neighbours have; in place, in order.

    After the last row nothing is marked, so that this one stays empty, as do two missing rows in sequence.
    """
    for row in range(1, len(volume) - 1):
        if not volume[row].any():
            volume[row] = volume[row - 1] & volume[row + 1]


def components_of(volume: np.ndarray) -> list[Component]:
    """The components of a volume, in the order of their first cells by row, y and x."""
    if not volume.any():  # SciPy finds no objects in an array without elements
        return []
    labels, _ = ndimage.label(volume, structure=_TOUCHING)
    return [
        Component(bounds=bounds, mask=labels[bounds] == number)
        for number, bounds in enumerate(ndimage.find_objects(labels), start=1)
    ]
