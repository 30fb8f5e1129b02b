"""Files of clips and mini videos: as data preparation encodes them, and as training reads them.

H.264 as scikit-video writes it by default, which is what the published scripts did: 25 frames a second, rate factor 23,
YUV without subsampled colours. The same pictures give the same bytes each time, on every CPU.
"""

import os
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
import numpy as np

from faces.video import iter_all_frames, iter_frames
from runtime.errors import ItemError
from systems.medics.clips import SIZE

# in a data root
BY_PART, BY_LABEL = "face_videos_by_part", "face_videos_by_real_fake"
MINI_VIDEOS, TABLE = "mini-videos", "train_minivideos_df.csv"
LABELS = ("REAL", "FAKE")  # by the label, of which 1 is fake

RATE = 25  # frames a second
ENCODER = 1  # raised when the same pictures give other bytes than before
MOST_OPEN = 4  # encoders at a time; each holds 35 MB, as it looks ahead
_SAME_BYTES = {"threads": "1", "x264-params": "cpu-independent=1"}
_PUBLISHED = ("libx264", "yuv444p", {"crf": "23"})
_LOSSLESS = ("libx264rgb", "rgb24", {"qp": "0", "preset": "veryfast"})


class Plan(Protocol):
    """What a plan of a clip or mini video tells: its frames, counted from the video's beginning."""

    @property
    def video_frames(self) -> range: ...


def clip_length(path: str | os.PathLike) -> int:
    """How many frames a clip has, by the packets of its file: none is decoded. Raises ItemError where it can't be
    read."""
    return iter_frames(path, lambda count: []).look().frame_count


def read_clip(path: str | os.PathLike, start: int, count: int, *, any_size: bool = False) -> np.ndarray:
    """Frames `start` to `start + count - 1` of a clip, uint8 RGB (count, 256, 256, 3); with `any_size`, for mini
    videos, (count, height, width, 3) of at most 256.

    Decoding begins at the last key frame before them and ends with them. Raises ItemError where the file is damaged,
    has not all of these frames, or is no such file.
    """
    frames = iter_all_frames(path, lambda frame_count: range(start, start + count))
    length = frames.look().frame_count
    if length < start + count:
        raise ItemError(f"{os.fspath(path)}: has {length} frames, and {start} to {start + count - 1} are wanted")
    clip = np.zeros((0, 0, 0, 3), np.uint8)
    for place, (_, frame) in enumerate(frames):
        if not place:
            clip = np.zeros((count, *_checked_shape(path, frame, any_size)), np.uint8)
        if frame.shape != clip.shape[1:]:
            raise ItemError(f"{os.fspath(path)}: changes its size; make it anew by its stage")
        clip[place] = frame
    return clip


def _checked_shape(path: str | os.PathLike, frame: np.ndarray, any_size: bool) -> tuple[int, ...]:
    height, width = frame.shape[:2]
    if max(height, width) > SIZE or (not any_size and frame.shape != (SIZE, SIZE, 3)):
        wanted = f"at most {SIZE}x{SIZE}" if any_size else f"{SIZE}x{SIZE}"
        raise ItemError(f"{os.fspath(path)}: has frames of {width}x{height} pixels, and a clip has {wanted}")
    return frame.shape


class ClipWriter:
    """Encodes pictures, uint8 RGB (height, width, 3) of one size, to an MP4 file. Use it in a `with`: the file is whole
    after it. Raises FFmpegError, as an OSError where the file can't be written."""

    def __init__(self, path: Path, *, lossless: bool = False):
        self.frames = 0
        self._codec, self._format, self._options = _LOSSLESS if lossless else _PUBLISHED
        self._container = av.open(os.path.abspath(path), "w", format="mp4")
        self._stream: av.VideoStream | None = None

    def __enter__(self) -> "ClipWriter":
        return self

    def __exit__(self, *error: object) -> None:
        with self._container:
            if self._stream is not None and error[0] is None:
                self._container.mux(self._stream.encode(None))

    def add(self, picture: np.ndarray) -> None:
        if self._stream is None:
            options = {**self._options, **_SAME_BYTES}
            self._stream = self._container.add_stream(self._codec, rate=RATE, options=options)
            self._stream.height, self._stream.width = picture.shape[:2]
            self._stream.pix_fmt = self._format
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        frame.pts, frame.time_base = self.frames, Fraction(1, RATE)
        self._container.mux(self._stream.encode(frame))
        self.frames += 1


def write_clips(
    files: Sequence[tuple[Path, Plan]], pictures: Iterable[tuple[Plan, np.ndarray]], *, lossless: bool = False
) -> dict[str, int]:
    """Encode the `pictures` of plans as they come, frame after frame, each plan's to its file. Files of
    plans without a picture are not made. An encoder takes memory: of plans that overlap in time give MOST_OPEN at most.

    Returns the number of frames by the name of the file.
    """
    paths = {id(plan): path for path, plan in files}
    lengths = {path.name: 0 for path, _ in files}
    with ExitStack() as still_open:
        writers: dict[str, tuple[ClipWriter, ExitStack]] = {}
        for plan, picture in pictures:
            path = paths[id(plan)]
            if path.name not in writers:
                stack = still_open.enter_context(ExitStack())
                writers[path.name] = stack.enter_context(ClipWriter(path, lossless=lossless)), stack
            writer, stack = writers[path.name]
            writer.add(picture)
            lengths[path.name] = writer.frames
            if writer.frames == len(plan.video_frames):
                stack.close()
    return lengths
