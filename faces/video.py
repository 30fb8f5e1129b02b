"""The one reader of video frames: exact frames by index, in bounded memory.

A frame's index is its place in display order, counted from 0, among the frames that a player shows: pictures that an
edit list cuts away, that are hidden, or that were dropped when the file was made don't count. The packets of the file
say how many there are (packets.py), and where they can't, the decoder does; what the header says is not used. Frames
are RGB uint8 arrays of shape (height, width, 3), as a person sees them (pixels.py).

Reading in sequence decodes every frame. Much of that can be left out where the frames that are wanted stay the same to
the bit: all that comes before the last point at which decoding can begin, all that comes after the last wanted frame
until the next such point, and in H.264 the pictures that no other refers to.
"""

import contextlib
import os
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import av
import numpy as np

from faces.packets import ALONE, CHANGE, DAMAGED, REFERENCE, SHOWN, START, UNDECIDED, inspector_of
from faces.pixels import notes_on, part_to_rgb, shape_of, to_rgb
from faces.stream_facts import frame_facts, stream_facts
from faces.video_file import MAX_FRAMES, VideoError, check_count, check_size, choose_track, open_track, plain

READER = 2  # raised when the same file gives other frames than before

_CHUNK_BYTES = 2**28
_MOST_REORDERED = (
    64  # frames: no codec shows a picture so much later than it is coded; timestamps that say so are wrong
)
_CUT_AWAY = 256  # by an edit list: it is decoded and not shown. A flag beside those of packets.py
_BROKEN = 512  # the container says that the packet is damaged
_NO_TIME = -(2**63)
_MOST_BARREN = 2**17  # packets in a row, of more than an hour, without a picture: no more is to be expected
_MOST_TIMES_READ = 64  # the bytes of a file; edit lists read some of them again, and packets may be compressed

Frame = tuple[int, np.ndarray]
Select = Callable[[int], Iterable[int]]


@dataclass(kw_only=True)
class VideoInfo:
    """What is known of a video: its upright size in pixels, how many frames it shows, how many of these were asked for,
    how many a second (None where it does not say), and what a person should know of it, in sentences. `times`: when its
    frames are presented, in seconds of the file's own clock, float64 (n,); n is smaller than the number of frames where
    the timestamps don't tell. `stream`: what the file says of what is read, as JSON has it (stream_facts.py)."""

    width: int = 0
    height: int = 0
    frame_count: int = 0
    wanted: int = 0
    rate: float | None = None
    times: np.ndarray = field(default_factory=lambda: np.zeros(0))
    stream: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def seconds_of(self, index: int) -> float | None:
        """Seconds from the first frame to that one: by their timestamps, else by the rate; None without both."""
        if index < len(self.times):
            return round(float(self.times[index] - self.times[0]), 6)
        return round(index / self.rate, 6) if self.rate else None


class HeldFrame:
    """A frame as the decoder left it, which takes half the memory of its picture, or less."""

    def __init__(self, path: str, frame: av.VideoFrame):
        check_size(path, frame.width, frame.height)
        self.shape = shape_of(frame)
        self._path, self._frame = path, frame

    def rgb(self) -> np.ndarray:
        """As the other functions give it, each time anew."""
        return to_rgb(self._path, self._frame)

    def crops(self, boxes: Iterable[tuple[tuple[int, int], tuple[int, int]]]) -> list[np.ndarray]:
        """The pixels of boxes, each its first and last row, and its first and last column, all included, as far as they
        lie in the frame: RGB uint8 (height, width, 3), the same as in `rgb`."""
        crops, whole = [], None
        for rows, cols in boxes:
            crop = part_to_rgb(self._frame, rows, cols)
            if crop is None:
                whole = self.rgb() if whole is None else whole
                crop = whole[rows[0] : rows[1] + 1, cols[0] : cols[1] + 1]
            crops.append(crop)
        return crops


Made = TypeVar("Made", np.ndarray, HeldFrame)


class VideoFrames(Iterator[tuple[int, Made]], Generic[Made]):
    """Frames as they are read, RGB, or what `make` makes of what is decoded. `info` is known after `look`, but for what
    only a decoded frame tells; complete it is once the first frame has come."""

    def __init__(
        self,
        path: str | os.PathLike,
        select: Select,
        all_of_them: bool = False,
        make: Callable[[str, av.VideoFrame], Made] | None = None,
    ):
        self.info = VideoInfo()
        self._all_of_them = all_of_them
        self._make = make or to_rgb
        self._path = os.fspath(path)
        self._select = select
        self._frames: Iterator[tuple[int, Made]] | None = None

    def look(self) -> VideoInfo:
        """List the file's packets and choose frames, before any is decoded. Raises VideoError."""
        if self._frames is None:
            with _errors_told(self._path):
                scan = _scan(self._path, self.info)
                wanted = _choose(self._select, self.info)
            self._frames = _read_upright(self._path, scan, wanted, self.info, self._all_of_them, self._make)
        return self.info

    def __next__(self) -> tuple[int, Made]:
        self.look()
        with _errors_told(self._path):
            return next(self._frames)


