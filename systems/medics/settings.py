"""The settings of inference, with the published defaults."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from systems.medics.models import model_spec

MTCNN_FACTOR = 0.71  # from one size of the detector's image pyramid to the next
LONGEST_SIDE = 1920  # pixels; a video of any size is scaled as if its longest side were this


def _check(is_right: bool, name: str, value: object, remedy: str) -> None:
    if not is_right:
        raise ValueError(f"{name} is {value!r:.80}; give {remedy}")


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 1


def _is_number(value: object) -> bool:
    """A finite one; a whole number may have more digits than a float can have."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def _is_share(value: object) -> bool:
    return _is_number(value) and 0 <= value <= 1


def _are_shares(value: object, count: int) -> bool:
    return isinstance(value, tuple) and len(value) == count and all(map(_is_share, value))


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One pass of the detector: `scale` of frames whose longest side is 1920 pixels, MTCNN's three thresholds, and how
    many tracks, the surest first, are scored."""

    scale: float
    thresholds: tuple[float, float, float]
    most_faces: int

    def __post_init__(self):
        _check(_is_share(self.scale) and self.scale > 0, "scale", self.scale, "above 0 and at most 1")
        _check(_are_shares(self.thresholds, 3), "thresholds", self.thresholds, "three numbers from 0 to 1")
        _check(_is_count(self.most_faces), "most_faces", self.most_faces, "1 or more")


_MOST_ATTEMPTS = 16  # each has a detector of its own
_SURE, _UNSURE = (0.8, 0.8, 0.9), (0.5, 0.5, 0.5)
_ATTEMPTS = (
    Attempt(scale=0.25, thresholds=_SURE, most_faces=5),
    Attempt(scale=0.5, thresholds=_SURE, most_faces=5),
    Attempt(scale=0.25, thresholds=_UNSURE, most_faces=1),
    Attempt(scale=0.5, thresholds=_UNSURE, most_faces=1),
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a video is scored. Raises ValueError for a value that makes no sense.

    `frame_limit`: frames of a chunk, of which a track is a part; the first chunk alone is scored unless `whole_video`.
    `frame_step`: every so manieth frame is searched. `least_rows`: sampled frames that a track has. `attempts` are made
    in order until one finds a track. `frames_2d`: first frames of a track that the 2D network sees. `model_weights`:
    of a model's score in the video's, by name; 1 where it is not named. `clamp`: lowest and highest score. `no_face`:
    the score without a face.
    """

    frame_limit: int = 100
    whole_video: bool = False
    frame_step: int = 10
    least_rows: int = 4
    attempts: tuple[Attempt, ...] = _ATTEMPTS
    frames_2d: int = 32
    model_weights: Mapping[str, float] = field(default_factory=dict)
    clamp: tuple[float, float] = (0.001, 0.999)
    no_face: float = 0.5

    def __post_init__(self):
        for name in ("frame_step", "least_rows", "frames_2d"):
            _check(_is_count(getattr(self, name)), name, getattr(self, name), "1 or more")
        any_frame = self.frame_step * self.least_rows > 1  # a track ends a frame before its rows do
        _check(any_frame, "least_rows", self.least_rows, "2 or more where every frame is searched")
        least = self.frame_step * (self.least_rows - 1) + 1
        enough = _is_count(self.frame_limit) and self.frame_limit >= least
        _check(enough, "frame_limit", self.frame_limit, f"{least} or more, or no track is found")
        _check(isinstance(self.whole_video, bool), "whole_video", self.whole_video, "true or false")
        few = 0 < len(self.attempts) <= _MOST_ATTEMPTS
        _check(few, "attempts", self.attempts, f"one attempt or more, {_MOST_ATTEMPTS} at most")
        weights = self.model_weights
        _check(isinstance(weights, Mapping), "model_weights", weights, "a weight for each name")
        for name, weight in weights.items():
            model_spec(name)
            _check(_is_number(weight) and weight >= 0, f"model_weights[{name}]", weight, "0 or more")
        in_order = _are_shares(self.clamp, 2) and self.clamp[0] <= self.clamp[1]
        _check(in_order, "clamp", self.clamp, "lowest and highest score, from 0 to 1")
        _check(_is_share(self.no_face), "no_face", self.no_face, "from 0 to 1")
