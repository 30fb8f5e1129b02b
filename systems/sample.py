"""The seams between what drives a prediction and a system: samples, who makes them, who scores them, and the verdict.

    sampler: video -> samples     models: samples -> probabilities     verdict: a video's scored samples -> its score

A driver (`inference/pipeline.py`) knows these alone, and no system; a system knows no driver.
"""

import threading
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from faces.video import VideoInfo


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What a model sees at once: a face in one frame, or in several.

    pixels: uint8 RGB (t, h, w, 3), None once they are scored; frames: their indices in the video, ascending; track:
    which face of the frame, or which face through time; bbox: x1, y1, x2, y2 in pixels of the frame; detector_score:
    0 to 1, None where a track has none; flipped: whether the pixels are mirrored; model: the place, among the models of
    the run, of the one that it is for, None where it is for all; role: what the system calls that model; step: frames
    of the video from one that the system keeps to the next.
    """

    pixels: np.ndarray | None
    frames: tuple[int, ...]
    track: int
    bbox: tuple[int, int, int, int]
    detector_score: float | None
    flipped: bool = False
    model: int | None = None
    role: str = ""
    step: int = 1

    def without_pixels(self) -> "Sample":
        """The sample without its pixels, which may keep a whole frame in memory."""
        return replace(self, pixels=None)

    def scored(self, probabilities: list[float], info: VideoInfo | None = None) -> "ScoredFace":
        """With what the models made of it, and when it is shown, as far as the video tells."""
        first, last = (info.seconds_of(index) if info else None for index in (self.frames[0], self.frames[-1]))
        return ScoredFace(
            frame=self.frames[0],
            face=self.track,
            bbox=self.bbox,
            detector_score=self.detector_score,
            probabilities=probabilities,
            frames=self.frames if len(self.frames) > 1 else (),
            flipped=self.flipped,
            model=self.model,
            role=self.role,
            step=self.step,
            seconds=() if first is None or last is None else (first, last),
        )


@dataclass(frozen=True, kw_only=True)
class ScoredFace:
    """A sample without its pixels, and its probabilities "fake": one for each model, or, where it is for one model, one
    for each of its outputs. `frame` is the first of its `frames`, which are named where there are several; `face` is
    its track. `seconds`: when the first and the last of its frames are shown, from the video's first; empty where that
    is not known."""

    frame: int
    face: int
    bbox: tuple[int, int, int, int]
    detector_score: float | None
    probabilities: list[float]
    frames: tuple[int, ...] = ()
    flipped: bool = False
    model: int | None = None
    role: str = ""
    step: int = 1
    seconds: tuple[float, ...] = ()


@dataclass(kw_only=True)
class Account:
    """What a sampler tells of a video, as far as it has come."""

    frames: int = 0  # that were read
    frames_wanted: int = 0  # how many of those that it has were to be read; 0 where that is not known
    last_frame: int | None = None  # the index of the last frame that was looked at
    left_out: int = 0  # faces found in the frames that were looked at, and not scored
    at_face_limit: bool = False  # the limit of faces left some out
    notes: list[str] = field(default_factory=list)  # what a person should know of how the file is read
    info: VideoInfo | None = None  # what is known of the file
    searched: list[int] = field(default_factory=list)  # the frames that were looked at
    stopping: threading.Event = field(default_factory=threading.Event)  # set where the run is torn down

    def looked_at(self, frame: int) -> None:
        """Count a frame that was searched. Raises Stopped where the run is torn down."""
        self.check_stopped()
        self.frames += 1
        self.last_frame = frame
        self.searched.append(frame)

    def check_stopped(self) -> None:
        """Raises Stopped where the run is torn down."""
        if self.stopping.is_set():
            raise Stopped


class Stopped(Exception):
    """The run is being torn down."""


class Sampler(Protocol):
    """Finds what of a video is scored. Threads may call it at once."""

    def samples(self, path: str, account: Account) -> Iterator[Sample]:
        """The samples of a video in reading order, and in `account` what there is to tell. Raises VideoError. May be
        closed before its end."""


class Models(Protocol):
    """The models of a run. `lanes` is how many threads may call `score` at once. Batches hold samples of one kind, up
    to `batch_size`, put together from groups of `group` samples of one video (the last may be smaller)."""

    batch_size: int
    group: int
    lanes: int

    def kind(self, sample: Sample) -> Hashable:
        """What is the same for samples that may share a batch."""

    def prepare(self, sample: Sample) -> Any:
        """What `score` wants of a sample; called by the thread that found it."""

    def size_of(self, prepared: Any) -> int:
        """Bytes that it takes while it waits."""

    def score(self, kind: Hashable, batch: Sequence[Any]) -> Sequence[np.ndarray]:
        """The probabilities "fake" of each, float32. Raises DeviceError where a GPU has too little memory for one, or
        fails."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A video's score, and one for each model, in their order."""

    score: float
    model_scores: list[float]


@dataclass(frozen=True, kw_only=True)
class FacesTable:
    """What --faces-csv has beside the video: columns, and the rows of a video's faces."""

    columns: list[str]
    rows: Callable[[Sequence[ScoredFace]], list[list]]


@dataclass(frozen=True, kw_only=True)
class HowScored:
    """How a system makes scores, for a person: `strategy` in a word or few, `verdict` from faces to a video's score,
    `frames` that are looked at."""

    strategy: str
    verdict: str
    frames: str


GiveVerdict = Callable[[Sequence[ScoredFace]], Verdict]  # of at least one face
Settings = Mapping[str, Any]  # all that scores depend on besides videos, models and machine, as JSON has it