def iter_frames(path: str | os.PathLike, select: Select) -> VideoFrames[np.ndarray]:
    """(index, frame) for the chosen frames of a video, in ascending order of index.

    `select` gets the number of frames in the video and returns the indices wanted; repeated ones are read once, those
    at or beyond the end are left out. Where the file is cut or damaged, the frames that can be decoded are yielded: the
    caller compares what came with what it asked for. Raises VideoError when not one of them can be read.
    """
    return VideoFrames(path, select)


@contextlib.contextmanager
def _errors_told(path: str) -> Iterator[None]:
    try:
        yield
    except av.error.FFmpegError as error:
        raise VideoError(path, f"can't be read ({plain(error)})") from error
    except OSError as error:
        raise VideoError(path, f"can't be opened ({error.strerror or error})") from error


def iter_all_frames(path: str | os.PathLike, select: Select) -> VideoFrames[np.ndarray]:
    """As `iter_frames`, but where frames are missing, as the file is cut or damaged, a VideoError comes at the end."""
    return VideoFrames(path, select, all_of_them=True)


def iter_held_frames(path: str | os.PathLike, select: Select) -> VideoFrames[HeldFrame]:
    """As `iter_all_frames`, for a caller that has to keep frames before it knows which it needs."""
    return VideoFrames(path, select, all_of_them=True, make=HeldFrame)


def probe(path: str | os.PathLike) -> VideoInfo:
    """Look at a video; of its pictures only the first is decoded. Raises VideoError."""
    frames = iter_frames(path, lambda count: [0])
    next(frames)
    return frames.info


