"""What the tables of an MP4 claim, added up before FFmpeg makes room for it: a file of a kilobyte can claim a thousand
million samples, and FFmpeg fills an entry for each.

Other containers hold some bytes for each packet that they list. Sources: ISO/IEC 14496-12, 8.6.1.2 (stts), 8.6.6
(elst), 8.7.3 (stsz), 8.7.4 (stsc), 8.7.5 (stco), 8.8.8 (trun), 8.16.3 (sidx); 23001-7, 7.2 (senc); FFmpeg's mov.c for
what it makes of them.
"""

import bisect
import os
from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from faces.mp4_boxes import Box, Inflated, Read, boxes, holds, inside, number

_DEEPEST = 10  # levels of boxes, as FFmpeg goes
_MOST_BOXES = 2**23
_MOST_TARGETS = 2**20  # places that an index of fragments leads to
_MOST_INFLATED = 2**26  # bytes of compressed tables, which old QuickTime files have
_ENDLESS = 2**62  # of packets: more than may be looked at
_SOUND = b"soun"
_SOUND_SAMPLES = 1024  # of sound without compression that FFmpeg puts in one entry
_NO_EDITS = b"\xff\xff\xff\xff"  # as the time of an edit: nothing is shown


class Claims(NamedTuple):
    """How many packets the tables list, all tracks together, how many tracks there are, and how many chapters, each of
    which may take 128 kB."""

    packets: int = 0
    tracks: int = 0
    chapters: int = 0


@dataclass(kw_only=True)
class _Track:
    """The claims of a track's tables."""

    id: int = 0
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


class _TooMany(Exception):
    """More boxes, or places that an index leads to, than are looked at."""


@dataclass
class _Budget:
    """What may still be looked at in a file."""

    boxes: int = _MOST_BOXES
    inflated: int = _MOST_INFLATED


@dataclass
class _Tables:
    """What the tables in the boxes that were looked at claim."""

    budget: _Budget
    tracks: list[_Track] = field(default_factory=list)
    fragment: int = 0  # whose track this is, by its id
    in_fragments: Counter = field(default_factory=Counter)  # samples, by the track's id
    encrypted: int = 0  # samples of which something is said
    chapter_tracks: set[int] = field(default_factory=set)
    targets: set[int] = field(default_factory=set)  # places in the file that indices of fragments lead to

    @property
    def packets(self) -> int:
        return sum(track.entries for track in self.tracks) + self.in_fragments.total() + self.encrypted

    @property
    def chapters(self) -> int:
        pictures = {track.id for track in self.tracks if b"vide" in track.handlers}
        texts = self.chapter_tracks - pictures
        listed = sum(track.entries for track in self.tracks if track.id in texts)
        return listed + sum(self.in_fragments[track] for track in texts)

    def look_at(self, read: Read, box: Box, depth: int = 0) -> None:
        """Raises _TooMany and Inflated."""
        self.budget.boxes -= 1
        if self.budget.boxes < 0 or (box.kind in _READ_ELSEWHERE and holds(read, box, _CLAIMING)):
            raise _TooMany
        if box.kind == b"trak":
            self.tracks.append(_Track())
        elif box.kind in _TABLES and self.tracks:
            _TABLES[box.kind](self.tracks[-1], read, box.content, box.end)
        elif box.kind in _OTHERS:
            _OTHERS[box.kind](self, read, box)
        if depth < _DEEPEST and (place := inside(read, box, self.budget.inflated)):
            if box.kind == b"cmov":
                self.budget.inflated -= place[2]
            for child in boxes(*place):
                self.look_at(place[0], child, depth + 1)


def claims(path: str) -> Claims:
    """What the tables of an MP4 claim; nothing for other files. Raises OSError."""
    with open(path, "rb", buffering=0) as file:

        def read(count: int, at: int) -> bytes:
            return os.pread(file.fileno(), count, at)

        size, tables, again = os.fstat(file.fileno()).st_size, _Tables(_Budget()), 0
        starts = array("Q")
        try:
            for box in boxes(read, 0, size):
                starts.append(box.start)
                tables.look_at(read, box)
            again = _look_where_indices_lead(read, size, tables, starts)
        except (_TooMany, Inflated):
            again = _ENDLESS
    return Claims(tables.packets + again, len(tables.tracks), tables.chapters)


def _look_where_indices_lead(read: Read, size: int, tables: _Tables, starts: array) -> int:
    """Look at the boxes that no other box but a place in an index leads to, such as in the middle of the pictures.
    `starts` is where those of the file begin.

    Returns the packets that FFmpeg lists anew from each place: it reads on from one up to the pictures that follow, and
    where there are none, but a box that makes no sense, again from the next place.
    """
    hidden: set[int] = set()
    again = 0
    for target in sorted(tables.targets):
        for box in boxes(read, target, size):
            place = bisect.bisect_left(starts, box.start)
            if box.start in hidden or (place < len(starts) and starts[place] == box.start):
                break
            hidden.add(box.start)
            if len(hidden) > _MOST_TARGETS:
                raise _TooMany
            tables.look_at(read, box)
        from_here = _Tables(tables.budget)
        for box in boxes(read, target, size):
            from_here.look_at(read, box)
            if box.kind == b"mdat":
                break
        else:
            again += from_here.packets
    return again


