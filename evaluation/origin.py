"""Whose scores a submission holds, and which videos have none: the summary that predict_folder.py writes beside it.

    python -c "from evaluation.origin import read_run; print(read_run('submission.csv', None, {'a.mp4': 0.5}))"

Input: OUTPUT.summary.json, and the scores of the CSV that was written with it. Output: a Run. A summary of
combine_submissions.py tells of no one system.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from evaluation.calibration import ModelFile, Origin, first_of
from evaluation.submissions import UNKNOWN
from runtime import limits
from runtime.digests import digest_of
from runtime.errors import InputError, printable
from runtime.files import parse_json
from systems import DEFAULT

UNSCORED = ("no_face", "unreadable", "failed")  # lists of videos in the summary; they have 0.5
NOT_TOLD = "unknown"  # why a video has 0.5 where no summary tells
_OWN = ("system", "models")  # of the settings: told otherwise


@dataclass(frozen=True, kw_only=True)
class Run:
    """What made a submission's scores, None where nothing tells; and why videos have no score, by their files' names:
    one of UNSCORED, or NOT_TOLD."""

    origin: Origin | None
    unscored: Mapping[str, str]


def summary_path(submission: str, summary: str | None = None) -> str:
    """The file that --summary names, or the one beside the submission."""
    return summary or f"{submission.removesuffix('.csv')}.summary.json"


def read_run(submission: str, summary: str | None, scores: Mapping[str, float]) -> Run:
    """`summary` is as for `summary_path`; the one beside the submission need not be there: then videos with a score of
    0.5 count as without a score. Raises InputError, also where the summary does not fit the scores."""
    path = summary_path(submission, summary)
    if not summary and not os.path.lexists(path):
        return Run(origin=None, unscored={name: NOT_TOLD for name, score in scores.items() if score == UNKNOWN})
    run, videos, sha256 = parse_json(
        path,
        limits.LABELS,
        InputError,
        unreadable="can't be read ({}); name by --summary what predict_folder.py wrote with the CSV",
        damaged="is no summary of predict_folder.py, or damaged ({}); predict again",
        parse=_parse,
    )
    other = next((name for name in run.unscored if scores.get(name) != UNKNOWN), None)
    if videos != len(scores) or other:
        why = f"{other} has no score there" if other else f"it tells of {videos} videos, the CSV of {len(scores)}"
        raise InputError(f"{path}: is of another CSV than {submission} ({why}); name by --summary what belongs to it")
    if sha256 is not None and sha256 != digest_of(submission).sha256:
        raise InputError(
            f"{submission}: was changed since {path} was written, or is another CSV: it can't be told whose scores "
            "these are; predict again, or name by --summary what belongs to it"
        )
    return run


def _parse(content: dict) -> tuple[Run, int, str | None]:
    """What a summary tells, of how many videos, and the SHA-256 of its CSV, where it has that."""
    if "nothing_known" in content:  # of combine_submissions.py: the scores are of several systems
        unknown = {str(name): NOT_TOLD for name in content["nothing_known"]}
        return Run(origin=None, unscored=unknown), content["videos"], None
    unscored = {str(name): reason for reason in UNSCORED for name in content[reason]}
    try:
        return Run(origin=_origin(content), unscored=unscored), content["videos"], content.get("sha256")
    except ValidationError as error:
        raise ValueError(first_of(error)) from error


def _origin(content: dict) -> Origin:
    settings = content["settings"]
    models = [ModelFile(name=printable(name), sha256=digest) for name, digest in settings["models"]]
    others = {key: value for key, value in settings.items() if key not in _OWN}
    return Origin(
        system=settings.get("system") or DEFAULT, models=models, strategy=content["strategy"], settings=others
    )
