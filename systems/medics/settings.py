"""The settings of inference, with the published defaults."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from systems.medics.models import model_spec

MTCNN_FACTOR = 0.71  # from one size of the detector's image pyramid to the next
LONGEST_SIDE = 1920  # pixels; a video of any size is scaled as if its longest side were this


def _check(is_right: bool, name: str, value: object, remedy: str) -> None:
    if not is_right:
        raise ValueError(f"{name} is {value}; give {remedy}")


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One pass of the detector: `scale` of frames whose longest side is 1920 pixels, MTCNN's three thresholds, and how
    many tracks, the surest first, are scored."""

    scale: float
    thresholds: tuple[float, float, float]
    most_faces: int

    def __post_init__(self):
        _check(0 < self.scale <= 1, "scale", self.scale, "above 0 and at most 1")
        _check(
            len(self.thresholds) == 3 and all(0 <= each <= 1 for each in self.thresholds),
            "thresholds",
            self.thresholds,
            "three numbers from 0 to 1",
        )
        _check(self.most_faces >= 1, "most_faces", self.most_faces, "1 or more")


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
            _check(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        least = self.frame_step * (self.least_rows - 1) + 1
        _check(self.frame_limit >= least, "frame_limit", self.frame_limit, f"{least} or more, or no track is found")
        _check(len(self.attempts) > 0, "attempts", self.attempts, "one attempt or more")
        for name, weight in self.model_weights.items():
            model_spec(name)
            _check(math.isfinite(weight) and weight >= 0, f"model_weights[{name}]", weight, "0 or more")
        low, high = self.clamp
        _check(0 <= low <= high <= 1, "clamp", self.clamp, "lowest and highest score, from 0 to 1")
        _check(0 <= self.no_face <= 1, "no_face", self.no_face, "from 0 to 1")
