"""Variants of videos: what becomes of a video on its way, described as data. robustness_videos.py makes them.

Among them is what the test set of the Deepfake Detection Challenge was put through (Dolhansky et al. 2020): blur,
brightness, contrast, frame rate, grey, flips, noise, encoding, resolution and rotation, and drawn text, shapes and
flashing dots; but for pictures laid over a video, which are other people's, and for sound, which no variant keeps.
"""

import hashlib
import json
from dataclasses import asdict, dataclass

_FORMAT = 1  # raised whenever the same description would give other videos than before
IDENTITY = "identity"


@dataclass(frozen=True, kw_only=True)
class Change:
    """What is done to each frame: one of robustness_frames.CHANGES, and how much of it."""

    kind: str
    amount: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Variant:
    """What is done to a video: its frames are changed, those beyond so many a second are left out, and the others are
    encoded, as often as there are generations. `codec` is FFmpeg's name of an encoder, None for the files themselves,
    and `crf` its constant rate factor. `about` is a line for a person."""

    name: str
    about: str
    changes: tuple[Change, ...] = ()
    codec: str | None = "libx264"
    crf: int = 18
    rate: float | None = None
    generations: int = 1

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits that tell apart what gives other videos."""
        described = {**asdict(self), "format": _FORMAT}
        del described["about"]
        return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]


def _changed(name: str, about: str, kind: str, amount: float = 1.0) -> Variant:
    """Frames that are changed, then encoded so well that what is seen is the change."""
    return Variant(name=name, about=about, changes=(Change(kind=kind, amount=amount),))


_ALL = (
    Variant(name=IDENTITY, about="the files themselves", codec=None),
    *(Variant(name=f"crf{crf}", about=f"H.264, CRF {crf}", crf=crf) for crf in (23, 28, 35, 40)),
    Variant(name="hevc", about="HEVC, CRF 28", codec="libx265", crf=28),
    Variant(name="vp9", about="VP9, CRF 37", codec="libvpx-vp9", crf=37),
    _changed("half", "half the width and height", "scale", 0.5),
    _changed("quarter", "a quarter of the width and height", "scale", 0.25),
    Variant(name="fps15", about="at most 15 frames a second", rate=15.0),
    Variant(name="generations", about="H.264 in 4:2:0, CRF 23, three times one after another", crf=23, generations=3),
    _changed("crop", "the centre, 80 % of the width and height", "crop", 0.8),
    _changed("blur", "Gaussian blur, its sigma a 360th of the shorter side", "blur", 1 / 360),
    _changed("noise", "Gaussian noise, its sigma 10 of 255, another in each frame", "noise", 10.0),
    _changed("bright", "1.4 times as bright", "brightness", 1.4),
    _changed("dark", "0.6 times as bright", "brightness", 0.6),
    _changed("contrast", "1.5 times the contrast", "contrast", 1.5),
    _changed("grey", "without colour", "grey"),
    _changed("flip", "left and right changed over", "flip"),
    _changed("rotate", "turned by 10 degrees about the centre", "rotate", 10.0),
    _changed("text", "three lines of text over the picture", "text", 3),
    _changed("shapes", "six filled shapes over the picture", "shapes", 6),
    _changed("dots", "sixty dots over the picture, others in each frame", "dots", 60),
    Variant(
        name="social",
        about="as a social network keeps it: 480 pixels on the shorter side, H.264, CRF 32, no sound",
        changes=(Change(kind="shorter_side", amount=480),),
        crf=32,
    ),
)
VARIANTS = {variant.name: variant for variant in _ALL}
