"""Face clips, what the 3D networks are trained on: one box that stands still through time, every frame, 256 x 256.

First a plan is made from the boxes alone, then frames are read in ascending order, and none of them is kept.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from faces.video import HeldFrame
from systems.medics.volumes import FRAME_STEP, Boxes, Component, cell_boxes, components_of, fill_missing_rows, volume_of

SIZE = 256  # side of every picture of a clip, pixels
CHUNK = 150  # frames
MOST_CHUNKS = 2
FRAMES_WITH_BOXES = CHUNK * MOST_CHUNKS
LEAST_ROWS = 4  # sampled frames that a face must be seen in
SHORTEST = 64  # frames; shorter clips the published scripts did not train on
_CELL = 8  # full-frame pixels; boxes are of the frame at half size, where a cell has 4


@dataclass(frozen=True, kw_only=True)
class ClipPlan:
    """One face in one chunk of a video.

    `frames`: first, and the one after the last, counted from the chunk's beginning. `rows` and `cols`: first and last
    pixel of the full frame, both included; they may lie beyond its right and lower edge. `merged`: the most boxes that
    a sampled frame has of it; two are faces that touch, or one that was found twice.
    """

    chunk: int
    face: int
    frames: tuple[int, int]
    rows: tuple[int, int]
    cols: tuple[int, int]
    merged: int = 1

    @property
    def video_frames(self) -> range:
        """The clip's frames, counted from the video's beginning."""
        start = self.chunk * CHUNK
        return range(start + self.frames[0], start + self.frames[1])

    def file_name(self, video: str) -> str:
        """The published name; `video` is the video's own file name."""
        return f"{video}_{self.chunk}_{self.face}.mp4"


def plan_clips(
    boxes: Sequence[Boxes], *, frame_count: int, width: int, height: int, exact: bool = False
) -> list[ClipPlan]:
    """The clips of a video, by chunk and face.

    `boxes`: for frames 0, 10, ... the faces (n, 4), x1 y1 x2 y2, in pixels of the frame at half size, or None.
    `frame_count`, `width` and `height` are the video's. The published script loses the last frame of each clip and up
    to 7 pixels at the right and lower edge of its box; `exact` keeps them, and keeps the box in the frame.
    """
    rows = CHUNK // FRAME_STEP
    size = {"width": width, "height": height}
    return [
        plan
        for chunk in range(chunks_of(frame_count))
        for plan in plan_chunk(chunk, boxes[chunk * rows : (chunk + 1) * rows], **size, exact=exact)
    ]


def chunks_of(frame_count: int) -> int:
    """How many chunks of a video there are clips of."""
    return min(frame_count // CHUNK, MOST_CHUNKS)


def plan_chunk(chunk: int, boxes: Sequence[Boxes], *, width: int, height: int, exact: bool = False) -> list[ClipPlan]:
    """The clips of one chunk, by the boxes of its own frames; see `plan_clips`."""
    cells = [cell_boxes(row, _CELL // 2, np.round) for row in boxes]
    # the full frame's size where the boxes have half of it: parts beyond the right and lower edge count
    volume = volume_of(cells, height // (_CELL // 2), width // (_CELL // 2))
    fill_missing_rows(volume)
    kept = [each for each in components_of(volume) if len(each.rows) >= LEAST_ROWS and _is_inside(each, width, height)]
    plans = []
    for face, component in enumerate(kept):
        plan = _exact_plan(component, width, height) if exact else _published_plan(component)
        plans.append(ClipPlan(chunk=chunk, face=face, merged=_most_boxes(component, cells), **plan))
    return plans


def cut_clips(
    plans: Sequence[ClipPlan], frames: Iterable[tuple[int, np.ndarray | HeldFrame]]
) -> Iterator[tuple[ClipPlan, np.ndarray]]:
    """(plan, picture) for each picture of each clip, frame after frame; pictures are uint8 (256, 256, 3).

    `frames` are (index, uint8 RGB (height, width, 3)) in ascending order, or held ones, of which those that no clip
    needs may be left out.
    """
    for index, frame in frames:
        here = [plan for plan in plans if index in plan.video_frames]
        if isinstance(frame, HeldFrame):
            crops = frame.crops((plan.rows, plan.cols) for plan in here)
            yield from zip(here, map(picture_of, crops), strict=True)
        else:
            yield from ((plan, cut_face(frame, plan.rows, plan.cols)) for plan in here)


def cut_face(frame: np.ndarray, rows: tuple[int, int], cols: tuple[int, int]) -> np.ndarray:
    """The picture of a box, first and last row and column included. `frame` is uint8 (height, width, 3) in any colour
    order. Raises ValueError where nothing of the box lies in the frame."""
    crop = frame[rows[0] : rows[1] + 1, cols[0] : cols[1] + 1]
    if not crop.size:
        size = f"{frame.shape[1]}x{frame.shape[0]}"
        raise ValueError(f"rows {rows} and columns {cols} lie outside a frame of {size}: the plan is of another video")
    return picture_of(crop)


def picture_of(crop: np.ndarray) -> np.ndarray:
    """A box's pixels, black at the right or below up to a square, as uint8 (256, 256, 3)."""
    side = max(crop.shape[:2])
    square = np.zeros((side, side, 3))
    square[: crop.shape[0], : crop.shape[1]] = crop
    # in floats and cut off, not rounded, as published: half a level darker than OpenCV's resize of bytes
    return cv2.resize(square, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR).astype(np.uint8)


def _is_inside(component: Component, width: int, height: int) -> bool:
    """Whether any of it lies in the frame: the volume is larger, and a detector's boxes may be anywhere."""
    _, ys, xs = component.bounds
    return _CELL * ys.start < height and _CELL * xs.start < width


def _most_boxes(component: Component, cells: Sequence[np.ndarray]) -> int:
    """The most boxes that a row has in a component, in which each lies whole or not at all."""
    first, ys, xs = component.bounds
    most = 1  # a row that was filled has none
    for mask, row in zip(component.mask, cells[first], strict=True):
        inside = [
            mask[y1 - ys.start, x1 - xs.start]
            for x1, y1, x2, y2 in row
            if ys.start <= y1 < min(y2, ys.stop) and xs.start <= x1 < min(x2, xs.stop)
        ]
        most = max(most, sum(map(bool, inside)))
    return most


def _published_plan(component: Component) -> dict[str, tuple[int, int]]:
    rows, ys, xs = component.bounds
    return {
        "frames": (FRAME_STEP * rows.start, FRAME_STEP * rows.stop - 1),
        "rows": (_CELL * ys.start, _CELL * (ys.stop - 1)),
        "cols": (_CELL * xs.start, _CELL * (xs.stop - 1)),
    }


def _exact_plan(component: Component, width: int, height: int) -> dict[str, tuple[int, int]]:
    rows, ys, xs = component.bounds
    return {
        "frames": (FRAME_STEP * rows.start, FRAME_STEP * rows.stop),
        "rows": (_CELL * ys.start, min(_CELL * ys.stop, height) - 1),
        "cols": (_CELL * xs.start, min(_CELL * xs.stop, width) - 1),
    }
