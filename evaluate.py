"""Compare a submission with the truth: log loss, ROC AUC, average precision, accuracy, and the worst videos.

    python evaluate.py --submission submission.csv --labels DATA_ROOT --json scores.json --folds-csv folds.csv

Input: a CSV `filename,label` with the probability that each video is fake (predict_folder.py), and the truth: a CSV
`filename,label` (0 or REAL, 1 or FAKE), metadata.json files, or a data root (its part folders' metadata.json). Output:
the figures of all videos, and of each part folder or, with --folds-csv, of each fold; the twenty videos of the largest
loss; the same as JSON. Log loss is the competition's, with scores kept 1e-15 from 0 and 1. Videos that are in one of
the two only are left out, named, and make the exit code 1.
"""

import argparse
import csv
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from faces.containers import METADATA, video_id
from inference import metrics
from preprocessing.labels import is_fake, parse_label, read_metadata
from runtime import limits
from runtime.command import run_command
from runtime.errors import InputError, printable
from runtime.files import open_text, write_json
from runtime.ranks import Ranks
from systems.seferbekov.folds import check_apart, read_folds

WORST = 20
_SHOWN = 20  # names of videos that are in one of the two only
_NO_GROUP = "none"


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What a video is, and the part folder that says so; None for a CSV."""

    is_fake: bool
    part: str | None = None


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A video that has a prediction and a label, 1 for fake. `group` is its part folder or fold."""

    filename: str
    label: int
    score: float
    group: str | None


@dataclass(frozen=True, kw_only=True)
class Figures:
    """How good the scores of some videos are; None where a figure is undefined."""

    videos: int
    fake: int
    real: int
    log_loss: float
    roc_auc: float | None
    average_precision: float | None
    accuracy: float


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """All that is told. `grouped_by` is "part", "fold" or None; `worst` holds filename, label, score and loss."""

    figures: Figures
    grouped_by: str | None
    groups: dict[str, Figures]
    worst: list[dict]
    without_label: list[str]
    without_prediction: list[str]


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare a submission with the truth")
    arg = parser.add_argument
    arg("--submission", required=True, metavar="FILE", help="CSV: filename,label; label is the probability of fake")
    arg(
        "--labels",
        required=True,
        nargs="+",
        metavar="PATH",
        help="CSV: filename,label (0, 1, REAL, FAKE); or metadata.json files; or a data root",
    )
    arg("--folds-csv", metavar="FILE", help="figures of each fold (generate_folds.py)")
    arg("--json", metavar="FILE", help="also write the figures there")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    return run_command(evaluate, parse_args(argv))


def evaluate(args: argparse.Namespace, ranks: Ranks) -> int:
    if ranks.rank:
        return 0  # it takes seconds: one process does it
    scores = read_submission(args.submission)
    files = label_files(args.labels)
    check_output(args.json, [args.submission, args.folds_csv, *files])
    truth = read_labels(files)
    folds = fold_of_videos(args.folds_csv) if args.folds_csv else None
    videos = scored_videos(scores, truth, folds)
    if not videos:
        raise InputError(
            f"--labels {' '.join(args.labels)}: not one of its {len(truth)} videos is among the {len(scores)} of "
            f"--submission {args.submission}; compare names, such as {next(iter(truth))} and {next(iter(scores))}"
        )
    evaluation = evaluate_videos(videos, scores, truth, "part" if folds is None else "fold")
    if args.json:
        write_evaluation(args.json, evaluation)
    print(report(evaluation))
    return tell_of_unmatched(evaluation)


# reading


def read_submission(path: str) -> dict[str, float]:
    """The score of each video. Raises InputError."""
    scores: dict[str, float] = {}
    for where, filename, text in read_rows("--submission", path):
        try:
            score = float(text)
        except ValueError:
            raise InputError(f"{where}: label {text!r} of {filename} is not a number; write one from 0 to 1") from None
        if not 0 <= score <= 1:  # nor NaN
            raise InputError(f"{where}: label {text!r} of {filename} is not from 0 to 1; write a probability")
        if filename in scores:
            raise InputError(f"{where}: {filename} is there twice; leave one out")
        scores[filename] = score
    return scores


