"""Compare a submission with the truth: figures with the intervals that they hold in, groups, and the worst videos.

    python evaluate.py --submission submission.csv --labels DATA_ROOT --json scores.json --plots plots

Input: a CSV `filename,label` with the probability that each video is fake (predict_folder.py), and the truth: a CSV
`filename,label` (0 or REAL, 1 or FAKE), metadata.json files, or a data root (its part folders' metadata.json). Output:
the figures of all videos, and of each part folder or, with --folds-csv, of each fold; the twenty videos of the largest
loss; figures with 95 % intervals, by draws of whole clusters of videos (docs/evaluation.md says how to read them);
with --compare the difference to a second submission, with --by the figures of groups; all of it as JSON, and with
--plots as plots and one page. Log loss is the competition's, with scores kept 1e-15 from 0 and 1. Videos that are in
one of the two only are left out, named, and make the exit code 1.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import runtime.environment  # noqa: F401  it says what to do where the others can't be imported

import numpy as np

from evaluation.assessment import Assessment, as_json, assess
from evaluation.bootstrap import DRAWS
from evaluation.clusters import BY
from evaluation.groups import read_columns, values_of
from evaluation.labels import Truth, label_files, read_labels
from evaluation.plot_folders import OF_SCORES, check_page, written_to
from evaluation.submissions import read_submission
from evaluation.text import text_of
from faces.containers import video_id
from inference import metrics
from runtime.command import run_command, whole
from runtime.errors import InputError, printable
from runtime.files import write_json
from runtime.output_check import check_outputs
from runtime.ranks import Ranks
from systems.seferbekov.folds import check_apart, read_folds

WORST = 20
_SHOWN = 20  # names of videos that are in one of the two only
_NO_GROUP = "none"
_DRAWS = (100, 100_000)  # fewer tell no ends of an interval


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
    arg("--plots", metavar="DIR", help="also write plots there (.png), and index.html, a page with all of it")
    arg(
        "--cluster",
        choices=BY,
        default=BY[0],
        help="what is drawn together for the intervals: a fake with its original and the other fakes of it, each video "
        "for itself, or all videos of a person (default: original)",
    )
    arg(
        "--draws",
        type=whole(*_DRAWS),
        default=DRAWS,
        metavar="N",
        help=f"of the bootstrap (default: {DRAWS})",
    )
    arg("--seed", type=whole(0), default=0, metavar="N", help="of the draws (default: 0)")
    arg("--compare", metavar="FILE", help="a second submission: its figures less those of --submission")
    arg(
        "--by",
        action="append",
        default=[],
        metavar="COLUMN",
        help="figures of each group by a column of the labels or of --by-csv, and the gaps; may be given again",
    )
    arg("--by-csv", metavar="FILE", help="CSV with a column filename and those of --by")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    return run_command(evaluate, parse_args(argv))


def evaluate(args: argparse.Namespace, ranks: Ranks) -> int:
    if ranks.rank:
        return 0  # it takes seconds: one process does it
    # read
    scores = read_submission(args.submission)
    files = label_files(args.labels)
    inputs = [args.submission, args.folds_csv, args.compare, args.by_csv, *files]
    check_outputs({"--json": args.json}, inputs, folders={"--plots": written_to(args.plots, OF_SCORES)})
    check_page(args.plots, "evaluate.py")
    truth = read_labels(files)
    folds = fold_of_videos(args.folds_csv) if args.folds_csv else None
    videos = scored_videos(scores, truth, folds)
    if not videos:
        raise InputError(
            f"--labels {' '.join(args.labels)}: not one of its {len(truth)} videos is among the {len(scores)} of "
            f"--submission {args.submission}; compare names, such as {next(iter(truth))} and {next(iter(scores))}"
        )
    others = read_compared(args.compare, videos) if args.compare else None
    columns = read_groups(args, videos, truth)

    # evaluate
    evaluation = evaluate_videos(videos, scores, truth, "part" if folds is None else "fold")
    assessment = assess(
        {video.filename: video.score for video in videos},
        truth,
        by=args.cluster,
        draws=args.draws,
        seed=args.seed,
        others=others,
        columns=columns,
    )

    # summarise
    if args.json:
        write_evaluation(args.json, evaluation, assessment)
    print(report(evaluation))
    print(f"\n{text_of(assessment)}")
    lacking = [] if others is None else [video.filename for video in videos if video.filename not in others]
    code = tell_of_unmatched(evaluation, lacking)
    if args.plots:
        from evaluation.page import write_plots  # matplotlib takes a second to load

        write_plots(args.plots, assessment, sources_of(args))
    return code


# reading


def fold_of_videos(path: str) -> dict[str, int]:
    """Fold by id. Raises InputError, also for a video in two folds."""
    table = read_folds(path)
    check_apart(path, table)
    return dict(zip(table["video"], table["fold"].tolist(), strict=True))


def read_compared(path: str, videos: Sequence[Scored]) -> dict[str, float]:
    """The second submission's scores of the videos that it has. Raises InputError where it has none of them."""
    others = read_submission(path, "--compare")
    found = {video.filename: others[video.filename] for video in videos if video.filename in others}
    if not found:
        raise InputError(
            f"--compare {path}: has none of the {len(videos)} videos, such as {videos[0].filename}; compare names"
        )
    return found


def read_groups(args: argparse.Namespace, videos: Sequence[Scored], truth: dict[str, Truth]) -> dict[str, list[str]]:
    """What each column of --by says of the videos. Raises InputError."""
    if args.by_csv and not args.by:
        raise InputError("--by-csv: give the column to group by with --by")
    table = read_columns(args.by_csv) if args.by_csv else None
    filenames = [video.filename for video in videos]
    return {column: values_of(column, filenames, truth, table) for column in args.by}


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


def sources_of(args: argparse.Namespace) -> dict[str, str]:
    """What was evaluated, for the page."""
    sources = {"Submission": args.submission, "Labels": " ".join(args.labels), "Compared with": args.compare}
    return {word: path for word, path in sources.items() if path}


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.5f}"


def tell_of_unmatched(evaluation: Evaluation, not_compared: Sequence[str]) -> int:
    """Name the videos that are in one of the two only, or not in --compare, and return the exit code."""
    unmatched = {
        "no label": evaluation.without_label,
        "no prediction": evaluation.without_prediction,
        "no prediction in --compare": not_compared,
    }
    for what, names in unmatched.items():
        for name in names[:_SHOWN]:
            print(printable(f"  {what}, left out: {name}"))
        if len(names) > _SHOWN:
            print(f"  {what}, left out: {len(names) - _SHOWN} more")
    counts = ", ".join(f"{len(names)} with {what}" for what, names in unmatched.items() if names)
    if counts:
        flags = "--submission and --labels" + " and --compare" * bool(not_compared)
        print(f"error: the figures leave out videos: {counts}; check {flags}", file=sys.stderr)
    return int(bool(counts))


def write_evaluation(path: str, evaluation: Evaluation, assessment: Assessment) -> None:
    """The keys of the figures and of what else there is stand side by side."""
    content = asdict(evaluation)
    figures = content.pop("figures")
    others = {key: value for key, value in as_json(assessment).items() if key not in figures}
    content = {**figures, **others, **content}
    write_json(path, content, "choose another --json", end="\n", indent=2, allow_nan=False)


if __name__ == "__main__":
    sys.exit(main())
