"""Mini videos, what the 2D network is trained on: 50 frames in which a square follows the face.

First a plan is made from the boxes alone, then frames are read in ascending order, and none of them is kept.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from systems.medics.clips import FRAMES_WITH_BOXES, SIZE
from systems.medics.squares import first_and_last_cells, held, side_of, squares_of
from systems.medics.volumes import FRAME_STEP, Boxes, cell_boxes, components_of, fill_missing_rows, volume_of

LENGTH = 50  # frames
_MOST_FACES = 2
_CELL = 8  # full-frame pixels; boxes are of the frame at half size, where a cell has 4


@dataclass(frozen=True, kw_only=True)
class MiniVideoPlan:
    """One face of a mini video that begins at frame `start`. `side` of the square in full-frame pixels; `squares` int64
    (frames, 4), x1 y1 x2 y2 in full-frame pixels, right and lower edge not included; `rows_with_face` of all rows."""

    face: int
    start: int
    side: int
    squares: np.ndarray
    rows_with_face: range

    @property
    def video_frames(self) -> range:
        """The mini video's frames, counted from the video's beginning."""
        return range(self.start, self.start + len(self.squares))

    def file_name(self, part: int | str, video: str) -> str:
        """The published name; `part` is the number of the video's part, or its name where it has none, and `video` the
        video's own file name."""
        number = f"{part:02d}" if isinstance(part, int) else part
        return f"{number}_{video.removesuffix('.mp4')}_{self.face}.mp4"


def draw_start(frame_count: int, generator: np.random.Generator) -> int:
    """Where a mini video begins: uniform, so that 50 frames fit in those that have boxes."""
    return int(generator.integers(max(min(frame_count, FRAMES_WITH_BOXES) - LENGTH, 1)))


def plan_mini_videos(
    boxes: Sequence[Boxes], *, start: int, width: int, height: int, exact: bool = False
) -> list[MiniVideoPlan]:
    """The mini videos of a video, one for each of its first two faces that is there from `start` on.

    `boxes`: for frames 0, 10, ... the faces (n, 4), x1 y1 x2 y2, in pixels of the frame at half size, or None; a fake
    takes those of its original. Rows without the face take the nearest's box. Published squares repeat each row and end
    9 frames early (see `squares_of`), so that starts near the end give fewer frames, 41 at least; `exact` mends both.
    """
    volume = volume_of([cell_boxes(row, _CELL // 2, np.trunc) for row in boxes], height // _CELL, width // _CELL)
    fill_missing_rows(volume)
    plans = []
    for face, component in enumerate(components_of(volume)[:_MOST_FACES]):
        rows = component.rows
        everywhere = len(rows) == len(boxes)
        in_time = rows[0] <= start // FRAME_STEP and rows[-1] >= start // FRAME_STEP + LENGTH // FRAME_STEP
        if not everywhere and not in_time:
            continue
        pixels = _pixels(first_and_last_cells(component), height // _CELL, width // _CELL)
        row_boxes = held(pixels, rows, len(boxes))
        squares = squares_of(row_boxes, width=width, height=height, exact=exact)[start : start + LENGTH]
        if len(squares):
            plans.append(
                MiniVideoPlan(face=face, start=start, side=side_of(row_boxes), squares=squares, rows_with_face=rows)
            )
    return plans


def cut_mini_videos(
    plans: Sequence[MiniVideoPlan], frames: Iterable[tuple[int, np.ndarray]]
) -> Iterator[tuple[MiniVideoPlan, np.ndarray]]:
    """(plan, picture) for each picture of each mini video, frame after frame; pictures are uint8 (h, w, 3), of one size
    for each plan, 256 x 256 at most.

    `frames` are (index, uint8 RGB (height, width, 3)) in ascending order, of which those that are not needed may be
    left out.
    """
    for index, frame in frames:
        for plan in plans:
            if index in plan.video_frames:
                x1, y1, x2, y2 = plan.squares[index - plan.start]
                yield plan, _shrunk(frame[y1:y2, x1:x2])


def _pixels(corners: np.ndarray, height: int, width: int) -> np.ndarray:
    """First and last pixels, both included, of first and last cells (rows, 4) in a volume of `height` by `width`."""
    (first_x, last_x), (first_y, last_y) = _edges(width), _edges(height)
    x1, y1, x2, y2 = corners.T
    return np.stack([first_x[x1], first_y[y1], last_x[x2], last_y[y2]], axis=1)


def _edges(cells: int) -> tuple[np.ndarray, np.ndarray]:
    """The first and the last pixel of each cell, where `cells` are enlarged by nearest neighbour with corners aligned:
    the outer cells become half as large."""
    pixels = np.arange(_CELL * cells)
    cell_of = np.rint(pixels * (cells - 1) / (len(pixels) - 1)).astype(np.int64)
    numbers = np.arange(cells)
    return np.searchsorted(cell_of, numbers, "left"), np.searchsorted(cell_of, numbers, "right") - 1


def _shrunk(picture: np.ndarray) -> np.ndarray:
    """Larger pictures to 256 pixels, linearly, with the corners aligned, rounded; smaller ones stay."""
    height, width = (min(side, SIZE) for side in picture.shape[:2])
    if (height, width) == picture.shape[:2]:
        return picture
    import torch  # takes seconds to import: only where it is used

    channels = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].double()
    resized = torch.nn.functional.interpolate(channels, (height, width), mode="bilinear", align_corners=True)
    return (resized[0] + 0.5).byte().permute(1, 2, 0).contiguous().numpy()
