"""Calibrations: files by which scores become likelihood ratios, and what these say in words.

    python -c "from evaluation.calibration import load_calibration; print(load_calibration('calibration.json').bounds)"

calibrate.py fit writes them. A likelihood ratio says how many times as probable a score is for a fake as for a real
video. It is no probability that the video is fake: that depends on what else is known of it.
"""

import json
import math
import os
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, JsonValue, ValidationError, model_validator

from evaluation.calibrators import Isotonic, Logistic, log_odds_of
from runtime import limits
from runtime.errors import InputError
from runtime.files import read_text, without_twins, write_json
from systems.config import Strict, number, whole_number

VERSION = 1  # of the file's keys and of what they mean; raised when the same file would give other ratios
_REMEDY = "write it again with calibrate.py fit"
_STEP = 0.02  # of bounds, with what rounding adds
_WORDS = (  # and the ratio from which each holds, of ENFSI's guideline for evaluative reporting (2015)
    (1e6, "extremely strongly"),
    (1e4, "very strongly"),
    (1e3, "strongly"),
    (1e2, "moderately strongly"),
    (1e1, "moderately"),
    (2.0, "weakly"),
)

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{16,64}$")]
Log10 = Annotated[float, number(-20, 20)]
Score = Annotated[float, number(0, 1)]


class ModelFile(Strict):
    """A checkpoint: its name, and the first 16 digits of its SHA-256 as predict_folder.py writes them."""

    name: str
    sha256: Digest


class Origin(Strict):
    """What scores were made by. `settings` are the other settings of the run, such as precision and frames."""

    system: str
    models: list[ModelFile] = Field(min_length=1)
    strategy: str
    settings: dict[str, JsonValue]


class File(Strict):
    name: str
    sha256: Digest


class Data(Strict):
    """What a calibration was learned from. `cluster_by` is what says which videos belong together. `left_out` counts
    videos by the reason why they have no part in it."""

    submission: File
    labels: list[File]
    videos: int = whole_number(2)
    fake: int = whole_number(1)
    real: int = whole_number(1)
    cluster_by: str
    clusters: int = whole_number(2)
    left_out: dict[str, int]


class CrossValidation(Strict):
    """Cllr in bits of each method that was tried, of videos while they were left out."""

    folds: int = whole_number(2)
    cllr: dict[str, float]


class Project(Strict):
    """Which version of this project wrote a file; `commit` and `changed` (whether the tree has other files than the
    commit) are null where it is no git tree."""

    version: str
    commit: str | None
    changed: bool | None


