"""The table of a robustness test as lines for a terminal, as a CSV, and the words for it."""

import csv
from collections.abc import Iterator
from pathlib import Path

from evaluation.robustness import Row, Table
from evaluation.text import TITLES, aligned, interval, number, signed
from evaluation.text import Table as TextTable
from runtime.errors import printable
from runtime.files import whole_file

# all others are in the JSON
SHOWN = ("roc_auc", "log_loss", "tpr_at_fpr_0.05", "true_positive_rate", "false_positive_rate")
_CAUSES = {"not_encoded": "can't be encoded again", "unreadable": "can't be read by the prediction"}
_BY = {"original": "by original", "identity": "by person", "video": "one for each video"}


def text_of(table: Table) -> str:
    """The tables, one below another, how they came about, and the notes."""
    lines = []
    for each in tables_of(table):
        lines += [*aligned(each), ""]
    return "\n".join([*lines, how(table), *(printable(f"  note: {note}") for note in table.notes)])


def tables_of(table: Table) -> list[TextTable]:
    """One for each figure that is shown, and one of what became of the videos."""
    return [*(figure_table(table, name) for name in SHOWN), videos_table(table)]


def figure_table(table: Table, name: str) -> TextTable:
    rows = [
        [
            row.variant,
            number(row.figures[name].value),
            interval(row.figures[name]),
            signed(row.differences[name].value),
            interval(row.differences[name], signed),
        ]
        for row in table.rows
    ]
    return [[TITLES[name], "value", "95 % interval", "change", "95 % interval"], *rows]


def videos_table(table: Table) -> TextTable:
    head = ["videos", "scored", "not encoded", "not read", "lost all faces", "faces", "other verdict", "mean change"]
    rows = [
        [
            row.variant,
            str(row.videos),
            str(len(row.not_encoded)),
            str(len(row.unreadable)),
            str(len(row.faces_lost)),
            "n/a" if row.faces_share is None else f"{100 * row.faces_share:.1f} %",
            str(len(row.verdicts_changed)),
            number(row.mean_absolute_change),
        ]
        for row in table.rows
    ]
    return [head, *rows]


def how(table: Table) -> str:
    """Where the intervals come from, in a sentence."""
    drawn = f"{table.draws} draws of {table.clusters} clusters of videos, {_BY[table.by]}"
    return f"95 % intervals: {drawn}, the same ones for all variants; exact ones where no draws are needed"


def failures(table: Table) -> Iterator[str]:
    """A line for each video of a variant that was not encoded or not read."""
    for row in table.rows:
        for cause, said in _CAUSES.items():
            for name, reason in getattr(row, cause).items():
                yield printable(f"{row.variant}: {name}: {said}: {reason.splitlines()[-1]}")


def write_csv(path: Path, table: Table, remedy: str) -> None:
    """A row for each variant: counts, and the figures that are shown; cells without a value are empty. Raises
    OutputError."""
    with whole_file(path, remedy) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        columns = [
            f"{name}{end}" for name in SHOWN for end in ("", "_low", "_high", "_change", "_change_low", "_change_high")
        ]
        counts = ["videos", "fake", "not_encoded", "unreadable", "faces_lost", "faces_share", "verdicts_changed"]
        writer.writerow(["variant", *counts, "mean_absolute_change", *columns])
        writer.writerows(_cells(row) for row in table.rows)


def _cells(row: Row) -> list:
    lists = [len(each) for each in (row.not_encoded, row.unreadable, row.faces_lost)]
    counts = [row.videos, row.fake, *lists, row.faces_share, len(row.verdicts_changed), row.mean_absolute_change]
    figures = [
        value
        for name in SHOWN
        for each in (row.figures[name], row.differences[name])
        for value in (each.value, each.low, each.high)
    ]
    return [row.variant, *("" if value is None else value for value in (*counts, *figures))]