def label_files(paths: Sequence[str]) -> list[str]:
    """The files that labels are read from: a data root's metadata.json, others as they are. Raises InputError."""
    files = []
    for path in paths:
        if not os.path.isdir(path):
            files.append(path)
            continue
        found = sorted(str(file) for file in Path(path).glob(f"*/{METADATA}"))
        if not found:
            raise InputError(f"--labels {path}: no folder in it has a {METADATA}; name a data root, or the file itself")
        files += found
    return files


def read_labels(files: Sequence[str]) -> dict[str, Truth]:
    """What each video is. Raises InputError, also for a video that is there twice."""
    truth: dict[str, Truth] = {}
    for path in files:
        for where, filename, video in read_label_json(path) if path.endswith(".json") else read_label_csv(path):
            if filename in truth:
                raise InputError(f"{where}: {filename} is there twice; leave one out")
            truth[filename] = video
    return truth


def read_label_json(path: str) -> Iterator[tuple[str, str, Truth]]:
    """Place, file name and truth of each video; the files themselves need not be there. Raises InputError."""
    where = f"--labels {path}"
    try:
        entries, problems = read_metadata(path)
    except OSError as error:
        raise InputError(f"{where}: can't be read ({error.strerror}); name another") from error
    except ValueError as error:
        raise InputError(f"{where}: {error}; get it again") from error
    for filename, reason in problems.items():
        raise InputError(f"{where}: {filename}: {reason}")
    if not entries:
        raise InputError(f"{where}: must be an object with an entry for each video; get it again")
    part = Path(os.path.abspath(path)).parent.name
    for filename, entry in entries.items():
        try:
            video = Truth(is_fake=is_fake(entry), part=part)
        except ValueError as error:
            raise InputError(f"{where}: {filename}: {error}; mend it") from error
        yield where, filename, video


def read_label_csv(path: str) -> Iterator[tuple[str, str, Truth]]:
    for where, filename, text in read_rows("--labels", path):
        fake = parse_label(text)
        if fake is None:
            raise InputError(f"{where}: label {text!r} of {filename} must be 0, 1, REAL or FAKE; mend it")
        yield where, filename, Truth(is_fake=fake)


def read_rows(flag: str, path: str) -> Iterator[tuple[str, str, str]]:
    """Place, filename and label of each row of a CSV with these columns. Raises InputError, also where it has none."""
    try:
        # as predict_folder.py writes it: names that are no UTF-8 are the bytes they are
        with open_text(path, limits.LABELS, errors="surrogateescape", newline="") as file:
            reader = csv.reader(file)
            header = [name.strip() for name in next(reader, [])]
            missing = [name for name in ("filename", "label") if name not in header]
            if missing:
                raise InputError(f"{flag} {path}: has no column {', '.join(missing)}; its first line must name them")
            columns = [header.index("filename"), header.index("label")]
            empty = True
            for row in reader:
                if not row:
                    continue
                where, empty = f"{flag} {path}, line {reader.line_num}", False
                if len(row) <= max(columns) or not row[columns[0]]:
                    raise InputError(f"{where}: has no filename and label; mend it")
                yield where, row[columns[0]], row[columns[1]].strip()
    except OSError as error:
        raise InputError(f"{flag} {path}: can't be read ({error.strerror}); name another file") from error
    except csv.Error as error:
        raise InputError(f"{flag} {path}: is no CSV ({error}); name another file") from error
    if empty:
        raise InputError(f"{flag} {path}: has no rows; name another file")


def fold_of_videos(path: str) -> dict[str, int]:
    """Fold by id. Raises InputError, also for a video in two folds."""
    table = read_folds(path)
    check_apart(path, table)
    return dict(zip(table["video"], table["fold"].tolist(), strict=True))


def check_output(output: str | None, inputs: Sequence[str | None]) -> None:
    if output and os.path.realpath(output) in {os.path.realpath(path) for path in inputs if path}:
        raise InputError(f"--json {output}: is an input; choose another place")


# figures


def scored_videos(scores: dict[str, float], truth: dict[str, Truth], folds: dict[str, int] | None) -> list[Scored]:
    """The videos that are in both, in the submission's order."""
    videos = []
    for filename, score in scores.items():
        if filename not in truth:
            continue
        video = truth[filename]
        fold = None if folds is None else folds.get(video_id(filename))
        group = video.part if folds is None else (None if fold is None else str(fold))
        videos.append(Scored(filename=filename, label=int(video.is_fake), score=score, group=group))
    return videos


