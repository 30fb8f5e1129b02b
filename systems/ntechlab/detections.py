"""What a detector found in the frames of a video, and files of such: detections can come from elsewhere.

A file: {"video.mp4": {"width": 1280, "height": 720, "frames": 338, "detections": [{"frame": 0, "boxes": [[x1, y1, x2,
y2], ...], "scores": [0.99, ...]}, ...]}}, boxes in pixels of the full frame, an entry for each frame that was searched.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from faces.video_file import VideoError
from runtime import limits
from runtime.errors import InputError, ItemError
from runtime.files import parse_json

_LARGEST = 10**15  # of numbers of frames and pixels, which stand in names of folders
MOST_BYTES = 1024 * limits.MIB  # the whole DFDC's would have some 650 MB


@dataclass(frozen=True, kw_only=True)
class Detections:
    """The faces of one frame: bboxes float32 (n, 4), x1, y1, x2, y2 in pixels of the frame, which may lie outside it;
    scores float32 (n,), 0 to 1."""

    bboxes: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True, kw_only=True)
class RecordedDetections:
    """The detections of a video of `width` by `height` pixels and `frame_count` frames; `detections[i]` is frame
    `frames[i]`'s, ascending."""

    width: int
    height: int
    frame_count: int
    frames: Sequence[int]
    detections: Sequence[Detections]

    def at(self, video: str, searched: Iterable[int]) -> list[Detections]:
        """The detections of the frames `searched`. Raises ItemError, which names the video, where one is missing; those
        behind the last frame that was recorded are taken for frames without faces."""
        recorded = dict(zip(self.frames, self.detections, strict=True))
        last = self.frames[-1] if self.frames else -1
        found = []
        for frame in searched:
            if frame <= last and frame not in recorded:
                raise ItemError(
                    f"{video}: the recorded detections have no entry for frame {frame}; record them at the frames that "
                    "are searched here"
                )
            found.append(recorded.get(frame, NO_FACES))
        return found


NO_FACES = Detections(bboxes=np.zeros((0, 4), np.float32), scores=np.zeros(0, np.float32))


def read_recorded_detections(path: str | os.PathLike) -> dict[str, RecordedDetections]:
    """A file of recorded detections, by the name of the video. Raises InputError."""
    content = parse_json(
        path,
        MOST_BYTES,
        InputError,
        unreadable="can't be read ({}); name another file",
        damaged="is no JSON ({}); write it anew",
    )
    if not isinstance(content, dict):
        raise InputError(f"{os.fspath(path)}: holds no object of videos; write it anew")
    recorded = {}
    for video, entry in content.items():
        try:
            recorded[video] = parse_recorded(entry)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else error
            raise InputError(f"{os.fspath(path)}: {video}: no detections of a video ({reason}); mend it") from error
    return recorded


def find_recorded(
    recorded: Mapping[str, RecordedDetections], path: str | os.PathLike, size: tuple[int, int], searched: Iterable[int]
) -> list[Detections]:
    """The detections of the frames `searched` of a video, whose frames have a `size` of (width, height), in a file's
    by the names of videos. Raises VideoError where they are missing, or another video's."""
    video = Path(path).name
    if video not in recorded:
        raise VideoError(path, "has no recorded detections in the file of --detections")
    its = recorded[video]
    if (its.width, its.height) != size:
        told, is_ = f"{its.width}x{its.height}", "{}x{}".format(*size)
        raise VideoError(path, f"the recorded detections are of a video of {told}, and it has {is_}")
    try:
        return its.at(video, searched)
    except ItemError as error:
        raise VideoError(path, str(error)) from error


def checked(bboxes: object, scores: object) -> Detections:
    """Detections of what a file holds. Raises ValueError or TypeError for what are no numbers, or not of as many."""
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is told below
        bboxes, scores = np.asarray(bboxes, np.float32).reshape(-1, 4), np.asarray(scores, np.float32).reshape(-1)
    if len(bboxes) != len(scores):
        raise ValueError(f"{len(bboxes)} boxes and {len(scores)} scores in a frame")
    if len(bboxes) > limits.FACES:
        raise ValueError(f"{len(bboxes)} faces in a frame, over the limit of {limits.FACES}")
    if not (np.isfinite(bboxes).all() and np.isfinite(scores).all()):
        raise ValueError("coordinates or scores that are not finite")
    return Detections(bboxes=bboxes, scores=scores)


def parse_recorded(entry: dict) -> RecordedDetections:
    """The entry of one video. Raises KeyError, TypeError, ValueError or OverflowError for what is none."""
    frames = [whole(each["frame"]) for each in entry["detections"]]
    if frames != sorted(set(frames)):
        raise ValueError("frames that don't ascend")
    width, height, frame_count = (whole(entry[key]) for key in ("width", "height", "frames"))
    detections = [checked(each["boxes"], each["scores"]) for each in entry["detections"]]
    if frames and frames[-1] >= frame_count:
        raise ValueError(f"frame {frames[-1]} of {frame_count}")
    return RecordedDetections(width=width, height=height, frame_count=frame_count, frames=frames, detections=detections)


def whole(value: object) -> int:
    """A number of frames, pixels or detections. Raises ValueError for anything else."""
    if type(value) is not int or not 0 <= value < _LARGEST:
        raise ValueError(f"{value!r:.40} where a whole number should be")
    return value
