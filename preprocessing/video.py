"""The one reader of video frames: exact frames by index, in bounded memory.

A frame's index is its place in display order, counted from 0, as when OpenCV reads the file from its start. Frames are
RGB uint8 arrays of shape (height, width, 3), turned upright by the file's rotation tag as OpenCV does.

Reading in sequence decodes every frame. For H.264 in MP4 or MOV much of that can be left out and the frames that are
wanted stay the same to the bit: pictures that no other picture refers to (nal_ref_idc 0, ITU-T H.264, 7.4.1), and all
pictures between the last wanted one and the next IDR picture.
"""

import itertools
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import av
import numpy as np

from runtime.errors import ItemError

_CHUNK_BYTES = 2**28
MAX_PIXELS = 2**26  # 67 megapixels, twice 8K video: keeps the memory of a hostile file bounded

# containers that hold their pictures themselves: a playlist named .mp4 must not make us read other files
_CONTAINERS = "mov,matroska,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,mxf,h264,hevc,m4v,ivf,obu,nut,dv,rm,wtv"
_OPTIONS = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}

Frame = tuple[int, np.ndarray]
Select = Callable[[int], Iterable[int]]


class VideoError(ItemError):
    """A video can't be read; the message names the file and the reason."""

    def __init__(self, path: str, reason: str):
        super().__init__(f"{path}: {reason}")
        self.reason = reason


@dataclass(kw_only=True)
class _Packet:
    """What the container says of one coded picture."""

    pts: int | None
    is_cut_away: bool  # by an edit list: it is decoded and not shown
    is_broken: bool
    is_reference: bool = True
    is_idr: bool = False
    needed: bool = True


def iter_frames(path: str | os.PathLike, select: Select) -> Iterator[Frame]:
    """Yield (index, frame) for the chosen frames of a video, in ascending order of index.

    `select` gets the number of frames in the video and returns the indices wanted; repeated ones are read once, those
    at or beyond the end are left out. Where the file is cut or damaged, the frames that can be decoded are yielded: the
    caller compares what came with what it asked for. Raises VideoError when not one of them can be read.
    """
    path = os.fspath(path)
    try:
        yield from _iter_frames(path, select)
    except av.error.FFmpegError as error:
        raise VideoError(path, f"can't be read ({plain(error)})") from error
    except OSError as error:
        raise VideoError(path, f"can't be opened ({error.strerror or error})") from error


def iter_all_frames(path: str | os.PathLike, select: Select) -> Iterator[Frame]:
    """As `iter_frames`, but where frames are missing, as the file is cut or damaged, a VideoError comes at the end."""
    wanted: set[int] = set()

    def remember(frame_count: int) -> set[int]:
        wanted.update(index for index in select(frame_count) if index < frame_count)
        return wanted

    read = 0
    for index, frame in iter_frames(path, remember):
        read += 1
        yield index, frame
    if read < len(wanted):
        raise VideoError(os.fspath(path), f"is cut or damaged: only {read} of {len(wanted)} frames can be read")


@dataclass(kw_only=True)
class VideoInfo:
    """What is known of a video: its upright size in pixels, how many frames it shows, how many a second (None where it
    does not say), and what a person should know of it, in short sentences."""

    width: int = 0
    height: int = 0
    frame_count: int = 0
    rate: float | None = None
    notes: list[str] = field(default_factory=list)


def probe(path: str | os.PathLike) -> VideoInfo:
    """Look at a video; of its pictures only the first is decoded. Raises VideoError."""
    info = VideoInfo()
    for _, frame in iter_frames(path, lambda count: setattr(info, "frame_count", count) or [0]):
        info.height, info.width = frame.shape[:2]
    container, stream = open_video(os.fspath(path))
    with container:
        info.rate = float(stream.average_rate) if stream.average_rate else None
    return info


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


def _iter_frames(path: str, select: Select) -> Iterator[Frame]:
    if not stat.S_ISREG(os.stat(path).st_mode):  # a named pipe would block for ever
        raise VideoError(path, "is not a regular file")
    if not os.path.getsize(path):
        raise VideoError(path, "is empty")
    packets, frame_count = _scan(path)
    wanted = sorted({int(index) for index in select(frame_count)})
    if wanted and wanted[0] < 0:
        raise ValueError(f"negative frame index {wanted[0]}")
    timestamps = sorted(packet.pts for packet in packets) if _are_ordered(packets) else None

    read = 0
    if timestamps is not None and any(packet.is_idr for packet in packets):
        reachable = [index for index in wanted if index < len(timestamps)]
        _mark_needed(packets, {timestamps[index] for index in reachable})
        for index, frame in zip(reachable, _decode_needed(path, packets, timestamps, reachable), strict=False):
            yield index, frame
            read += 1
    if read < len(wanted):  # not H.264, or a picture is missing where it was expected
        rest = wanted[read:]
        for index, frame in _decode_all(path, timestamps, rest):
            yield index, frame
            read += 1
    if not read:
        raise VideoError(path, "holds no frame that can be decoded")


def open_video(path: str) -> tuple[av.container.InputContainer, av.video.stream.VideoStream]:
    """The container, which the caller closes, and its first video stream. Raises VideoError and FFmpegError."""
    # an absolute path is never taken for a protocol; tags of old files are often not UTF-8
    container = av.open(os.path.abspath(path), options=_OPTIONS, metadata_errors="replace")
    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic:  # the cover of an audio file
            context = stream.codec_context
            if context is None:
                break
            _check_size(path, context.width, context.height)
            stream.thread_count = 1  # work is spread over videos, not inside one
            return container, stream
    container.close()
    raise VideoError(path, "holds no video stream that can be decoded")


