"""A calibration file's content: what was learned, from which files, by which version of this project, and when."""

import os
import tomllib
from collections.abc import Sequence
from datetime import datetime
from importlib import metadata

from evaluation.calibration import Calibration, CrossValidation, Data, File, Project
from evaluation.cross_validation import Fit
from evaluation.labelled_scores import LabelledScores
from runtime.digests import digest_of
from runtime.errors import printable
from runtime.source_tree import ROOT, source_tree

_NAME = "dfdc-deepfake-challenge"  # as pyproject.toml has it


def make_calibration(
    fitted: Fit, videos: LabelledScores, *, submission: str, labels: Sequence[str], cluster_by: str, folds: int
) -> Calibration:
    """`submission` and `labels` are the files that `videos` were read from."""
    fake = int(videos.labels.sum())
    return Calibration(
        project=project(),
        date=datetime.now().astimezone().isoformat(timespec="seconds"),
        origin=videos.run.origin,
        data=Data(
            submission=file_of(submission),
            labels=[file_of(path) for path in labels],
            videos=len(videos.labels),
            fake=fake,
            real=len(videos.labels) - fake,
            cluster_by=cluster_by,
            clusters=videos.cluster_count,
            left_out={reason: len(names) for reason, names in videos.left_out.items()},
        ),
        cross_validation=CrossValidation(folds=folds, cllr=fitted.cllr),
        calibrator=fitted.calibrator,
        bounds=fitted.bounds,
        scores_seen=(float(videos.scores.min()), float(videos.scores.max())),
    )


def file_of(path: str) -> File:
    """Its folder is left out: it tells of a machine, and of no file."""
    return File(name=printable(os.path.basename(os.path.abspath(path))), sha256=digest_of(path).sha256)


def project() -> Project:
    tree, described = source_tree(), ROOT / "pyproject.toml"
    if described.is_file():
        version = tomllib.loads(described.read_text(encoding="utf-8"))["project"]["version"]
    else:  # installed
        version = metadata.version(_NAME)
    return Project(version=version, commit=tree["commit"], changed=tree["changed"])