# what the tables of a track say


def _rows(read: Read, start: int, end: int, width: int) -> np.ndarray:
    """The rows of a table of 32 bits each that are there, after flags and their number; int64 (n, width)."""
    count = max(min(number(read, start + 4), (end - start - 8) // (4 * width)), 0)
    table = read(4 * width * count, start + 8)
    return np.frombuffer(table, ">u4", count=len(table) // (4 * width) * width).reshape(-1, width).astype(np.int64)


def _read_header(track: _Track, read: Read, start: int, end: int) -> None:
    track.id = number(read, start + (20 if read(1, start) == b"\1" else 12))


def _read_sizes(track: _Track, read: Read, start: int, end: int) -> None:
    track.samples += number(read, start + 8)


def _read_times(track: _Track, read: Read, start: int, end: int) -> None:
    track.has_short_samples = read(4, start + 4) + read(4, start + 12) == b"\0\0\0\1" * 2


def _read_runs(track: _Track, read: Read, start: int, end: int) -> None:
    track.runs = _rows(read, start, end, 3)[:, :2]


def _read_chunks(track: _Track, read: Read, start: int, end: int) -> None:
    track.chunks = max(track.chunks, number(read, start + 4))


def _read_edits(track: _Track, read: Read, start: int, end: int) -> None:
    is_long = read(1, start) == b"\1"
    for row in range(min(number(read, start + 4), (end - start - 8) // (20 if is_long else 12))):
        at = start + 8 + (row * 20 + 8 if is_long else row * 12 + 4)
        track.edits += read(4, at) != _NO_EDITS


def _read_handler(track: _Track, read: Read, start: int, end: int) -> None:
    track.handlers |= {read(4, start + 8)}


_TABLES: dict[bytes, Callable[[_Track, Read, int, int], None]] = {
    b"tkhd": _read_header,
    b"stsz": _read_sizes,
    b"stz2": _read_sizes,
    b"stts": _read_times,
    b"stsc": _read_runs,
    b"stco": _read_chunks,
    b"co64": _read_chunks,
    b"elst": _read_edits,
    b"hdlr": _read_handler,
}


# what others say


def _read_fragment(tables: _Tables, read: Read, box: Box) -> None:
    tables.fragment = number(read, box.content + 4)


def _read_run(tables: _Tables, read: Read, box: Box) -> None:
    tables.in_fragments[tables.fragment] += number(read, box.content + 4)


def _read_encrypted(tables: _Tables, read: Read, box: Box) -> None:
    tables.encrypted += number(read, box.content + 4)


def _read_sizes_of_encrypted(tables: _Tables, read: Read, box: Box) -> None:
    has_type = read(1, box.content + 3)[-1:] > b"\0" and number(read, box.content) & 1
    tables.encrypted += number(read, box.content + (13 if has_type else 5))


def _read_chapter_tracks(tables: _Tables, read: Read, box: Box) -> None:
    ids = read(min(box.end - box.content, 4 * _MOST_TARGETS), box.content)
    tables.chapter_tracks.update(np.frombuffer(ids, ">u4", count=len(ids) // 4).tolist())


def _read_index(tables: _Tables, read: Read, box: Box) -> None:
    """Of fragments: each begins where the one before ends, the first some bytes behind this box."""
    is_long = read(1, box.content) == b"\1"
    at = box.content + (20 if is_long else 16)
    first = int.from_bytes(read(8 if is_long else 4, at), "big")
    at += 8 if is_long else 4
    count = min(number(read, at) & 0xFFFF, max(box.end - at - 4, 0) // 12)
    sizes = np.frombuffer(read(12 * count, at + 4), ">u4")[::3].astype(np.int64)
    tables.targets.update((box.end + first + np.cumsum(sizes) - sizes).tolist())
    if len(tables.targets) > _MOST_TARGETS:
        raise _TooMany


_OTHERS: dict[bytes, Callable[[_Tables, Read, Box], None]] = {
    b"tfhd": _read_fragment,
    b"trun": _read_run,
    b"senc": _read_encrypted,
    b"saiz": _read_sizes_of_encrypted,
    b"chap": _read_chapter_tracks,
    b"sidx": _read_index,
}
# boxes whose content FFmpeg takes for boxes too, from some byte on or as often as a number says, and what no
# real one has in it
_READ_ELSEWHERE = frozenset((b"stsd", b"iprp"))
_CLAIMING = frozenset((*_TABLES, *_OTHERS, b"cmov")) - {b"hdlr", b"tkhd"}
