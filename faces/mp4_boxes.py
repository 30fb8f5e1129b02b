"""The boxes of an MP4, found where FFmpeg's demuxer finds them: a file's own, those in them, and compressed ones.

Sources: ISO/IEC 14496-12, 4.2; FFmpeg's mov.c, whose boxes lie in some places that no standard has.
"""

import re
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

Read = Callable[[int, int], bytes]  # so many bytes from a place on; fewer at the end

_PARENTS = frozenset(
    b"moov trak mdia minf stbl mvex moof traf edts udta dinf wave tref free skip hoov ilst sinf schi".split()
)
_STEP = 1 << 20


class Box(NamedTuple):
    """A box: its kind, where it begins, and where its content begins and ends."""

    kind: bytes
    start: int
    content: int
    end: int


class Inflated(Exception):
    """More is compressed than may be."""


def boxes(read: Read, start: int, end: int) -> Iterator[Box]:
    """The boxes between two places, one after the other, up to one that makes no sense."""
    while start + 8 <= end:
        header = read(16, start)
        size, kind, content = int.from_bytes(header[:4], "big"), header[4:8], start + 8
        if size == 1:
            size, content = int.from_bytes(header[8:16], "big"), start + 16
        following = start + size if size else end
        if following < content:
            return
        yield Box(kind, start, content, min(following, end))
        start = following


def number(read: Read, at: int) -> int:
    """32 bits."""
    return int.from_bytes(read(4, at), "big")


def inside(read: Read, box: Box, most: int) -> tuple[Read, int, int] | None:
    """Where the boxes in a box are, None for one that has none. Raises Inflated where they are compressed and more than
    `most` bytes."""
    if box.kind in _PARENTS:
        return read, box.content, box.end
    if box.kind == b"meta":  # old ones have no version before their boxes, the first of which tells
        first = next(_found(read, box.content, box.end, rb"hdlr", aligned=True), None)
        return None if first is None else (read, first - 4, box.end)
    if box.kind == b"cmov":
        content = _inflated(read, box, most)
        return (lambda count, at: content[at : at + count]), 0, len(content)
    return None


def holds(read: Read, box: Box, kinds: frozenset[bytes]) -> bool:
    """Whether the names of such boxes stand in a box, wherever."""
    return next(_found(read, box.content, box.end, b"|".join(map(re.escape, kinds))), None) is not None


def _found(read: Read, start: int, end: int, names: bytes, *, aligned: bool = False) -> Iterator[int]:
    """Where one of the names of four letters stands; `aligned`: a multiple of four bytes from the start."""
    pattern = re.compile(names)
    for at in range(start, end, _STEP):
        part = read(min(_STEP + 3, end - at), at)
        yield from (at + match.start() for match in pattern.finditer(part) if not aligned or not match.start() % 4)


def _inflated(read: Read, box: Box, most: int) -> bytes:
    """What is in a `cmov`: after a `dcom` of 12 bytes, a `cmvd` with the size and a zlib stream."""
    if number(read, box.content + 20) > most:
        raise Inflated
    try:
        return zlib.decompressobj().decompress(read(box.end - box.content - 24, box.content + 24), most)
    except zlib.error:
        return b""  # and FFmpeg refuses the file
