"""What variants of videos do to their scores: a row for each variant, beside the files themselves."""

import csv
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from evaluation.assessment import assess
from evaluation.estimates import Estimate
from evaluation.figures import NAMES
from evaluation.labels import Truth
from evaluation.submissions import read_submission
from evaluation.variants import IDENTITY, Variant
from inference import metrics
from runtime import limits
from runtime.errors import InputError
from runtime.files import open_text, parse_json

_UNREAD = ("unreadable", "failed")  # of the summary
_AGAIN = "delete it and run this again"


@dataclass(frozen=True, kw_only=True)
class VariantScores:
    """What the prediction said of a variant's videos: scores and numbers of faces by name, which it could not read and
    why, and why others could not be encoded."""

    scores: Mapping[str, float]
    faces: Mapping[str, int]
    unreadable: Mapping[str, str]
    not_encoded: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A variant beside the files themselves.

    `figures` are those of its videos, `differences` those less the figures of the same videos as they were; these have
    no interval where all draws give the same, but for the files themselves, which differ by 0 in all draws. `faces` and
    `faces_before` count the faces of these videos. `faces_lost` names videos that had a face and have none,
    `verdicts_changed` those whose score went from one side of 0.5 to the other.
    """

    variant: str
    about: str
    videos: int
    fake: int
    figures: dict[str, Estimate]
    differences: dict[str, Estimate]
    mean_absolute_change: float | None
    verdicts_changed: list[str]
    faces: int
    faces_before: int
    faces_lost: list[str]
    unreadable: dict[str, str]
    not_encoded: dict[str, str]

    @property
    def faces_share(self) -> float | None:
        return self.faces / self.faces_before if self.faces_before else None


@dataclass(frozen=True, kw_only=True)
class Table:
    """The rows, the files themselves first; how the intervals came about, and what a reader must know of them."""

    rows: list[Row]
    by: str
    draws: int
    seed: int
    clusters: int
    notes: list[str]


def read_scores(
    submission: Path, summary: Path, faces: Path, *, names: Collection[str], not_encoded: Mapping[str, str]
) -> VariantScores:
    """What a prediction wrote of the videos with these names. Raises InputError."""
    unreadable = parse_json(
        summary,
        limits.LABELS,
        InputError,
        unreadable=f"can't be read ({{}}); {_AGAIN}",
        damaged=f"is no summary of predict_folder.py, or damaged ({{}}); {_AGAIN}",
        parse=lambda content: {name: str(error) for key in _UNREAD for name, error in content[key].items()},
    )
    scores = read_submission(str(submission), "--output-dir")
    return VariantScores(
        scores={name: score for name, score in scores.items() if name in names},
        faces=count_faces(faces),
        unreadable={name: error for name, error in unreadable.items() if name in names},
        not_encoded=not_encoded,
    )


def count_faces(path: Path) -> Counter:
    """The rows of predict_folder.py's --faces-csv by their video. Raises InputError."""
    try:
        with open_text(path, limits.FOLDS, errors="surrogateescape", newline="") as file:
            return Counter(row["video"] for row in csv.DictReader(file))
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror}); {_AGAIN}") from error
    except (KeyError, csv.Error) as error:
        raise InputError(f"{path}: is not what predict_folder.py writes ({error}); {_AGAIN}") from error


def table_of(
    variants: Sequence[Variant],
    told: Mapping[str, VariantScores],
    truth: Mapping[str, Truth],
    *,
    by: str,
    draws: int,
    seed: int,
) -> Table:
    """`told` has the scores of each variant by its name, those of the files themselves among them, which may not be
    without a score. All videos have labels. The same clusters are drawn for all variants that have all videos."""
    before = told[IDENTITY]
    plain = assess(before.scores, truth, by=by, draws=draws, seed=seed)
    rows = [_row(variant, before, told[variant.name], truth, by, draws, seed) for variant in variants]
    return Table(rows=rows, by=by, draws=draws, seed=seed, clusters=plain.clusters, notes=plain.notes)


def _row(
    variant: Variant,
    before: VariantScores,
    after: VariantScores,
    truth: Mapping[str, Truth],
    by: str,
    draws: int,
    seed: int,
) -> Row:
    names = [name for name in before.scores if name in after.scores]
    figures = differences = dict.fromkeys(NAMES, Estimate(value=None, low=None, high=None))
    first, second = (np.array([each.scores[name] for name in names], np.float64) for each in (before, after))
    if names:
        scores = {name: after.scores[name] for name in names}
        figures = assess(scores, truth, by=by, draws=draws, seed=seed).figures
        paired = {name: before.scores[name] for name in names}
        compared = assess(paired, truth, by=by, draws=draws, seed=seed, others=scores).comparison
        differences = compared.difference if variant.name == IDENTITY else _told(compared.difference)
    changed = (first > metrics.THRESHOLD) != (second > metrics.THRESHOLD)
    return Row(
        variant=variant.name,
        about=variant.about,
        videos=len(names),
        fake=sum(truth[name].is_fake for name in names),
        figures=figures,
        differences=differences,
        mean_absolute_change=float(np.abs(second - first).mean()) if names else None,
        verdicts_changed=[name for name, is_changed in zip(names, changed, strict=True) if is_changed],
        faces=sum(after.faces.get(name, 0) for name in names),
        faces_before=sum(before.faces.get(name, 0) for name in names),
        faces_lost=[name for name in names if before.faces.get(name) and not after.faces.get(name)],
        unreadable=dict(after.unreadable),
        not_encoded=dict(after.not_encoded),
    )


def _told(differences: Mapping[str, Estimate]) -> dict[str, Estimate]:
    """Without the intervals that have no width: where all draws give the same, as where neither erred, they tell
    nothing of other videos."""
    return {
        name: Estimate(value=each.value, low=None, high=None) if each.low == each.high else each
        for name, each in differences.items()
    }


def as_json(table: Table) -> dict:
    """All figures of all variants, and how the intervals came about."""
    variants = {row.variant: {**asdict(row), "faces_share": row.faces_share} for row in table.rows}
    others = {key: value for key, value in asdict(table).items() if key != "rows"}
    return {"variants": variants, **others}
