"""Our files of tracks, JSON: of a video what was found in it, and one of all aligned tracks.

    face_tracks/<part>/<video>.mp4.json
        {"width": 1280, "height": 720, "frames": 338, "detections": [{"frame": 0, "boxes": [[x1, y1, x2, y2], ...],
        "scores": [0.99, ...]}, ...], "tracks": [{"start": 3, "boxes": [[x1, y1, x2, y2], ...]}, ...]}
    aligned_tracks.json
        {"sizes": {"part/video.mp4": [width, height], ...}, "aligned": [{"real": "part/video.mp4", "fake":
        "part/video.mp4", "start": 3, "real_boxes": [[x1, y1, x2, y2], ...], "fake_boxes": [...]}, ...]}

Tracks start at a detection, counted from 0. Coordinates are single-precision numbers in pixels of the full frame,
written with as many digits as tell them apart.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from runtime import limits
from runtime.errors import InputError, ItemError
from runtime.files import parse_json, write_json
from systems.ntechlab.alignment import AlignedTrack
from systems.ntechlab.detections import RecordedDetections, parse_recorded, whole
from systems.ntechlab.tracking import BBox, Track, check_crowd

FOLDER = "face_tracks"  # in the data root
FORMATS = ("json", "published")
_MOST_BYTES = 4096 * limits.MIB  # the whole DFDC's aligned tracks have about a tenth

Size = tuple[int, int]  # width and height, pixels


@dataclass(frozen=True, kw_only=True)
class FaceTracks:
    """What was found in a video, and its faces that were followed."""

    recorded: RecordedDetections
    tracks: Sequence[Track]

    @property
    def size(self) -> Size:
        return self.recorded.width, self.recorded.height


def face_tracks_text(found: FaceTracks) -> str:
    """The content of a file of a video's tracks."""
    recorded = found.recorded
    return json.dumps(
        {
            "width": recorded.width,
            "height": recorded.height,
            "frames": recorded.frame_count,
            "detections": [
                {"frame": frame, "boxes": _short(each.bboxes), "scores": _short(each.scores)}
                for frame, each in zip(recorded.frames, recorded.detections, strict=True)
            ],
            "tracks": [{"start": track.start, "boxes": _short(track.bboxes)} for track in found.tracks],
        }
    )


def read_face_tracks(path: str | os.PathLike) -> FaceTracks:
    """A file of a video's tracks. Raises ItemError."""
    return parse_json(
        path,
        limits.BOXES,
        ItemError,
        unreadable="no tracks ({}); run detect_tracks.py",
        damaged="is damaged ({}); delete it and run detect_tracks.py",
        parse=_face_tracks,
    )


def write_aligned_tracks(
    path: str | os.PathLike, aligned: Iterable[AlignedTrack], sizes: Mapping[str, Size], root: str | os.PathLike
) -> None:
    """Write aligned tracks and the sizes of their videos' frames, whole or not at all, through no link below `root`.
    Raises OutputError."""
    tracks = [
        {
            "real": track.real,
            "fake": track.fake,
            "start": track.start,
            "real_boxes": _short(track.real_bboxes),
            "fake_boxes": _short(track.fake_bboxes),
        }
        for track in aligned
    ]
    remedy = "free some space, and see that the data root can be written"
    write_json(path, {"sizes": sizes, "aligned": tracks}, remedy, root=root)


def read_aligned_tracks(path: str | os.PathLike) -> tuple[list[AlignedTrack], dict[str, Size]]:
    """Aligned tracks and the sizes of their videos. Raises InputError."""
    return parse_json(
        path,
        _MOST_BYTES,
        InputError,
        unreadable="can't be read ({}); run align_tracks.py",
        damaged="is damaged ({}); delete it and run align_tracks.py",
        parse=_aligned_tracks,
    )


def _face_tracks(content: dict) -> FaceTracks:
    tracks = [Track(start=whole(each["start"]), bboxes=_boxes(each["boxes"])) for each in content["tracks"]]
    check_crowd(tracks)
    return FaceTracks(recorded=parse_recorded(content), tracks=tracks)


def _aligned_tracks(content: dict) -> tuple[list[AlignedTrack], dict[str, Size]]:
    sizes = {video: _size(size) for video, size in content["sizes"].items()}
    return [_aligned(each, sizes) for each in content["aligned"]], sizes


def _aligned(entry: dict, sizes: Mapping[str, Size]) -> AlignedTrack:
    real, fake, start = entry["real"], entry["fake"], whole(entry["start"])
    real_bboxes, fake_bboxes = _boxes(entry["real_boxes"]), _boxes(entry["fake_boxes"])
    if real not in sizes or fake not in sizes:
        raise ValueError(f"no size of {real!r:.40} or {fake!r:.40}")
    if len(real_bboxes) != len(fake_bboxes):
        raise ValueError(f"{len(real_bboxes)} and {len(fake_bboxes)} boxes in a track")
    return AlignedTrack(real=real, fake=fake, start=start, real_bboxes=real_bboxes, fake_bboxes=fake_bboxes)


def _size(value: Sequence[int]) -> Size:
    width, height = map(whole, value)
    return width, height


def _short(numbers: np.ndarray | Sequence) -> list:
    """Single-precision numbers with the fewest digits that tell each from its neighbours."""
    numbers = np.asarray(numbers, np.float32)
    return np.array([float(str(number)) for number in numbers.ravel()]).reshape(numbers.shape).tolist()


def _boxes(values: Sequence) -> list[BBox]:
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is told
        boxes = np.asarray(values, np.float32)
    if not len(boxes) or boxes.shape[1:] != (4,) or not np.isfinite(boxes).all():
        raise ValueError("a track without boxes, or a box that is not four numbers")
    return [tuple(box) for box in boxes.astype(np.float64).tolist()]
