"""The files in which the published stages hand on their results: pickles of plain lists, tuples and dicts.

    detections/<part>/<video>.mp4/detections.pkl    [{"boxes": float32 (n, 4), "scores": float32 (n,)}, ...]
    tracks.pkl                                      {"part/video.mp4": [[(detection, box), ...], ...]}
    aligned_tracks.pkl                              [(real, fake, [(detection, real box, fake box), ...]), ...]
    track_pairs.txt                                 real folder,fake folder

Boxes are x1, y1, x2, y2 in pixels of the full frame; those of tracks are tuples of floats. A pickle can name any
function and have it called: what is read here may name NumPy's arrays alone, and is checked piece by piece.
"""

import io
import math
import os
import pickle
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from runtime import limits
from runtime.errors import InputError
from runtime.files import read_file, read_text, whole_file
from systems.ntechlab.alignment import AlignedTrack
from systems.ntechlab.detections import Detections, checked
from systems.ntechlab.tracking import BBox, Track, check_crowd

T = TypeVar("T")
Root = str | os.PathLike | None  # the data root that a file is written in, through no link below it
_MOST_BYTES = 1024 * limits.MIB  # aligned tracks of the DFDC's 100 thousand fakes, 50 boxes each, have about half
_PROTOCOL = 4
_REMEDY = "free some space or name another folder"
_TRACK_FOLDER = re.compile(r"(?!\.\.?/)[^/\0]+/(?!\.\.?$)[^/\0]+")  # of a part, and in it: leads nowhere else


def read_detections(path: str | os.PathLike) -> list[Detections]:
    """A `detections.pkl`. Raises InputError."""
    return _read(path, _detections)


def write_detections(path: str | os.PathLike, detections: Iterable[Detections], root: Root = None) -> None:
    """Write the detections of each searched frame, whole or not at all. Raises OutputError."""
    _write(
        path,
        [
            {"boxes": np.asarray(found.bboxes, np.float32), "scores": np.asarray(found.scores, np.float32)}
            for found in detections
        ],
        root,
    )


def read_tracks(path: str | os.PathLike) -> dict[str, list[Track]]:
    """A `tracks.pkl`. Raises InputError."""
    return _read(path, _tracks)


def write_tracks(path: str | os.PathLike, tracks: Mapping[str, Sequence[Track]], root: Root = None) -> None:
    """Write the tracks of videos `part/video.mp4`, whole or not at all. Raises OutputError."""
    _write(
        path,
        {
            video: [list(zip(track.indices, track.bboxes, strict=True)) for track in found]
            for video, found in tracks.items()
        },
        root,
    )


def read_aligned_tracks(path: str | os.PathLike) -> list[AlignedTrack]:
    """An `aligned_tracks.pkl`. Raises InputError."""
    return _read(path, _aligned_tracks)


def write_aligned_tracks(path: str | os.PathLike, aligned: Iterable[AlignedTrack], root: Root = None) -> None:
    """Write aligned tracks, whole or not at all. Raises OutputError."""
    _write(
        path,
        [
            (
                track.real,
                track.fake,
                [
                    (track.start + number, *bboxes)
                    for number, bboxes in enumerate(zip(track.real_bboxes, track.fake_bboxes, strict=True))
                ],
            )
            for track in aligned
        ],
        root,
    )


def read_track_pairs(path: str | os.PathLike) -> list[tuple[str, str]]:
    """A `track_pairs.txt`: pairs (original's folder, fake's folder), each <part>/<name>. Raises InputError."""
    try:
        lines = read_text(path, limits.LABELS).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{os.fspath(path)}: can't be read ({reason}); run extract_track_crops.py") from error
    pairs = []
    for number, line in enumerate(lines, start=1):
        folders = line.strip().split(",")
        if len(folders) != 2 or not all(folders):
            raise InputError(f"{os.fspath(path)}:{number}: not two folders with a comma between; remove the line")
        for folder in folders:
            if not _TRACK_FOLDER.fullmatch(folder):
                raise InputError(f"{os.fspath(path)}:{number}: {folder!r:.80} is no <part>/<folder>; remove the line")
        pairs.append((folders[0], folders[1]))
    return pairs


def write_track_pairs(path: str | os.PathLike, pairs: Iterable[tuple[str, str]], root: Root = None) -> None:
    """Write pairs (original's folder, fake's folder), a line each, whole or not at all. Raises OutputError."""
    with whole_file(path, _REMEDY, root=root) as temporary:
        temporary.write_text("".join(f"{real},{fake}\n" for real, fake in pairs))