def _check_size(path: str, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise VideoError(path, f"has frames of {width}x{height} pixels, over the limit of {MAX_PIXELS // 10**6} MP")


def _scan(path: str) -> tuple[list[_Packet], int]:
    """List the video's packets in decoding order, and its frame count: the header's, else the number of packets,
    without those that an edit list cuts away."""
    container, stream = open_video(path)
    with container:
        length_size = _nal_length_size(stream.codec_context)
        packets = []
        try:
            for packet in container.demux(stream):
                if packet.size:
                    entry = _Packet(pts=packet.pts, is_cut_away=packet.is_discard, is_broken=packet.is_corrupt)
                    if length_size:
                        entry.is_reference, entry.is_idr = _inspect_h264(memoryview(packet), length_size)
                    packets.append(entry)
        except av.error.FFmpegError:
            if not packets:
                raise
            # the rest of the file is cut or damaged: what came before it can still be used
        cut_away = sum(packet.is_cut_away for packet in packets)
        return packets, max((stream.frames or len(packets)) - cut_away, 0)


def _nal_length_size(context: av.video.codeccontext.VideoCodecContext) -> int:
    """Bytes of a NAL unit's length field (ISO/IEC 14496-15, avcC), or 0 where packets can't be inspected."""
    extradata = context.extradata
    if context.name != "h264" or not extradata or len(extradata) < 5 or extradata[0] != 1:
        return 0
    return (extradata[4] & 3) + 1


def _inspect_h264(data: memoryview, length_size: int) -> tuple[bool, bool]:
    """(is a reference picture, is an IDR picture) of a packet; the safe (True, False) where it is malformed."""
    position, pictures, reference, idr = 0, 0, False, False
    while position + length_size < len(data):
        size = int.from_bytes(data[position : position + length_size], "big")
        position += length_size
        if not size or position + size > len(data):
            return True, False
        header = data[position]
        if 1 <= header & 31 <= 5:
            pictures += 1
            reference |= bool(header >> 5 & 3)
            idr |= header & 31 == 5
        position += size
    return (reference, idr) if pictures else (True, False)


def _are_ordered(packets: list[_Packet]) -> bool:
    """True if every packet will become one frame whose place in display order its timestamp tells."""
    timestamps = {packet.pts for packet in packets}
    return (
        None not in timestamps
        and len(timestamps) == len(packets)
        and not any(packet.is_cut_away or packet.is_broken for packet in packets)
    )


def _mark_needed(packets: list[_Packet], wanted: set[int]) -> None:
    """Set `needed` on the packets that must be decoded to get the wanted timestamps exactly."""
    starts = [i for i, packet in enumerate(packets) if packet.is_idr] + [len(packets)]
    starts[0] = 0  # whatever comes before the first IDR picture goes with it
    for start, end in itertools.pairwise(starts):
        last = max((i for i in range(start, end) if packets[i].pts in wanted), default=-1)
        for i in range(start, end):
            packets[i].needed = i <= last and (packets[i].is_reference or packets[i].pts in wanted)


def _decode_needed(
    path: str, packets: list[_Packet], timestamps: list[int], indices: list[int]
) -> Iterator[np.ndarray]:
    """Yield the frames of `indices` in order, decoding only needed packets; stop at the first that does not come."""
    expected = iter([timestamps[index] for index in indices])
    target = next(expected, None)
    wanted = {timestamps[index] for index in indices}
    for frame in _decoded(path, packets):
        if frame.pts not in wanted:
            continue
        if frame.pts != target:
            return
        yield to_rgb(path, frame)
        target = next(expected, None)
        if target is None:
            return


def _decode_all(path: str, timestamps: list[int] | None, indices: list[int]) -> Iterator[Frame]:
    """Yield (index, frame) for `indices`, decoding everything; indices that don't come are left out."""
    place = {pts: index for index, pts in enumerate(timestamps)} if timestamps is not None else None
    wanted, last = set(indices), indices[-1]
    for count, frame in enumerate(_decoded(path, None)):
        index = count if place is None else place.get(frame.pts, -1)
        if index in wanted:
            wanted.discard(index)
            yield index, to_rgb(path, frame)
        if index >= last:
            return


def _decoded(path: str, packets: list[_Packet] | None) -> Iterator[av.VideoFrame]:
    """Yield decoded frames, of the needed packets or of all; damaged packets are passed over."""
    container, stream = open_video(path)
    with container:
        context = stream.codec_context
        number = 0
        demuxed = container.demux(stream)
        while True:
            try:
                packet = next(demuxed)
            except (StopIteration, av.error.FFmpegError):  # the end, or the cut end, of the file
                break
            if not packet.size:
                continue
            needed = packets is None or number >= len(packets) or packets[number].needed
            number += 1
            if needed:
                yield from _decode(context, packet)
        yield from _decode(context, None)


def _decode(context: av.video.codeccontext.VideoCodecContext, packet: av.Packet | None) -> list[av.VideoFrame]:
    try:
        return context.decode(packet)
    except av.error.FFmpegError:  # one damaged picture: the caller sees that its frame is missing
        return []


def to_rgb(path: str, frame: av.VideoFrame) -> np.ndarray:
    """A decoded frame as RGB uint8 (h, w, 3), upright."""
    _check_size(path, frame.width, frame.height)
    image = frame.to_ndarray(format="rgb24")
    turns = frame.rotation // 90 % 4 if frame.rotation in (-180, -90, 90, 180, 270) else 0  # as OpenCV: no other angle
    return np.ascontiguousarray(np.rot90(image, turns))


def plain(error: av.error.FFmpegError) -> str:
    """What FFmpeg says of an error."""
    return error.strerror or str(error)
