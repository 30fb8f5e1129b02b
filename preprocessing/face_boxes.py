"""The faces of every tenth frame, by which The Medics' stages cut: searched once for each video, and kept.

    DATA_ROOT/rois/<id>.boxes.json
        {"video": [bytes, time of change], "search": {...}, "boxes": [[[x1, y1, x2, y2], ...] or null, ...]}

An entry of `boxes` for each of frames 0, 10, ... of the first 300, in pixels of the frame at half its size. `video` and
`search` say of which file they are and how they were found: where either is another now, they are searched again.
"""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from faces.video import READER, Frame, HeldFrame, in_chunks, iter_all_frames
from runtime import limits
from runtime.errors import ItemError
from runtime.files import file_identity, open_folder, parse_json
from systems.medics.clips import CHUNK, FRAMES_WITH_BOXES
from systems.medics.volumes import FRAME_STEP

FOLDER = "rois"
THRESHOLDS = (0.6, 0.7, 0.7)
SEARCH = {"thresholds": list(THRESHOLDS), "factor": 0.709, "scale": "half", "frame_step": FRAME_STEP, "reader": READER}
_MOST_ROWS = FRAMES_WITH_BOXES // FRAME_STEP
_MOST_SIDE = 1 << 20  # pixels

Row = list[list[float]] | None
Image = TypeVar("Image", np.ndarray, HeldFrame)


class BoxFinder:
    """The boxes of videos: from `given`, a folder of such files, or kept in the data root, or searched and kept there.

    The detector is loaded when it is first needed. With `again` what is kept is not looked at.
    """

    def __init__(self, root: Path, given: Path | None, *, device: str, local_rank: int, again: bool = False):
        self._root, self._given, self._again = root, given, again
        self._device, self._local_rank = device, local_rank

    def boxes_of(self, video_id: str, path: str, work: Path) -> list[Row]:
        """The rows of a video. `work` is an empty place for files on the data root's file system. Raises ItemError."""
        boxes = self.known(video_id, path)
        if boxes is None:
            boxes = []
            frames = iter_all_frames(path, searched_frames)
            if searched_frames(frames.look().frame_count):
                for _, part in by_chunk(of_one_size(path, frames)):
                    boxes += self.search(part)
            self.keep(video_id, path, boxes, work)
        return boxes

    def known(self, video_id: str, path: str) -> list[Row] | None:
        """The rows that were given or kept; None where they have to be searched. Raises ItemError."""
        if self._given:
            return _read(boxes_file(self._given, video_id))["boxes"]
        kept = boxes_file(self._root / FOLDER, video_id)
        if self._again or not os.path.lexists(kept):
            return None
        record, found_in = _read(kept), _found_in(path)
        return record["boxes"] if {key: record.get(key) for key in found_in} == found_in else None

    def keep(self, video_id: str, path: str, boxes: Sequence[Row], work: Path) -> None:
        """Put the rows where `known` finds them."""
        file = work / f"{video_id}.boxes.json"
        file.write_text(json.dumps({**_found_in(path), "boxes": boxes}))
        with open_folder(self._root, FOLDER, make=True) as folder:
            os.replace(file, file.name, dst_dir_fd=folder)

    def search(self, frames: Iterable[Frame]) -> list[Row]:
        """The rows of the searched frames of a chunk: how many the detector gets at a time moves what it finds by a
        rounding, so it is the same for whoever asks."""
        rows: list[Row] = []
        halves = ((index, _half(frame)) for index, frame in frames)
        for some in in_chunks(halves, self._detector.best_batch):
            found = self._detector.detect([half for _, half in some])
            rows += [faces.bboxes.tolist() or None for faces in found]
        return rows

    @cached_property
    def _detector(self):
        from faces.face_detector import FacenetDetector  # takes seconds to import: only where it is used

        return FacenetDetector.of_a_worker(self._device, self._local_rank, thresholds=THRESHOLDS, scale="full")


def by_chunk(frames: Iterable[tuple[int, Image]]) -> Iterator[tuple[int, Iterator[tuple[int, Image]]]]:
    """(chunk, its frames) for frames in ascending order."""
    return groupby(frames, lambda frame: frame[0] // CHUNK)


def _found_in(path: str) -> dict:
    return {"video": list(file_identity(path) or ()), "search": SEARCH}


def searched_frames(frame_count: int) -> range:
    """The frames in which faces are searched. A last one that has fewer than ten to stand for is none of them."""
    rows = min(frame_count // FRAME_STEP, _MOST_ROWS)
    return range(0, rows * FRAME_STEP, FRAME_STEP)


def _half(frame: np.ndarray) -> np.ndarray:
    """By OpenCV, as published: the detector's own half size is Pillow's."""
    height, width = frame.shape[:2]
    return cv2.resize(frame, (max(width // 2, 1), max(height // 2, 1)))


def boxes_file(folder: Path, video_id: str) -> Path:
    return folder / f"{video_id}.boxes.json"


def of_one_size(
    path: str, frames: Iterable[tuple[int, Image]], shape: tuple[int, ...] | None = None
) -> Iterator[tuple[int, Image]]:
    """The frames as they come, of a `shape`, or of the first one's. Raises ItemError for one of another: the boxes
    would be elsewhere in it."""
    for index, frame in frames:
        shape = shape or frame.shape
        if frame.shape != shape:
            before, after = (f"{width}x{height}" for height, width, _ in (shape, frame.shape))
            raise ItemError(
                f"{path}: changes its size from {before} to {after} by frame {index}; encode it at one size"
            )
        yield index, frame


def check_rows(path: str, boxes: Sequence[Row], frame_count: int) -> None:
    """Raises ItemError where the boxes can't be those of a video of so many frames."""
    expected = len(searched_frames(frame_count))
    if len(boxes) != expected:
        raise ItemError(
            f"{path}: the boxes given are of {len(boxes)} frames, and {expected} of its {frame_count} are searched: "
            "they are another video's"
        )


def _read(path: Path) -> dict:
    """Raises ItemError."""
    return parse_json(
        path,
        limits.BOXES,
        ItemError,
        unreadable="no boxes ({}); name the folder that has them by --boxes",
        damaged="is damaged, or holds no boxes ({}); remove it",
        parse=_checked,
    )


def _checked(record: dict) -> dict:
    rows = record["boxes"]
    if not isinstance(rows, list) or len(rows) > _MOST_ROWS:
        raise ValueError(f"must have boxes of {_MOST_ROWS} frames at most")
    for row in rows:
        if row not in (None, []) and (np.shape(row)[1:] != (4,) or not (np.abs(row) < _MOST_SIDE).all()):
            raise ValueError("a box is not four numbers of pixels")
        if row and len(row) > limits.FACES:
            raise ValueError(f"{len(row)} faces in a frame, over the limit of {limits.FACES}")
    return record