def evaluate_videos(
    videos: Sequence[Scored], scores: dict[str, float], truth: dict[str, Truth], group_name: str
) -> Evaluation:
    """`group_name` is what a video's group is: "part" or "fold"."""
    groups: dict[str | None, list[Scored]] = {}
    for video in videos:
        groups.setdefault(video.group, []).append(video)
    is_grouped = groups.keys() != {None} or group_name == "fold"
    without = _NO_GROUP
    while without in groups:  # a part folder may be called so
        without = f"({without})"
    return Evaluation(
        figures=figures_of(videos),
        grouped_by=group_name if is_grouped else None,
        groups={
            without if group is None else group: figures_of(groups[group]) for group in sorted(groups, key=_by_number)
        }
        if is_grouped
        else {},
        worst=worst_of(videos),
        without_label=sorted(scores.keys() - truth.keys()),
        without_prediction=sorted(truth.keys() - scores.keys()),
    )


def figures_of(videos: Sequence[Scored]) -> Figures:
    labels, scores = _arrays(videos)
    return Figures(
        videos=len(videos),
        fake=int(labels.sum()),
        real=int((1 - labels).sum()),
        log_loss=metrics.log_loss(labels, scores),
        roc_auc=metrics.roc_auc(labels, scores),
        average_precision=metrics.average_precision(labels, scores),
        accuracy=metrics.accuracy(labels, scores),
    )


def worst_of(videos: Sequence[Scored]) -> list[dict]:
    """The videos of the largest loss, the largest first."""
    losses = metrics.losses(*_arrays(videos)).tolist()
    ordered = sorted(zip(videos, losses, strict=True), key=lambda pair: (-pair[1], pair[0].filename))
    return [
        {"filename": video.filename, "label": video.label, "score": video.score, "loss": loss}
        for video, loss in ordered[:WORST]
    ]


def _arrays(videos: Sequence[Scored]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([video.label for video in videos]), np.array([video.score for video in videos], np.float64)


def _by_number(group: str | None) -> tuple:
    """part_2 before part_10, and videos without a group last."""
    if group is None:
        return (2, 0, "")
    stem = group.rstrip("0123456789")
    return (0, stem, int(group[len(stem) :] or -1), group)


# telling


def report(evaluation: Evaluation) -> str:
    """A table of the figures, and one of the worst videos."""
    rows = {"all": evaluation.figures, **{printable(name): each for name, each in evaluation.groups.items()}}
    head = evaluation.grouped_by or ""
    width = max(len(name) for name in [head, *rows])
    lines = [
        f"{head:<{width}}  videos    fake    real  log loss  ROC AUC  avg precision  accuracy at {metrics.THRESHOLD}"
    ]
    for name, each in rows.items():
        counts = f"{each.videos:>6}  {each.fake:>6}  {each.real:>6}"
        auc, precision = _number(each.roc_auc), _number(each.average_precision)
        lines.append(
            f"{name:<{width}}  {counts}  {_number(each.log_loss):>8}  {auc:>7}  {precision:>13}  "
            f"{_number(each.accuracy):>15}"
        )
    lines += ["", f"worst {len(evaluation.worst)} videos", " label     score      loss  file"]
    for each in evaluation.worst:
        label = "FAKE" if each["label"] else "REAL"
        lines.append(f"  {label}  {each['score']:>8.5f}  {each['loss']:>8.5f}  {printable(each['filename'])}")
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.5f}"


def tell_of_unmatched(evaluation: Evaluation) -> int:
    """Name the videos that are in one of the two only, and return the exit code."""
    unmatched = {"no label": evaluation.without_label, "no prediction": evaluation.without_prediction}
    for what, names in unmatched.items():
        for name in names[:_SHOWN]:
            print(printable(f"  {what}, left out: {name}"))
        if len(names) > _SHOWN:
            print(f"  {what}, left out: {len(names) - _SHOWN} more")
    counts = ", ".join(f"{len(names)} with {what}" for what, names in unmatched.items() if names)
    if counts:
        print(f"error: the figures leave out videos: {counts}; check --submission and --labels", file=sys.stderr)
    return int(bool(counts))


def write_evaluation(path: str, evaluation: Evaluation) -> None:
    content = asdict(evaluation)
    content = {**content.pop("figures"), **content}
    write_json(path, content, "choose another --json", end="\n", indent=2, allow_nan=False)


if __name__ == "__main__":
    sys.exit(main())
