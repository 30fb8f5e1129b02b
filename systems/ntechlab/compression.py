"""Compression as augmentation: a track's images encoded by x264 with drawn parameters, and decoded again.

    images --> fewer of them a second --> scaled --> libx264 --> the frames that a sample takes, of the scaled size

The published loader piped all PNGs through two ffmpeg processes. Here libx264 runs in this process, on one thread, and
what no sample sees is left out: images that the lower frame rate drops are not asked for, and encoding ends with the
last frame that is wanted. x264 has looked at all of them by then, so those that come are the very same.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from systems.ntechlab.track_crops import FRAMES

TUNES = ("film", "animation", "grain", "stillimage", "fastdecode", "zerolatency")
PIX_FMT = "yuv444p"  # what ffmpeg made of PNGs; videos that are shared have yuv420p
PIX_FMTS = (PIX_FMT, "yuv420p")
_SOURCE_FPS = 30  # whatever the video's rate was
_OPTIONS = {
    # x264's AVX-512 code for macroblock trees reads memory that nobody has written (core 165), so that the same images
    # give other bytes each time; by this option that step is plain C, and the bytes are the same on every CPU
    "x264-params": "cpu-independent=1",
}


@dataclass(frozen=True, kw_only=True)
class Compression:
    """What a track is encoded with: `fps` of its 30 frames a second, sides times `scale`, x264's rate factor, tune."""

    fps: int
    scale: float
    crf: int
    tune: str

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the compressed frames in pixels, even; at least 2, which the published code did not see
        to."""
        return max(round(self.scale * height) // 2 * 2, 2), max(round(self.scale * width) // 2 * 2, 2)


def draw_compression(draw: random.Random) -> Compression | None:
    """None for half of the tracks; else the parameters, drawn in the published order."""
    if draw.random() > 0.5:
        return None
    return Compression(
        fps=draw.randrange(15, 30) if draw.random() > 0.5 else _SOURCE_FPS,
        scale=draw.uniform(0.25, 1) if draw.random() > 0.5 else 1,
        crf=draw.randrange(17, 40),
        tune=draw.choice(TUNES),
    )


def frame_numbers(frames: Sequence[int], count: int) -> list[int]:
    """Which of `count` frames stand for these of the 50 that a track has, or should have: both are spread over the same
    time. A shorter track, too, is divided by 50, as published."""
    numbers = np.round(np.asarray(frames, np.float32) / FRAMES * count)
    return np.clip(numbers, 0, count - 1).astype(int).tolist()


def kept_images(count: int, fps: int) -> list[int]:
    """Which of `count` images at 30 frames a second are shown at `fps`, at most 30, in order (ffmpeg's filter "fps").

    A frame is the last image whose time is at most its own, when times are rounded to whole frames.
    """
    at = [_rounded(image, fps) for image in range(count)]
    last_at = {frame: image for image, frame in enumerate(at)}
    return [last_at[frame] for frame in range(_rounded(count, fps))]


def compress(
    images: Sequence[np.ndarray],
    compression: Compression,
    size: tuple[int, int],
    frames: Sequence[int],
    *,
    pix_fmt: str = PIX_FMT,
) -> list[np.ndarray]:
    """`frames` of a track's 50, compressed: RGB uint8 (*size, 3).

    `images` are RGB uint8 (h, w, 3), at 30 frames a second; those that are needed are asked for, once and in order.
    `size` is (height, width), even. Raises av.error.FFmpegError where x264 can't encode frames of that size.
    """
    wanted = frame_numbers(frames, len(kept_images(len(images), compression.fps)))
    return decode(encode(images, compression, size, last=max(wanted), pix_fmt=pix_fmt), wanted)


def encode(
    images: Sequence[np.ndarray],
    compression: Compression,
    size: tuple[int, int],
    *,
    last: int | None = None,
    pix_fmt: str = PIX_FMT,
) -> Iterator[av.Packet]:
    """H.264 packets in decoding order, which number the frames by pts: all, or as many as the frames up to `last` take.

    Arguments and errors as of `compress`.
    """
    encoder = av.CodecContext.create("libx264", "w")
    encoder.height, encoder.width = size
    encoder.pix_fmt = pix_fmt
    encoder.framerate = Fraction(compression.fps)
    encoder.time_base = 1 / encoder.framerate
    encoder.thread_count = 1
    encoder.options = {"crf": str(compression.crf), "tune": compression.tune, **_OPTIONS}
    kept = kept_images(len(images), compression.fps)
    waited_for = set(range(len(kept) if last is None else last + 1))
    for packet in _packets(encoder, (images[number] for number in kept)):
        yield packet
        waited_for.discard(packet.pts)
        if not waited_for:
            return


def decode(packets: Iterable[av.Packet], wanted: Sequence[int]) -> list[np.ndarray]:
    """The frames of these numbers, RGB uint8 (h, w, 3), from what `encode` gave."""
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    reformatter = VideoReformatter()
    found = {}
    for packet in (*packets, None):
        for frame in decoder.decode(packet):
            if frame.pts in wanted:
                found[frame.pts] = _reformat(reformatter, frame, format="rgb24").to_ndarray()
    return [found[number] for number in wanted]


def _rounded(image: int, fps: int) -> int:
    """The frame nearest to an image's time; halves are rounded up."""
    return (2 * image * fps + _SOURCE_FPS) // (2 * _SOURCE_FPS)


def _packets(encoder: av.VideoCodecContext, images: Iterable[np.ndarray]) -> Iterator[av.Packet]:
    reformatter = VideoReformatter()
    for number, image in enumerate(images):
        rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame = _reformat(reformatter, rgb, width=encoder.width, height=encoder.height, format=encoder.pix_fmt)
        frame.pts, frame.time_base = number, encoder.time_base
        yield from encoder.encode_lazy(frame)
    yield from encoder.encode_lazy(None)


def _reformat(reformatter: VideoReformatter, frame: av.VideoFrame, **to: int | str) -> av.VideoFrame:
    """Scale and convert colours in one step, bicubic as ffmpeg's filters do."""
    return reformatter.reformat(frame, interpolation=Interpolation.BICUBIC, threads=1, **to)