def _empty_array(kind: Any, shape: tuple, code: bytes) -> np.ndarray:
    """What an array's state is put into afterwards; the state has its own shape, and bytes for all of it."""
    return np.empty(0, np.int8)


def _dtype(code: str, *flags: Any) -> np.dtype:
    dtype = np.dtype(code)
    if dtype.kind not in "biuf":
        raise pickle.UnpicklingError(f"it holds {dtype}")
    return dtype


def _scalar(dtype: np.dtype, data: bytes) -> float:
    return np.frombuffer(data, dtype).item()


def _array(data: bytes, dtype: np.dtype, shape: tuple, order: str) -> np.ndarray:
    return np.frombuffer(data, dtype).reshape(shape, order=order)


def _encoded(text: str, encoding: str) -> bytes:
    return text.encode("latin1")  # how protocol 2 writes bytes


# what arrays and scalars of NumPy 1 and 2 are made by, and what does it here
_NAMED = {
    "numpy.ndarray": "ndarray",
    "numpy.dtype": _dtype,
    "_codecs.encode": _encoded,
    "__builtin__.bytes": lambda: b"",  # protocol 2 has no other way to write an array without elements
    **{
        f"numpy.{core}.{name}": function
        for core in ("core", "_core")
        for name, function in {
            "multiarray._reconstruct": _empty_array,
            "multiarray.scalar": _scalar,
            "numeric._frombuffer": _array,
        }.items()
    },
}


class _PlainUnpickler(pickle.Unpickler):
    """Makes numbers, strings, lists, tuples, dicts and NumPy's arrays of numbers, and runs nothing of what is named."""

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" not in _NAMED:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return _NAMED[f"{module}.{name}"]


def _read(path: str | os.PathLike, parse: Callable[[Any], T]) -> T:
    try:
        data = read_file(path, _MOST_BYTES)
    except OSError as error:
        raise InputError(f"{os.fspath(path)}: can't be read ({error.strerror or error}); name another file") from error
    try:
        return parse(_PlainUnpickler(io.BytesIO(data)).load())
    except Exception as error:  # the unpickler fails in many ways on what is no pickle, and so does other content
        raise InputError(
            f"{os.fspath(path)}: refused, it is no published file of this kind ({error or type(error).__name__}); "
            "lists, dicts, numbers, strings and arrays may be in it. Get it from a source you trust, or make it anew"
        ) from error


def _write(path: str | os.PathLike, content: Any, root: Root) -> None:
    with whole_file(path, _REMEDY, root=root) as temporary:
        Path(temporary).write_bytes(pickle.dumps(content, _PROTOCOL))


def _detections(content: Any) -> list[Detections]:
    return [checked(_a(frame, dict)["boxes"], frame["scores"]) for frame in _a(content, list)]


def _tracks(content: Any) -> dict[str, list[Track]]:
    tracks = {}
    for video, found in _a(content, dict).items():
        tracks[_a(video, str)] = [
            Track(start=_start(entries, 2), bboxes=[_bbox(entry[1]) for entry in entries])
            for entries in _a(found, list)
        ]
        check_crowd(tracks[video])
    return tracks


def _aligned_tracks(content: Any) -> list[AlignedTrack]:
    return [
        AlignedTrack(
            real=_a(real, str),
            fake=_a(fake, str),
            start=_start(entries, 3),
            real_bboxes=[_bbox(entry[1]) for entry in entries],
            fake_bboxes=[_bbox(entry[2]) for entry in entries],
        )
        for real, fake, entries in _a(content, list)
    ]


def _a(value: Any, kind: type[T]) -> T:
    if not isinstance(value, kind):
        raise ValueError(f"a {type(value).__name__} where a {kind.__name__} should be")
    return value


def _start(entries: Any, width: int) -> int:
    """The first detection of a track, whose entries must be of consecutive ones, `width` values each."""
    if not _a(entries, list) or any(len(entry) != width for entry in entries):
        raise ValueError("a track without detections, or with other values at each")
    start = int(entries[0][0])
    if [int(entry[0]) for entry in entries] != list(range(start, start + len(entries))) or start < 0:
        raise ValueError("a track whose detections are not consecutive")
    return start


def _bbox(values: Any) -> BBox:
    x1, y1, x2, y2 = map(float, values)
    if not all(map(math.isfinite, (x1, y1, x2, y2))):
        raise ValueError("coordinates that are not finite")
    return x1, y1, x2, y2