def in_chunks(frames: Iterable[Frame], most: int) -> Iterator[list[Frame]]:
    """Runs of at most `most` frames of one size, fewer where they are large, but one at least."""
    chunk: list[Frame] = []
    for index, frame in frames:
        if chunk and (len(chunk) >= min(most, _CHUNK_BYTES // frame.nbytes) or frame.shape != chunk[0][1].shape):
            yield chunk
            chunk = []
        chunk.append((index, frame))
    if chunk:
        yield chunk


@dataclass(kw_only=True)
class _Scan:
    """The packets of a video, in the order of decoding. `flags` are those of packets.py and of this file, uint16 (n,);
    `pts` int64 (n,). `places` is the packet of each frame in display order, where timestamps tell it; else None."""

    track: int
    flags: np.ndarray
    pts: np.ndarray
    frame_count: int
    places: np.ndarray | None


def _choose(select: Select, info: VideoInfo) -> np.ndarray:
    """The indices that are wanted and there, ascending, int64: a list of a long video's would take much memory."""

    def there() -> Iterator[int]:
        for index in map(int, select(info.frame_count)):
            if index < 0:
                raise ValueError(f"negative frame index {index}")
            if index < info.frame_count:
                yield index

    wanted = np.unique(np.fromiter(there(), np.int64))
    info.wanted = len(wanted)
    return wanted


def _read_upright(
    path: str,
    scan: _Scan,
    wanted: np.ndarray,
    info: VideoInfo,
    all_of_them: bool,
    make: Callable[[str, av.VideoFrame], Made],
) -> Iterator[tuple[int, Made]]:
    read = 0
    for index, frame, stream in _read(path, scan, wanted):
        image = make(path, frame)
        if not read:
            info.height, info.width = image.shape[:2]
            info.notes += notes_on(frame, stream)
            info.stream |= frame_facts(frame)
        yield index, image
        read += 1
    if not read:
        raise VideoError(path, "holds no frame that can be decoded")
    if all_of_them and read < len(wanted):
        raise VideoError(path, f"is cut or damaged: only {read} of {len(wanted)} frames can be read")


def _read(path: str, scan: _Scan, wanted: np.ndarray) -> Iterator[tuple[int, av.VideoFrame, av.VideoStream]]:
    """The decoded frames of the indices wanted, ascending, with the stream that they come from."""
    read = 0
    if scan.places is not None:
        reachable = wanted[wanted < len(scan.places)]
        for index, decoded in zip(reachable, _decode_needed(path, scan, reachable), strict=False):
            yield int(index), *decoded
            read += 1
    if read < len(wanted):  # timestamps don't tell the order, or a picture is missing where it was expected
        yield from _decode_all(path, scan, wanted[read:])


def _scan(path: str, info: VideoInfo) -> _Scan:
    """List the video's packets, and find out how many frames they become."""
    track, note = choose_track(path)
    pts, positions, flags = array("q"), array("q"), array("H")
    container, stream = open_track(path, track)
    with container:
        check_count(path, len(stream.index_entries))
        inspect = inspector_of(stream.codec_context)
        try:
            left = _MOST_TIMES_READ * os.path.getsize(path)
            for number, packet in enumerate(container.demux(stream)):
                if packet.size:
                    cut_away, broken = packet.is_discard and _CUT_AWAY, packet.is_corrupt and _BROKEN
                    flags.append(inspect(packet) | cut_away | broken)
                    pts.append(_NO_TIME if packet.pts is None else packet.pts)
                    positions.append(packet.pos or 0)
                    left -= packet.size
                if left < 0:
                    raise VideoError(path, f"has packets of more than {_MOST_TIMES_READ} times its bytes")
                if number > MAX_FRAMES:
                    check_count(path, number)
        except av.error.FFmpegError:
            if not flags:
                raise
            # the rest of the file is cut or damaged: what came before it can still be used
        missing = _count_missing(stream, positions) if "mov" in container.format.name else 0
        in_header = stream.frames
        info.width, info.height = stream.codec_context.width, stream.codec_context.height
        info.rate = float(stream.average_rate) if stream.average_rate else None
        info.stream = stream_facts(container, stream)
        time_base = float(stream.time_base) if stream.time_base else None
        check_count(path, len(stream.index_entries))  # fragments have brought theirs by now
    scan = _Scan(
        track=track,
        flags=np.frombuffer(flags, np.uint16),
        pts=np.frombuffer(pts, np.int64),
        frame_count=0,
        places=None,
    )
    shown = _is_shown(scan)
    if _is_decided(scan):
        scan.places = _places(scan, shown)
        scan.frame_count = int(shown.sum()) + missing
        if scan.places is not None and time_base:
            info.times = scan.pts[scan.places] * time_base
    else:
        scan.frame_count = _count_decoded(path, track) + missing
    check_count(path, scan.frame_count)
    info.frame_count = scan.frame_count
    info.notes += [note] if note else []
    if in_header not in (0, scan.frame_count):
        info.notes.append(f"its header counts {in_header} frames, and {scan.frame_count} are shown")
    return scan


def _count_missing(stream: av.VideoStream, positions: array) -> int:
    """Pictures that the index of an MP4 has, and that lie beyond the end of a cut file, or behind damage in it."""
    index = stream.index_entries
    if len(index) <= len(positions):
        return 0
    listed = np.fromiter((entry.pos for entry in index if entry.size and not entry.is_discard), np.int64)
    return int(np.isin(listed, np.frombuffer(positions, np.int64), kind="sort", invert=True).sum())


def _is_shown(scan: _Scan) -> np.ndarray:
    return (scan.flags & (SHOWN | _CUT_AWAY)) == SHOWN


def _is_decided(scan: _Scan) -> bool:
    """Whether it is sure without decoding how many frames the packets become.

    Decoders leave out what comes before the first picture that needs no other, or is shown before it.
    """
    pictures = np.flatnonzero(scan.flags & (SHOWN | _CUT_AWAY))
    if not len(pictures) or (scan.flags & UNDECIDED).any():
        return False
    first = pictures[0]
    if not scan.flags[first] & (ALONE | DAMAGED):
        return False
    return not scan.flags[first] & START or not (scan.pts[_is_shown(scan)] < scan.pts[first]).any()


def _places(scan: _Scan, shown: np.ndarray) -> np.ndarray | None:
    """The packet of each frame in display order; None where timestamps don't tell, or not believably."""
    packets = np.flatnonzero(shown)
    pts = scan.pts[packets]
    order = np.argsort(pts, kind="stable")
    ranked = pts[order]
    if not len(pts) or ranked[0] == _NO_TIME or (np.diff(ranked) == 0).any() or (scan.flags & _BROKEN).any():
        return None
    return packets[order] if np.abs(order - np.arange(len(order))).max() <= _MOST_REORDERED else None


def _plan(scan: _Scan, wanted: np.ndarray) -> tuple[list[tuple[int, int]], np.ndarray]:
    """Runs of packets, first and last, between which the decoder is emptied, and which packets of them are decoded,
    bool (n,), so that the packets `wanted` (ascending) become the same frames as by decoding everything."""
    needed = (scan.flags & (REFERENCE | CHANGE)) != 0
    needed[wanted] = True
    starts = np.flatnonzero((scan.flags & (START | SHOWN)) == START | SHOWN)
    if not len(starts) or (scan.flags & CHANGE).any():
        starts = starts[:0]
    runs: list[tuple[int, int]] = []
    for packet in wanted:
        place = int(np.searchsorted(starts, packet, side="right")) - 1
        while place >= 0 and scan.pts[starts[place]] > scan.pts[packet]:  # it is shown before what it comes after
            place -= 1
        first = int(starts[place]) if place > 0 else 0  # whatever comes before the first start goes with it
        if runs and first <= runs[-1][1] + 1:
            first, last = runs.pop()
            runs.append((first, max(last, int(packet))))
        else:
            runs.append((first, int(packet)))
    return runs, needed


def _decode_needed(path: str, scan: _Scan, indices: np.ndarray) -> Iterator[tuple[av.VideoFrame, av.VideoStream]]:
    """Yield the frames of `indices` in order, decoding only what they need; stop at the first that does not come."""
    runs, needed = _plan(scan, np.sort(scan.places[indices]))
    times, came = scan.pts[scan.places[indices]], 0
    for frame, stream in _decoded(path, scan.track, runs, needed):
        place = _place_of(frame.pts, times)
        if place < 0:
            continue
        if place != came:
            return
        yield frame, stream
        came += 1
        if came == len(times):
            return


def _place_of(time: int | None, times: np.ndarray) -> int:
    """Where a time is among ascending ones; -1 where it is not."""
    place = int(times.searchsorted(time)) if time is not None else len(times)
    return place if place < len(times) and times[place] == time else -1


def _decode_all(path: str, scan: _Scan, indices: np.ndarray) -> Iterator[tuple[int, av.VideoFrame, av.VideoStream]]:
    """The frames of `indices`, decoding everything; those that don't come are left out."""
    times = None if scan.places is None else scan.pts[scan.places]
    last = int(indices[-1])
    wanted = np.zeros(last + 1, bool)
    wanted[indices] = True
    everything = [(0, len(scan.flags))]
    for count, (frame, stream) in enumerate(_decoded(path, scan.track, everything)):
        index = count if times is None else _place_of(frame.pts, times)
        if 0 <= index <= last and wanted[index]:
            wanted[index] = False
            yield index, frame, stream
        if index >= last:
            return


def _count_decoded(path: str, track: int) -> int:
    """How many frames the decoder makes of the whole track, as fast as it can: their pixels are not looked at."""
    container, stream = open_track(path, track)
    with container:
        options = stream.codec_context.options
        stream.codec_context.options = {**options, "skip_loop_filter": "all", "skip_idct": "all"}
        count = 0
        for count, _ in enumerate(_drawn(container, stream, [(0, 2**62)], None), start=1):
            check_count(path, count)
        return count


def _decoded(
    path: str, track: int, runs: list[tuple[int, int]], needed: np.ndarray | None = None
) -> Iterator[tuple[av.VideoFrame, av.VideoStream]]:
    """Decoded frames of runs of packets, ascending; of all packets in them, or of the needed ones."""
    container, stream = open_track(path, track)
    with container:
        for frame in _drawn(container, stream, runs, needed):
            yield frame, stream


def _drawn(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    runs: list[tuple[int, int]],
    needed: np.ndarray | None,
) -> Iterator[av.VideoFrame]:
    """Damaged packets are passed over. The decoder is emptied between runs, and at the end."""
    context = stream.codec_context
    ahead = iter(runs)
    first, last = next(ahead, (0, -1))
    number, barren = -1, 0
    demuxed = container.demux(stream)
    while True:
        try:
            packet = next(demuxed)
        except (StopIteration, av.error.FFmpegError):  # the end, or the cut end, of the file
            break
        if not packet.size:
            continue
        number += 1
        if number > last:
            yield from _decode(context, None)
            first, last = next(ahead, (0, -1))
            if last < 0:
                return
            context.flush_buffers()
        if number >= first and (needed is None or number >= len(needed) or needed[number]):
            frames = _decode(context, packet)
            yield from frames
            barren = 0 if frames else barren + 1
            if barren > _MOST_BARREN:
                return
    yield from _decode(context, None)


def _decode(context: av.video.codeccontext.VideoCodecContext, packet: av.Packet | None) -> list[av.VideoFrame]:
    try:
        return context.decode(packet)
    except av.error.FFmpegError:  # one damaged picture: the caller sees that its frame is missing
        return []
