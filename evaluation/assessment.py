"""All that is said of a submission beside its figures: intervals, coverage, a comparison, groups, and what to mind."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from evaluation.clusters import Clusters, clusters_of
from evaluation.comparison import Comparison, compare
from evaluation.estimates import Estimate, Sample, estimate, notes_on
from evaluation.figures import PARTIAL, RATES, TPR_NAMES
from evaluation.groups import Grouping, group_by
from evaluation.labels import Truth
from evaluation.submissions import UNKNOWN


@dataclass(frozen=True, kw_only=True)
class Covered:
    """The figures, but for the coverage, of the videos whose score is not what stands for no face and for no file."""

    videos: int
    fake: int
    real: int
    figures: dict[str, Estimate]


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """`covered` is None where all videos are, or none. `groupings` are by column. `notes` are lines for a person."""

    sample: Sample
    figures: dict[str, Estimate]
    covered: Covered | None
    by: str
    clusters: int
    untold: list[str]
    draws: int
    seed: int
    comparison: Comparison | None
    groupings: dict[str, Grouping]
    notes: list[str]


def assess(
    scores: Mapping[str, float],
    truth: Mapping[str, Truth],
    *,
    by: str,
    draws: int,
    seed: int,
    others: Mapping[str, float] | None = None,
    columns: Mapping[str, Sequence[str]] | None = None,
) -> Assessment:
    """`scores` are those of the videos that have labels, at least one.

    `others` are a second submission's: the videos that are in one of the two only are no part of the comparison, and at
    least one must be in both. `columns` hold what each column says of the videos, in the order of `scores`.
    """
    names = list(scores)
    clusters = clusters_of(names, truth, by)
    sample = Sample(
        labels=np.array([int(truth[name].is_fake) for name in names]),
        scores=np.array(list(scores.values()), np.float64),
        clusters=clusters.index,
    )
    groupings = {
        column: group_by(values, names, sample, draws=draws, seed=seed) for column, values in (columns or {}).items()
    }
    return Assessment(
        sample=sample,
        figures=estimate(sample, draws=draws, seed=seed),
        covered=_covered(sample, draws, seed),
        by=by,
        clusters=clusters.count,
        untold=clusters.untold,
        draws=draws,
        seed=seed,
        comparison=None if others is None else _compared(names, sample, others, draws, seed),
        groupings=groupings,
        notes=[*notes_on(sample), *_notes_on_clusters(clusters), *_notes_on_groups(groupings)],
    )


def as_json(assessment: Assessment) -> dict:
    """The keys of the figures, then how they came about."""
    figures = assessment.figures
    others = [name for name in figures if name not in TPR_NAMES]
    return {
        **{name: figures[name].value for name in others},
        "tpr_at_fpr": _rates(figures),
        "partial_auc_max_fpr": PARTIAL,
        "intervals": _bounds(figures),
        "covered": assessment.covered
        and {
            "videos": assessment.covered.videos,
            "fake": assessment.covered.fake,
            "real": assessment.covered.real,
            **{name: each.value for name, each in assessment.covered.figures.items() if name not in TPR_NAMES},
            "tpr_at_fpr": _rates(assessment.covered.figures),
            "intervals": _bounds(assessment.covered.figures),
        },
        "clusters": {"by": assessment.by, "count": assessment.clusters, "untold": assessment.untold},
        "draws": assessment.draws,
        "seed": assessment.seed,
        "compare": assessment.comparison and asdict(assessment.comparison),
        "by": {column: asdict(grouping) for column, grouping in assessment.groupings.items()},
        "notes": assessment.notes,
    }


def _rates(figures: Mapping[str, Estimate]) -> dict[str, dict]:
    return {f"{rate:g}": asdict(figures[name]) for rate, name in zip(RATES, TPR_NAMES, strict=True)}


def _bounds(figures: Mapping[str, Estimate]) -> dict[str, list[float | None]]:
    return {name: [each.low, each.high] for name, each in figures.items() if name not in TPR_NAMES}


def _covered(sample: Sample, draws: int, seed: int) -> Covered | None:
    rows = sample.scores != UNKNOWN
    if rows.all() or not rows.any():
        return None
    covered = sample.only(rows)
    fake = int(covered.labels.sum())
    figures = estimate(covered, draws=draws, seed=seed)
    del figures["coverage"]
    return Covered(videos=len(covered), fake=fake, real=len(covered) - fake, figures=figures)


def _compared(names: Sequence[str], sample: Sample, others: Mapping[str, float], draws: int, seed: int) -> Comparison:
    rows = np.array([name in others for name in names])
    scores = np.array([others[name] for name in names if name in others], np.float64)
    return compare(sample.only(rows), scores, draws=draws, seed=seed)


def _notes_on_clusters(clusters: Clusters) -> list[str]:
    count = len(clusters.untold)
    if not count:
        return []
    videos = f"of {count} of {len(clusters.index)} videos"
    if clusters.by == "identity":
        return [
            f"the labels don't tell the people {videos} (column identity or person, or names as in FaceForensics++ "
            "and Celeb-DF): they are clustered by original, and intervals may be too narrow"
        ]
    return [
        f"the labels don't tell the original {videos}, fakes (column original): each is a cluster of its own, and "
        "intervals may be too narrow"
    ]


def _notes_on_groups(groupings: Mapping[str, Grouping]) -> list[str]:
    return [
        f"{len(grouping.untold)} videos have no {column} and are in no group: {', '.join(grouping.untold[:3])}"
        + (", ..." if len(grouping.untold) > 3 else "")
        for column, grouping in groupings.items()
        if grouping.untold
    ]
