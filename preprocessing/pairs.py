"""What a fake has in common with the video that it was made from: which frames, and where in them the faces are.

The published pipeline takes for granted that a fake has its original's size and length. Where it does not, crops at the
original's boxes would show whatever lies there, and be labelled FAKE.
"""

import os
from dataclasses import dataclass, field
from functools import lru_cache

from faces.video import VideoInfo, probe
from runtime.errors import ItemError
from runtime.files import file_identity

_ROUNDED = 2  # pixels by which a side may be off after scaling: encoders want even ones
_FRAMES, _SHARE = 2, 0.02  # lengths and rates that differ by no more are the same: a frame is easily lost at an end

Scale = tuple[float, float]  # pixels of the fake for one of its original, across and down


@dataclass(frozen=True, kw_only=True)
class Match:
    """How a fake's frames lie on its original's, and what a person should know of it."""

    scale: Scale = (1, 1)
    warnings: list[str] = field(default_factory=list)


def match(fake: str, original: str) -> Match:
    """Look at both videos. Raises ItemError where frames of the same number, or places in them, don't correspond."""
    return Match(scale=scale_of(fake, original), warnings=_look(fake).notes + _compare_lengths(fake, original))


def scale_of(fake: str, original: str) -> Scale:
    """The scale of a fake. Raises ItemError where its frames are of another shape than its original's."""
    ours, theirs = _look(fake), _look(original)
    error = abs(ours.width * theirs.height - theirs.width * ours.height)
    if error > _ROUNDED * max(ours.width, ours.height, theirs.width, theirs.height):
        raise ItemError(
            f"{fake}: has frames of {_size(ours)} pixels, its original {os.path.basename(original)} of "
            f"{_size(theirs)}: the faces' boxes don't fit; turn, crop or pad it as its original, or remove it"
        )
    return ours.width / theirs.width, ours.height / theirs.height


def _compare_lengths(fake: str, original: str) -> list[str]:
    """A warning where some frames have no counterpart. Raises ItemError where none can be relied on to have one."""
    ours, theirs, name = _look(fake), _look(original), os.path.basename(original)
    lengths = abs(ours.frame_count - theirs.frame_count)
    if not lengths:
        return []
    has_other_rate = ours.rate and theirs.rate and abs(ours.rate - theirs.rate) > _SHARE * theirs.rate
    if has_other_rate and lengths > max(_FRAMES, _SHARE * theirs.frame_count):
        raise ItemError(
            f"{fake}: has {_length(ours)}, its original {name} {_length(theirs)}: frames of the same number don't show "
            "the same moment; encode it at its original's rate, or remove it"
        )
    return [f"has {_length(ours)}, its original {name} {_length(theirs)}: only the frames that both have are used"]


def _look(path: str) -> VideoInfo:
    """As `probe`, but a video is looked at only once however many fakes were made from it."""
    return _probe(path, file_identity(path))


@lru_cache(maxsize=4096)
def _probe(path: str, identity: tuple[int, int] | None) -> VideoInfo:
    return probe(path)


def _size(info: VideoInfo) -> str:
    return f"{info.width}x{info.height}"


def _length(info: VideoInfo) -> str:
    return f"{info.frame_count} frames" + (f" at {info.rate:.4g} a second" if info.rate else "")