class Calibration(Strict):
    """A calibration file. `origin` is null where nothing told whose the scores were (calibrate.py fit --trust).

    `bounds` are those of log10 ratios, `scores_seen` the lowest and highest score that it was learned from.
    """

    version: Literal[VERSION] = VERSION
    project: Project
    date: str
    origin: Origin | None
    data: Data
    cross_validation: CrossValidation
    calibrator: Annotated[Logistic | Isotonic, Field(discriminator="method")]
    bounds: tuple[Log10, Log10]
    scores_seen: tuple[Score, Score]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.bounds[0] <= 0 <= self.bounds[1]:
            raise ValueError("bounds must have 0 between them")
        if self.scores_seen[0] >= self.scores_seen[1]:
            raise ValueError("scores_seen must rise")
        if self.data.fake + self.data.real != self.data.videos:
            raise ValueError("data.fake and data.real must be data.videos together")
        most = -math.log10(self.data.fake + 1), math.log10(self.data.real + 1)
        if self.bounds[0] < most[0] - _STEP or self.bounds[1] > most[1] + _STEP:
            raise ValueError("bounds are beyond what so many videos allow")
        return self

    def check(self, system: str, models: Iterable[Sequence[str]], strategy: str, file: str = "--calibration") -> None:
        """Raises InputError unless it was learned from scores of these.

        `models` are pairs of name and SHA-256 (16 digits), as in the settings of predict_folder.py; names and order
        don't count. `file` is for the message.
        """
        if self.origin is None:
            raise InputError(
                f"{file}: was fitted without a record of whose scores they were (--trust): it can't be told whether "
                "it is for these; fit one beside the summary that predict_folder.py writes"
            )
        models = sorted((digest, name) for name, digest in models)
        mine = sorted((each.sha256, each.name) for each in self.origin.models)
        remedy = "fit one on scores like these"
        if self.origin.system != system:
            raise InputError(f"{file}: is for scores of system {self.origin.system}, these are {system}'s; {remedy}")
        if [digest for digest, _ in mine] != [digest for digest, _ in models]:
            told = [", ".join(f"{name} ({digest[:8]}...)" for digest, name in each) for each in (mine, models)]
            raise InputError(f"{file}: is for scores of other models, {told[0]}; these are of {told[1]}; {remedy}")
        if self.origin.strategy != strategy:
            raise InputError(
                f"{file}: is for scores of strategy {self.origin.strategy}, these are of {strategy}; {remedy}"
            )

    def other_settings(self, settings: dict[str, JsonValue]) -> list[str]:
        """The settings of a run that differ from those of the calibration's scores, a few words each: such as precision
        and frames. They move scores a little, and ratios with them."""
        known = self.origin.settings if self.origin else {}
        return [
            f"{key} is {settings.get(key)}, was {known.get(key)}"
            for key in sorted(known.keys() | settings.keys())
            if known.get(key) != settings.get(key)
        ]

    def log10_lr(self, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The log10 likelihood ratios (n,) float64, within the bounds, of scores (n,) from 0 to 1; and which of the
        scores, (n,) bool, are outside of those that it was learned from: they get the ratio of the nearest one.

        A score of 0.5 that stands for no face or no readable file has no ratio: leave it out. Raises ValueError for
        what is no probability.
        """
        scores = np.asarray(scores, np.float64)
        if not ((scores >= 0) & (scores <= 1)).all():
            raise ValueError("scores must be from 0 to 1")
        seen = np.clip(scores, *self.scores_seen)
        return np.clip(self.calibrator.log10_lr(log_odds_of(seen)), *self.bounds), seen != scores

    def at_bounds(self, log10_lr: np.ndarray) -> np.ndarray:
        """Which ratios (n,) bool are at a bound: the data allow no stronger one, however far the score goes."""
        return (log10_lr <= self.bounds[0]) | (log10_lr >= self.bounds[1])


def load_calibration(path: str | os.PathLike, flag: str = "--calibration") -> Calibration:
    """A calibration file. Raises InputError, which names the file, the key and the remedy."""
    where = f"{flag} {os.fspath(path)}"
    try:
        text = read_text(path, limits.CONFIG)
        calibration = Calibration.model_validate_json(text)
        json.loads(text, object_pairs_hook=without_twins)
        return calibration
    except OSError as error:
        raise InputError(f"{where}: can't be read ({error.strerror}); name a file of calibrate.py fit") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: is no text; {_REMEDY}") from error
    except ValidationError as error:
        raise InputError(f"{where}: is no calibration, or damaged: {first_of(error)}; {_REMEDY}") from error
    except ValueError as error:
        raise InputError(f"{where}: is no calibration, or damaged: {error}; {_REMEDY}") from error


def first_of(error: ValidationError) -> str:
    """The first key that is wrong, and why; unknown ones before others, as they tell most of what a file is."""
    first = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
    return f"{'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}"


def write_calibration(path: str | os.PathLike, calibration: Calibration) -> None:
    """Raises OutputError."""
    content = calibration.model_dump(mode="json")
    write_json(path, content, "choose another --output", follow=True, end="\n", indent=2, allow_nan=False)


def in_words(log10_lr: float) -> str:
    """What a ratio supports, in a sentence of ENFSI's scale: how probable the score is if the video is fake and if it
    is real, and nothing of how probable it is that the video is fake. Raises ValueError for what is not finite."""
    if not math.isfinite(log10_lr):
        raise ValueError("no ratio")
    one, other = ("fake", "real") if log10_lr > 0 else ("real", "fake")
    strength = _two_digits(10 ** abs(log10_lr))
    word = next((word for least, word in _WORDS if strength >= least), None)
    if word is None:
        return (
            "The score supports neither that the video is fake nor that it is real: it is about as probable for a fake "
            f"as for a real video (likelihood ratio {_two_digits(10**log10_lr):g})."
        )
    return (
        f"The score supports {word} that the video is {one} rather than {other}: it is about {strength:,.10g} times as "
        f"probable for a {one} as for a {other} video."
    )


def ratio_text(log10_lr: float) -> str:
    """A ratio to two digits, one below 1 as a fraction."""
    text = f"{_two_digits(10 ** abs(log10_lr)):,.10g}"
    return f"1/{text}" if log10_lr < 0 and text != "1" else text


def _two_digits(value: float) -> float:
    """More are not known of a ratio."""
    return float(f"{value:.2g}")
