"""A variant of one video: frames by the one reader, changed and encoded again into an MP4, without sound.

The same video gives the same bytes: encoders run in one thread, and x264 without what depends on the CPU.
"""

import errno
import os
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from evaluation.robustness_frames import CHANGES, Place
from evaluation.variants import Change, Variant
from faces.video import VideoInfo, iter_all_frames
from faces.video_file import VideoError, plain
from runtime.errors import OutputError
from runtime.files import whole_file

_OPTIONS = {
    "libx264": {"threads": "1", "x264-params": "cpu-independent=1"},
    "libx265": {"x265-params": "pools=none:frame-threads=1:log-level=none"},
    "libvpx-vp9": {"threads": "1", "b": "0", "deadline": "good", "cpu-used": "4"},
}
_CLOCK = 90_000  # ticks a second
_RATES = (1, 240)  # frames a second that encoders are told, whatever a file says of itself
_UNKNOWN_RATE = 25
_FULL = (errno.ENOSPC, errno.EDQUOT)
_EARLY = 1e-4  # seconds: timestamps are rounded
_REMEDY = "make room there, or choose another --output-dir"


def has_encoder(codec: str) -> bool:
    """Whether the FFmpeg that is installed has it."""
    try:
        av.Codec(codec, "w")
    except av.codec.codec.UnknownCodecError:
        return False
    return True


def make_video(source: str, output: Path, variant: Variant) -> None:
    """Write a variant of a video, whole or not at all. Random changes are drawn by the output's name.

    Raises VideoError where the source can't be read to its end, or not encoded again, and OutputError.
    """
    if variant.codec is None:
        _link(source, output)
        return
    with whole_file(output, _REMEDY) as file, tempfile.TemporaryDirectory(dir=output.parent, prefix=".") as folder:
        path, changes = source, variant.changes
        for generation in range(1, variant.generations):
            earlier = Path(folder, f"{generation}.mp4")
            _encode(path, earlier, variant, changes, output.name)
            path, changes = str(earlier), ()
        _encode(path, file, variant, changes, output.name)


def _link(source: str, output: Path) -> None:
    try:
        os.symlink(os.path.abspath(source), output)
    except OSError as error:
        raise OutputError(f"{output}: can't be linked ({error.strerror}); choose another --output-dir") from error


def _encode(source: str, target: Path, variant: Variant, changes: Sequence[Change], name: str) -> None:
    try:
        _transcode(source, target, variant, changes, name)
    except av.error.FFmpegError as error:
        if error.errno in _FULL:
            raise OutputError(f"{target}: can't be written ({plain(error)}); {_REMEDY}") from error
        raise VideoError(source, f"can't be encoded again ({plain(error)})") from error


def _transcode(source: str, target: Path, variant: Variant, changes: Sequence[Change], name: str) -> None:
    frames = iter_all_frames(source, range)
    info = frames.look()
    rate = _rate_of(info)
    with av.open(os.path.abspath(target), "w", format="mp4") as container:
        stream, last, due = None, -1, 0.0
        for index, frame in frames:
            seconds = info.seconds_of(index)
            seconds = index / rate if seconds is None else seconds
            if variant.rate:
                if seconds < due - _EARLY:
                    continue
                due = (int((seconds + _EARLY) * variant.rate) + 1) / variant.rate
            for change in changes:
                frame = CHANGES[change.kind](frame, change.amount, Place(video=name, index=index))
            frame = _even(source, frame)
            if stream is None:
                stream = _stream_of(container, variant, frame, min(rate, variant.rate or rate))
            elif frame.shape[:2] != (stream.height, stream.width):
                raise VideoError(source, "changes the size of its frames: can't be encoded again as one video")
            last = max(last + 1, round(seconds * _CLOCK))
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture.pts, picture.time_base = last, Fraction(1, _CLOCK)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def _stream_of(
    container: av.container.OutputContainer, variant: Variant, frame: np.ndarray, rate: float
) -> av.video.stream.VideoStream:
    options = {"crf": str(variant.crf), **_OPTIONS[variant.codec]}
    stream = container.add_stream(variant.codec, rate=Fraction(rate).limit_denominator(1001), options=options)
    stream.height, stream.width = frame.shape[:2]
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = Fraction(1, _CLOCK)
    return stream


def _rate_of(info: VideoInfo) -> float:
    least, most = _RATES
    return min(max(info.rate or _UNKNOWN_RATE, least), most)


def _even(source: str, frame: np.ndarray) -> np.ndarray:
    """4:2:0 has colours for every other row and column: an odd last one is left out."""
    height, width = (side // 2 * 2 for side in frame.shape[:2])
    if not height or not width:
        raise VideoError(source, f"has frames of {frame.shape[1]}x{frame.shape[0]} pixels: too small to be encoded")
    return frame[:height, :width]
