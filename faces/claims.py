"""What the tables of an MP4 claim, added up before FFmpeg makes room for it: a file of a kilobyte can claim a thousand
million samples, and FFmpeg fills an entry for each.

Other containers hold some bytes for each packet that they list. Sources: ISO/IEC 14496-12, 8.6.1.2 (stts), 8.6.6
(elst), 8.7.3 (stsz), 8.7.4 (stsc), 8.7.5 (stco), 8.8.8 (trun); FFmpeg's mov.c for what it makes of them.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

_PARENTS = frozenset(b"moov trak mdia minf stbl mvex moof traf edts udta dinf wave tref free skip".split())
_DEEPEST = 10  # levels of boxes, as FFmpeg goes
_MOST_BOXES = 2**23
_SOUND = b"soun"
_SOUND_SAMPLES = 1024  # of sound without compression that FFmpeg puts in one entry
_NO_EDITS = b"\xff\xff\xff\xff"  # as the time of an edit: nothing is shown


@dataclass(kw_only=True)
class _Track:
    """The claims of a track's tables."""

    samples: int = 0
    edits: int = 0
    chunks: int = 0
    runs: np.ndarray | None = None  # of chunks: the first of each, counted from 1, and the samples of a chunk; (n, 2)
    has_short_samples: bool = False  # each lasts one tick, as those of sound without compression do
    handlers: frozenset[bytes] = frozenset()

    @property
    def entries(self) -> int:
        """How many entries FFmpeg makes."""
        entries = self.samples
        if self.has_short_samples and self.handlers and b"vide" not in self.handlers and _SOUND in self.handlers:
            entries = self._entries_of_sound()
        return entries * max(self.edits, 1)  # each edit may show all samples again

    def _entries_of_sound(self) -> int:
        if self.runs is None or not len(self.runs):
            return 0
        firsts = np.append(self.runs[:, 0], self.chunks + 1)
        chunks = np.diff(np.minimum(firsts, self.chunks + 1)).clip(0)
        return int((chunks * np.ceil(self.runs[:, 1] / _SOUND_SAMPLES)).sum())


def claims(path: str) -> tuple[int, int]:
    """How many packets the tables of an MP4 list, all tracks together, and how many tracks it has; 0 for other files.
    Raises OSError."""
    tracks: list[_Track] = []
    in_fragments = 0
    with open(path, "rb", buffering=0) as file:
        for number, (kind, start, end) in enumerate(_boxes(file.fileno(), 0, os.fstat(file.fileno()).st_size)):
            if number >= _MOST_BOXES:
                return 2**62, len(tracks)
            if kind == b"trak":
                tracks.append(_Track())
            elif kind == b"trun":
                in_fragments += _number(file.fileno(), start + 4)
            elif kind in _TABLES and tracks:
                _TABLES[kind](tracks[-1], file.fileno(), start, end)
    return sum(track.entries for track in tracks) + in_fragments, len(tracks)


def _boxes(file: int, start: int, end: int, depth: int = 0) -> Iterator[tuple[bytes, int, int]]:
    """Each box and those in it: its kind, and where its content starts and ends."""
    while start + 8 <= end and depth < _DEEPEST:
        header = os.pread(file, 16, start)
        size, kind, content = int.from_bytes(header[:4], "big"), header[4:8], start + 8
        if size == 1:
            size, content = int.from_bytes(header[8:16], "big"), start + 16
        following = start + size if size else end
        if following < content:
            return
        yield kind, content, min(following, end)
        if kind in _PARENTS:
            yield from _boxes(file, content, min(following, end), depth + 1)
        start = following


def _number(file: int, at: int) -> int:
    return int.from_bytes(os.pread(file, 4, at), "big")


def _rows(file: int, start: int, end: int, width: int) -> np.ndarray:
    """The rows of a table of 32 bits each that are there, after flags and their number; int64 (n, width)."""
    count = max(min(_number(file, start + 4), (end - start - 8) // (4 * width)), 0)
    table = os.pread(file, 4 * width * count, start + 8)
    return np.frombuffer(table, ">u4", count=len(table) // (4 * width) * width).reshape(-1, width).astype(np.int64)


def _read_sizes(track: _Track, file: int, start: int, end: int) -> None:
    track.samples += _number(file, start + 8)


def _read_times(track: _Track, file: int, start: int, end: int) -> None:
    track.has_short_samples = os.pread(file, 4, start + 4) + os.pread(file, 4, start + 12) == b"\0\0\0\1" * 2


def _read_runs(track: _Track, file: int, start: int, end: int) -> None:
    track.runs = _rows(file, start, end, 3)[:, :2]


def _read_chunks(track: _Track, file: int, start: int, end: int) -> None:
    track.chunks = max(track.chunks, _number(file, start + 4))


def _read_edits(track: _Track, file: int, start: int, end: int) -> None:
    is_long = os.pread(file, 1, start) == b"\1"
    for number in range(min(_number(file, start + 4), (end - start - 8) // (20 if is_long else 12))):
        at = start + 8 + (number * 20 + 8 if is_long else number * 12 + 4)
        track.edits += os.pread(file, 4, at) != _NO_EDITS


def _read_handler(track: _Track, file: int, start: int, end: int) -> None:
    track.handlers |= {os.pread(file, 4, start + 8)}


_TABLES = {
    b"stsz": _read_sizes,
    b"stz2": _read_sizes,
    b"stts": _read_times,
    b"stsc": _read_runs,
    b"stco": _read_chunks,
    b"co64": _read_chunks,
    b"elst": _read_edits,
    b"hdlr": _read_handler,
}
