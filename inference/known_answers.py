"""Known answers: what each step from a video to a score makes of made-up input, and how far a machine may be off.

known_answers.json, beside this, holds them; `python -m benchmarks.make_known_answers` writes it. Steps get input that
is made up for them, not what the step before made: so what is off is told by its name.
"""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from faces.face_detector import FacenetDetector
from faces.fit import isotropically_resize_image, put_to_center
from faces.resize import resize_rgb
from faces.video import iter_frames
from inference.made_input import CODECS, HEIGHT, WIDTH, made_frames, write_made_video
from runtime import limits
from runtime.errors import InputError
from runtime.files import read_json

FILE = Path(__file__).with_suffix(".json")
FRAME = 12  # the one that is looked at closely
_SIDE = 24  # pixels of what is kept of a picture
_FACE = slice(94, 151), slice(130, 181)  # of the made-up face in that frame
_THRESHOLDS = (0.7, 0.8, 0.8)


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """How far numbers may be off: each, and on average."""

    each: float
    mean: float


@dataclass(frozen=True, kw_only=True)
class Step:
    """A step, in words, what it makes of made-up input, how far off that may be, and the name of its known answer.
    `make` gets a folder that it may write to."""

    name: str
    make: Callable[[Path], np.ndarray]
    tolerance: Tolerance
    answer: str


def steps() -> list[Step]:
    """The steps that are the same for all systems and engines, but for the detector (`detect`)."""
    exact = Tolerance(each=1, mean=0.1)  # another processor may round otherwise here and there
    times = Tolerance(each=1e-6, mean=1e-6)
    colours = Tolerance(each=6, mean=0.7)  # libraries of other processors interpolate colour in other steps
    found = []
    for codec in CODECS:
        for what, make, tolerance in (("times", _times, times), ("colours", _colours, colours)):
            name = f"decode: {what} of frames, {codec}"
            found.append(Step(name=name, make=partial(make, codec=codec), tolerance=tolerance, answer=what))
    for name, make, answer in (
        ("Pillow, to half", partial(_shrunk, 2), "half"),
        ("Pillow, to a third", partial(_shrunk, 3), "third"),
        ("OpenCV, smaller", partial(_fitted, 40), "smaller"),
        ("OpenCV, larger", partial(_fitted, 100), "larger"),
    ):
        found.append(Step(name=f"resize: {name}", make=make, tolerance=exact, answer=answer))
    return found


def detect(engine: str, device: Any) -> np.ndarray:
    """Boxes and scores of the face in three frames, (3, 5), by a detector's engine. Raises what the detector does, and
    ValueError where it does not find one face in each."""
    detector = FacenetDetector(thresholds=_THRESHOLDS, engine=engine, device=device)
    found = detector.detect([made_frames()[number] for number in (0, FRAME, 21)])
    if any(len(faces.scores) != 1 for faces in found):
        raise ValueError(f"finds {', '.join(str(len(faces.scores)) for faces in found)} faces in frames of one")
    return np.concatenate([np.concatenate([faces.bboxes, faces.scores[:, None]], axis=1) for faces in found])


DETECT = Tolerance(each=0.05, mean=0.02)  # pixels


def difference(found: np.ndarray, known: np.ndarray, tolerance: Tolerance) -> str | None:
    """In words, how numbers are off; None where they are as they must be."""
    if found.shape != known.shape:
        return f"has the shape {found.shape}, and must have {known.shape}"
    apart = np.abs(found.astype(np.float64) - known.astype(np.float64))
    if not np.isfinite(apart).all():
        return "has values that are no numbers"
    if apart.max() > tolerance.each or apart.mean() > tolerance.mean:
        return f"is off by up to {apart.max():.3g} (mean {apart.mean():.3g}), and may be by {tolerance.each:g}"
    return None


def middle(image: np.ndarray) -> np.ndarray:
    """What is kept of a picture (h, w, 3): its middle, (24, 24, 3) or less."""
    top, left = (max(0, (length - _SIDE) // 2) for length in image.shape[:2])
    return image[top : top + _SIDE, left : left + _SIDE]


def encoded(values: np.ndarray) -> dict[str, Any]:
    """As JSON has an array."""
    if values.dtype == np.uint8:
        return {"shape": list(values.shape), "bytes": base64.b64encode(values.tobytes()).decode()}
    return {"shape": list(values.shape), "numbers": [float(value) for value in values.ravel()]}


def decoded(content: Mapping[str, Any]) -> np.ndarray:
    """The array that JSON has."""
    if "bytes" in content:
        return np.frombuffer(base64.b64decode(content["bytes"]), np.uint8).reshape(content["shape"])
    return np.array(content["numbers"]).reshape(content["shape"])


def read_answers(path: Path = FILE) -> dict[str, Any]:
    """The known answers. Raises InputError where the file can't be read."""
    try:
        return read_json(path, limits.CONFIG)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: can't be read ({error}); get the project's files anew") from error


def _times(folder: Path, codec: str) -> np.ndarray:
    frames = iter_frames(write_made_video(folder, codec), range)
    indices = [index for index, _ in frames]
    return np.stack([np.array(indices, np.float64), frames.info.times])


def _colours(folder: Path, codec: str) -> np.ndarray:
    _, frame = next(iter_frames(write_made_video(folder, codec), lambda count: [FRAME]))
    return middle(frame[_FACE])


def _shrunk(divisor: int, _folder: Path) -> np.ndarray:
    frame = resize_rgb(made_frames()[FRAME], WIDTH // divisor, HEIGHT // divisor)
    rows, columns = (slice(each.start // divisor, each.stop // divisor) for each in _FACE)
    return middle(frame[rows, columns])


def _fitted(side: int, _folder: Path) -> np.ndarray:
    return middle(put_to_center(isotropically_resize_image(made_frames()[FRAME][_FACE], side), side))
