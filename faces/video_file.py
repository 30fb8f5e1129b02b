"""Opening a video file, and which of its tracks is the video: the one that players show."""

import os
import stat
from collections import Counter
from dataclasses import dataclass

import av
from av.stream import Discard, Disposition

from faces.claims import claims
from faces.containers import CONTAINERS
from runtime.errors import ItemError

# what keeps the memory of a hostile file bounded
MAX_PIXELS = 2**26  # 67 megapixels, twice 8K video
MAX_FRAMES = 2**22  # 46 hours at 25 a second
MAX_TRACKS = 256
_MOST_LISTED = 2 * MAX_FRAMES  # packets of all tracks of an MP4
_MOST_CHAPTERS = 1024

# containers that hold their pictures themselves: a playlist named .mp4 must not make us read other files
# `max_pixels` is for the decoders that look at the first packets
_OPTIONS = {
    "format_whitelist": ",".join(CONTAINERS),
    "protocol_whitelist": "file",
    "max_streams": str(MAX_TRACKS),
    "max_pixels": str(MAX_PIXELS),
}
_NO_TRACK = "holds no video stream that can be decoded"
_STILLS = (
    av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails | av.stream.Disposition.still_image
)

Opened = tuple[av.container.InputContainer, av.video.stream.VideoStream]


class VideoError(ItemError):
    """A video can't be read; the message names the file and the reason."""

    def __init__(self, path: str, reason: str):
        super().__init__(f"{path}: {reason}")
        self.reason = reason


@dataclass(frozen=True, kw_only=True)
class _Track:
    """A video stream; `frames` is 0 where nothing says how many it has."""

    index: int
    codec: str
    width: int
    height: int
    frames: int
    seconds: float
    is_default: bool
    is_still: bool  # a cover, or small pictures to jump by

    @property
    def rank(self) -> tuple:
        """The highest is shown: no still, then the default one, the largest, the longest, the first."""
        is_video = self.width * self.height > 0 and not self.is_still and self.frames != 1
        return is_video, self.is_default, self.width * self.height, self.frames, self.seconds, -self.index

    def __str__(self) -> str:
        frames = f", {self.frames} frame{'s' * (self.frames != 1)}" if self.frames else ""
        return f"#{self.index} ({self.codec}, {self.width}x{self.height}{frames})"


def open_video(path: str) -> Opened:
    """The container, which the caller closes, and the track that players show. Raises VideoError and FFmpegError."""
    return open_track(path, choose_track(path)[0], alone=False)


def choose_track(path: str) -> tuple[int, str | None]:
    """The index of the stream that is the video, and a sentence on the others where there are some.

    Players pass over covers, thumbnails, tracks of one frame and disabled ones; of what is left they show the default
    one, then the largest, then the longest. Raises VideoError and FFmpegError.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):  # a named pipe would block for ever
        raise VideoError(path, "is not a regular file")
    if not os.path.getsize(path):
        raise VideoError(path, "is empty")
    _check_claims(path)
    with _open(path) as container:
        streams = [stream for stream in container.streams.video if stream.codec_context is not None]
        unknown = [stream for stream in container.streams.video if stream.codec_context is None]
        frames = {stream.index: stream.frames for stream in streams}
        if len(streams) > 1 and not all(frames.values()):
            frames = _count_packets(container, streams)
        tracks = sorted((_track(stream, frames[stream.index]) for stream in streams), key=lambda each: each.rank)
    if not tracks or tracks[-1].is_still:
        raise VideoError(path, _NO_TRACK)
    chosen, others = tracks[-1], tracks[:-1]
    if not others and not unknown:
        return chosen.index, None
    rest = [str(track) for track in sorted(others, key=lambda each: each.index)]
    rest += [f"#{stream.index} (of an unknown codec)" for stream in unknown]
    return chosen.index, f"{len(rest) + 1} video tracks: {chosen} was read, and not {', '.join(rest)}"


def open_track(path: str, index: int, alone: bool = True) -> Opened:
    """The container, which the caller closes, and one of its video streams; packets of others are passed over if it is
    wanted alone. Raises VideoError and FFmpegError."""
    container = _open(path)
    stream = next((stream for stream in container.streams.video if stream.index == index), None)
    try:
        if stream is None or stream.codec_context is None:
            raise VideoError(path, _NO_TRACK)
        check_size(path, stream.codec_context.width, stream.codec_context.height)
    except VideoError:
        container.close()
        raise
    stream.thread_count = 1  # work is spread over videos, not inside one
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    for other in container.streams if alone else ():
        if other is not stream:
            other.discard = Discard.all
    return container, stream


def check_size(path: str, width: int, height: int) -> None:
    """Raises VideoError for frames that would take too much memory."""
    if width * height > MAX_PIXELS:
        raise VideoError(path, f"has frames of {width}x{height} pixels, over the limit of {MAX_PIXELS // 10**6} MP")


def check_count(path: str, count: int) -> None:
    """Raises VideoError for more frames, or packets of them, than the memory for their places is meant for."""
    if count > MAX_FRAMES:
        raise VideoError(path, f"has over {MAX_FRAMES} frames, the limit; cut it into parts")


def plain(error: av.error.FFmpegError) -> str:
    """What FFmpeg says of an error."""
    if isinstance(error, av.error.MemoryError):
        return f"it takes or claims too much memory, or has over {MAX_TRACKS} tracks"
    return error.strerror or str(error)


def _check_claims(path: str) -> None:
    claimed = claims(path)
    if claimed.tracks > MAX_TRACKS:
        raise VideoError(path, f"has {claimed.tracks} tracks, over the limit of {MAX_TRACKS}")
    if claimed.chapters > _MOST_CHAPTERS:
        raise VideoError(path, f"lists {claimed.chapters} chapters, over the limit of {_MOST_CHAPTERS}; remove them")
    if claimed.packets > _MOST_LISTED:
        raise VideoError(path, f"lists over {_MOST_LISTED} packets in its tables, the limit; cut it into parts")


def _open(path: str) -> av.container.InputContainer:
    # an absolute path is never taken for a protocol; tags of old files are often not UTF-8
    return av.open(os.path.abspath(path), options=_OPTIONS, metadata_errors="replace")


def _count_packets(container: av.container.InputContainer, streams: list[av.video.stream.VideoStream]) -> Counter:
    counts: Counter = Counter()
    try:
        for packet in container.demux(streams):
            counts[packet.stream_index] += packet.size > 0
            check_count(container.name, counts[packet.stream_index])
    except av.error.FFmpegError:
        return counts  # the rest of the file is cut or damaged
    return counts


def _track(stream: av.video.stream.VideoStream, frames: int) -> _Track:
    context = stream.codec_context
    return _Track(
        index=stream.index,
        codec=context.name,
        width=context.width,
        height=context.height,
        frames=frames,
        seconds=float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0,
        is_default=bool(stream.disposition & Disposition.default),
        is_still=bool(stream.disposition & _STILLS),
    )
