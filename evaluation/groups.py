"""Figures of groups of videos, such as methods, compressions or groups of people, and how far the groups are apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.bootstrap import Replicates, replicate
from evaluation.estimates import Estimate, Sample, estimates_of, figure_intervals
from evaluation.figures import HIGHER_IS_BETTER, NAMES, WeightedFigures
from evaluation.labels import Truth
from evaluation.tables import read_rows
from runtime.errors import InputError

MOST_GROUPS = 100


@dataclass(frozen=True, kw_only=True)
class Group:
    """The figures of some videos. `with_all_real`: of fakes alone, which are held against all real videos."""

    videos: int
    fake: int
    real: int
    with_all_real: bool
    figures: dict[str, Estimate]


@dataclass(frozen=True, kw_only=True)
class Gap:
    """How much better a figure is in the best group than in the worst, and the interval of that difference."""

    best: str
    worst: str
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Grouping:
    """Groups by what a column says, gaps by figure, and the videos of which the column says nothing."""

    groups: dict[str, Group]
    gaps: dict[str, Gap]
    untold: list[str]


def read_columns(path: str) -> dict[str, dict[str, str]]:
    """The columns of each video of a CSV that has a column filename. Raises InputError, also for a video twice."""
    columns: dict[str, dict[str, str]] = {}
    for where, row in read_rows("--by-csv", path, ("filename",)):
        if row["filename"] in columns:
            raise InputError(f"{where}: {row['filename']} is there twice; leave one out")
        columns[row["filename"]] = row
    return columns


def values_of(column: str, filenames: Sequence[str], truth: Mapping[str, Truth], table: Mapping | None) -> list[str]:
    """What a column says of each video, empty where it says nothing: the table's, else the labels' own columns.

    Raises InputError where no video has the column, and where it has more values than groups can be told of.
    """
    rows = [truth[name].columns if table is None else table.get(name, {}) for name in filenames]
    if not any(column in row for row in rows):
        known = sorted({name for row in rows for name in row} - {"filename"})
        raise InputError(
            f"--by {column}: {'--labels' if table is None else '--by-csv'} has no such column of these videos; "
            f"there is {', '.join(known) or 'none'}"
        )
    values = [row.get(column, "") for row in rows]
    count = len(set(values))
    if count > MOST_GROUPS:
        raise InputError(
            f"--by {column}: the videos have {count} values of it, more than {MOST_GROUPS}; name a column of groups"
        )
    return values


def group_by(values: Sequence[str], filenames: Sequence[str], sample: Sample, *, draws: int, seed: int) -> Grouping:
    """The figures of the videos of each value, all of the same draws.

    Methods have fakes only: a group of fakes alone is held against all real videos. Videos without a value are in no
    group; of the real ones among them it is only told where some group has real ones of its own.
    """
    told = sorted({value for value in values if value})
    members = {value: np.array([each == value for each in values]) for value in told}
    real = sample.labels == 0
    alone = {value: not (rows & real).any() and real.any() for value, rows in members.items()}
    rows_of = {value: np.flatnonzero(rows | real if alone[value] else rows) for value, rows in members.items()}
    groups, gaps = {}, {}
    if told:
        drawn = _replicates(list(rows_of.values()), sample, draws, seed)
        for place, (value, rows) in enumerate(rows_of.items()):
            labels = sample.labels[rows]
            groups[value] = Group(
                videos=len(rows),
                fake=int(labels.sum()),
                real=int((1 - labels).sum()),
                with_all_real=bool(alone[value]),
                figures=estimates_of(sample.only(rows), drawn[place]),
            )
        gaps = _gaps(groups, drawn)
    used_as_real = any(alone.values())
    untold = [
        name
        for name, value, is_real in zip(filenames, values, real, strict=True)
        if not value and not (is_real and used_as_real)
    ]
    return Grouping(groups=groups, gaps=gaps, untold=untold)


def _replicates(rows_of: Sequence[np.ndarray], sample: Sample, draws: int, seed: int) -> list[Replicates]:
    """Of each group; the clusters that are drawn are those of all videos."""
    figures = [WeightedFigures(sample.labels[rows], sample.scores[rows]) for rows in rows_of]

    def of_groups(weights: np.ndarray) -> np.ndarray:
        return np.stack([of(weights[:, rows]) for of, rows in zip(figures, rows_of, strict=True)], axis=1)

    drawn = replicate(of_groups, sample.clusters, draws=draws, seed=seed)
    return [
        Replicates(value=drawn.value[place], draws=drawn.draws[:, place], without=drawn.without[:, place])
        for place in range(len(rows_of))
    ]


def _gaps(groups: Mapping[str, Group], drawn: Sequence[Replicates]) -> dict[str, Gap]:
    """Of each figure that differs between groups. They are those that the figures call best and worst: an interval with
    0 in it says that other videos may as well turn them round."""
    gaps = {}
    names = list(groups)
    for number, name in enumerate(NAMES):
        values = {
            place: group.figures[name].value
            for place, group in enumerate(groups.values())
            if group.figures[name].value is not None
        }
        if len(set(values.values())) < 2:
            continue
        least, most = min(values, key=values.get), max(values, key=values.get)
        difference = drawn[most] - drawn[least]
        low, high = (None if np.isnan(each) else float(each) for each in figure_intervals(difference)[number])
        if any(groups[names[place]].figures[name].low is None for place in (least, most)):
            low = high = None  # of one cluster: it is the same in all draws
        best, worst = (names[most], names[least]) if name in HIGHER_IS_BETTER else (names[least], names[most])
        gaps[name] = Gap(best=best, worst=worst, value=float(difference.value[number]), low=low, high=high)
    return gaps
