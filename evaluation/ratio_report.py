"""All that is said of likelihood ratios on labelled videos: figures, tables, sources and notes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.calibration import Calibration, ratio_text
from evaluation.estimates import FEW_CLUSTERS, Estimate
from evaluation.labelled_scores import LabelledScores
from evaluation.ratio_estimates import Curve, estimate_ratios
from evaluation.text import Table, aligned, interval, number
from runtime.errors import printable

TITLES = {
    "cllr": "Cllr",
    "cllr_min": "Cllr-min (discrimination)",
    "cllr_cal": "Cllr-cal (calibration)",
    "misleading_fake": "fakes with a ratio below 1",
    "misleading_real": "real videos with a ratio above 1",
}


@dataclass(frozen=True, kw_only=True)
class RatioReport:
    """`log10_lr` (n,) are the ratios of the videos, `figures` those of likelihood_ratios.py by name. `tables` stand
    before that of the figures. `how` says where ratios and intervals come from, `notes` what a reader must know.
    `curve` is what the calibration makes of each score, where that was asked for."""

    title: str
    calibration: Calibration
    videos: LabelledScores
    log10_lr: np.ndarray
    figures: Mapping[str, Estimate]
    tables: Sequence[Table]
    how: str
    notes: Sequence[str]
    curve: Curve | None


def report_ratios(
    log10_lr: np.ndarray,
    videos: LabelledScores,
    calibration: Calibration,
    *,
    title: str,
    source: str,
    by: str,
    draws: int,
    seed: int,
    notes: Sequence[str] = (),
    tables: Sequence[Table] = (),
    curve: Curve | None = None,
) -> RatioReport:
    """`source` says whose the ratios are, `by` what the clusters were made by."""
    fake, count = int(videos.labels.sum()), len(videos.labels)
    return RatioReport(
        title=title,
        calibration=calibration,
        videos=videos,
        log10_lr=log10_lr,
        figures=estimate_ratios(log10_lr, videos.labels, videos.clusters, draws=draws, seed=seed),
        tables=tables,
        how=f"{fake} fake and {count - fake} real videos, {source}; 95 % intervals: {draws} draws of "
        f"{videos.cluster_count} clusters, by {by}",
        notes=[*notes, *_notes_on_clusters(videos)],
        curve=curve,
    )


def lines_of(report: RatioReport) -> list[str]:
    """For a terminal."""
    lines = []
    for table in tables_of(report):
        lines += [*aligned(table), ""]
    return [*lines, printable(report.how), *(printable(f"  note: {note}") for note in report.notes)]


def as_json(report: RatioReport) -> dict:
    fake = int(report.videos.labels.sum())
    return {
        **{name: each.value for name, each in report.figures.items()},
        "intervals": {name: [each.low, each.high] for name, each in report.figures.items()},
        "videos": len(report.log10_lr),
        "fake": fake,
        "real": len(report.log10_lr) - fake,
        "clusters": report.videos.cluster_count,
        "left_out": report.videos.left_out,
        "how": report.how,
        "notes": report.notes,
    }


def tables_of(report: RatioReport) -> list[Table]:
    rows = [[TITLES[name], number(each.value), interval(each)] for name, each in report.figures.items()]
    return [*report.tables, [["figure", "value", "95 % interval"], *rows]]


def methods_table(cllr: Mapping[str, float], taken: str) -> Table:
    """Cllr of the methods that were tried."""
    rows = [[method, number(cost), "taken" if method == taken else ""] for method, cost in cllr.items()]
    return [["method", "Cllr", ""], *rows]


def bounds_text(calibration: Calibration) -> str:
    return " to ".join(map(ratio_text, calibration.bounds))


def sources_of(calibration: Calibration) -> dict[str, str]:
    """What a calibration is of."""
    origin, data, project = calibration.origin, calibration.data, calibration.project
    if origin:
        models = ", ".join(f"{each.name} (SHA-256 {each.sha256}...)" for each in origin.models)
        told = {"system": origin.system, "models": models, "strategy": origin.strategy}
    else:
        told = {"scores": "nothing tells whose they are; whoever fitted the calibration vouches for them (--trust)"}
    files = ", ".join(file.name for file in (data.submission, *data.labels))
    return {
        **told,
        "learned from": f"{data.fake} fake and {data.real} real videos in {data.clusters} clusters, by "
        f"{data.cluster_by} ({files})",
        "method": calibration.calibrator.method,
        "ratios": bounds_text(calibration),
        "date": calibration.date,
        "project": f"version {project.version}"
        + (f", commit {project.commit[:12]}" if project.commit else "")
        + (", changed" if project.changed else ""),
    }


def _notes_on_clusters(videos: LabelledScores) -> list[str]:
    notes = []
    if videos.cluster_count < FEW_CLUSTERS:
        few = f"only {videos.cluster_count} clusters"
        notes.append(f"{few}: intervals by draws of fewer than {FEW_CLUSTERS} are too narrow")
    if videos.untold:
        notes.append(
            f"the labels don't tell what {videos.untold} videos belong to (column original; for --cluster identity "
            "also identity): each is a cluster of its own, and intervals may be too narrow"
        )
    return notes
