"""The videos that have a score and a label, and the others by what they lack: what calibrations are learned from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.clusters import clusters_of
from evaluation.labels import read_labels
from evaluation.origin import Run, read_run
from evaluation.submissions import read_submission
from runtime.errors import InputError

NO_LABEL, NO_PREDICTION = "no_label", "no_prediction"


@dataclass(frozen=True, kw_only=True)
class LabelledScores:
    """`scores` (n,) float64, `labels` (n,) int64, 1 for fake, and `clusters` (n,) int64 from 0 on, of videos whose
    score stands for faces. `left_out` has the names of the others by the reason: NO_LABEL, NO_PREDICTION, or why they
    have no score (evaluation/origin.py). `untold` counts the videos of which the labels don't tell a cluster."""

    scores: np.ndarray
    labels: np.ndarray
    clusters: np.ndarray
    run: Run
    left_out: Mapping[str, Sequence[str]]
    untold: int

    @property
    def cluster_count(self) -> int:
        return int(self.clusters.max()) + 1


def read_labelled_scores(submission: str, labels: Sequence[str], summary: str | None, by: str) -> LabelledScores:
    """`labels` are files, `summary` is as for `read_run`, `by` as for `clusters_of`. Raises InputError."""
    scores, truth = read_submission(submission), read_labels(labels)
    run = read_run(submission, summary, scores)
    left_out: dict[str, list[str]] = {}
    names = []
    for name in scores:
        reason = NO_LABEL if name not in truth else run.unscored.get(name)
        (left_out.setdefault(reason, []) if reason else names).append(name)
    if without := [name for name in truth if name not in scores]:
        left_out[NO_PREDICTION] = without
    if len(left_out.get(NO_LABEL, ())) == len(scores):
        raise InputError(
            f"--labels {' '.join(labels)}: not one of its {len(truth)} videos is among the {len(scores)} of "
            f"--submission {submission}; compare names, such as {next(iter(truth))} and {next(iter(scores))}"
        )
    if not names:
        raise InputError(f"--submission {submission}: no video with a label has a score: see what the prediction said")
    clusters = clusters_of(names, truth, by)
    return LabelledScores(
        scores=np.array([scores[name] for name in names], np.float64),
        labels=np.array([int(truth[name].is_fake) for name in names]),
        clusters=clusters.index,
        run=run,
        left_out=left_out,
        untold=len(clusters.untold),
    )
