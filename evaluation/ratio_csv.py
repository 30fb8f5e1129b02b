"""A submission with likelihood ratios: its own columns, `log10_lr`, and `lr_note`, which says what to mind of a ratio.

outside       the score is lower or higher than any that the calibration was learned from: the ratio is that of the
              nearest one
bound         the ratio is at a bound of the calibration: its data tell of no stronger one
no_face, unreadable, failed, unknown    there is no ratio: the video got 0.5 as it has no score; `unknown` where no
              summary tells why, and the 0.5 may be a score
"""

import csv
from collections.abc import Iterator, Mapping

import numpy as np

from evaluation.calibration import Calibration, in_words
from runtime import limits
from runtime.csv_lines import csv_lines
from runtime.errors import InputError
from runtime.files import open_text, whole_file

COLUMNS = ("log10_lr", "lr_note")
OUTSIDE, BOUND = "outside", "bound"


def ratios_of(
    calibration: Calibration, scores: Mapping[str, float], unscored: Mapping[str, str]
) -> dict[str, tuple[float | None, str]]:
    """The log10 ratio of each video, None where it has none, and its note, empty where nothing is to be minded."""
    scored = [name for name in scores if name not in unscored]
    values, outside = calibration.log10_lr(np.array([scores[name] for name in scored], np.float64))
    at_bound = calibration.at_bounds(values)
    notes = np.where(outside, OUTSIDE, np.where(at_bound, BOUND, ""))
    told = dict(zip(scored, zip(values.tolist(), notes.tolist(), strict=True), strict=True))
    return {name: told.get(name) or (None, unscored[name]) for name in scores}


def ratio_in_words(log10_lr: float, note: str) -> str:
    """What a ratio supports, and what to mind of it."""
    minded = {
        OUTSIDE: " It is outside of the scores that the calibration was learned from: the ratio is the nearest one's.",
        BOUND: " The data of the calibration tell of no stronger one.",
    }
    return in_words(log10_lr) + minded.get(note, "")


def write_ratios(path: str, submission: str, ratios: Mapping[str, tuple[float | None, str]]) -> None:
    """Write the CSV, whole or not at all; `submission` has been read before. Raises InputError, OutputError."""
    with (
        whole_file(path, "choose another --output", follow=True) as temporary,
        open(temporary, "w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        file.writelines(csv_lines(_rows(submission, ratios)))


def _rows(submission: str, ratios: Mapping[str, tuple[float | None, str]]) -> Iterator[list[str]]:
    where = f"--submission {submission}"
    with open_text(submission, limits.LABELS, errors="surrogateescape", newline="") as file:
        reader = csv.reader(file)
        header = next(reader)
        names = [name.strip() for name in header]
        if taken := [name for name in COLUMNS if name in names]:
            raise InputError(f"{where}: has a column {taken[0]} already; name the CSV that predict_folder.py wrote")
        yield [*header, *COLUMNS]
        for row in reader:
            if not row:
                continue
            value, note = ratios[row[names.index("filename")]]
            missing = [""] * (len(header) - len(row))
            yield [*row[: len(header)], *missing, "" if value is None else repr(value), note]
