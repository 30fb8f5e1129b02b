"""Make one submission of several systems' submissions for the same videos.

    python combine_submissions.py seferbekov.csv ntechlab.csv medics.csv --output submission.csv --report page.html

Input: CSVs `filename,label` with the probability that each video is fake, and, where it is there, the summary that
predict_folder.py writes beside each (<submission>.summary.json). Output: a CSV `filename,label,<system>,...`, label the
mean of the systems' scores, and a column for each system with its own score, empty where the system has no such video;
beside it OUTPUT.summary.json: the videos on which systems disagree, that are missing from a submission, or of which a
system knows nothing. What a system's summary names as without a face, unreadable or failed is not in that video's mean.
Videos that are missing from a submission are named, scored by the others, and make the exit code 1.
docs/combining.md says how to choose.
"""

import argparse
import os
import sys
from collections.abc import Sequence

import runtime.environment  # noqa: F401  it says what to do where the others can't be imported

from evaluation.combination import WAYS, Combination, combine, read_submissions
from evaluation.combination_page import write_page
from evaluation.origin import summary_path
from evaluation.submissions import UNKNOWN
from runtime.command import number_above, run_command
from runtime.csv_lines import csv_lines
from runtime.errors import InputError, printable
from runtime.files import whole_file, write_json
from runtime.output_check import check_outputs
from runtime.ranks import Ranks

_DISAGREEMENT = 0.5
_LEAST_WEIGHT = 1e-9  # sums of still smaller ones are not exact
_MOST_WEIGHT = 1e6
_SHOWN = 20  # names of videos of a kind
_REMEDY = "choose another place"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Make one submission of several systems' submissions")
    arg = parser.add_argument
    arg("submissions", nargs="+", metavar="FILE", help="CSV: filename,label; label is the probability of fake")
    arg("--output", required=True, metavar="FILE", help="CSV to write: filename,label and a column for each system")
    arg(
        "--how",
        choices=WAYS,
        default=WAYS[0],
        help="mean of the probabilities (default), or of their logits, in which a system that is sure counts for more",
    )
    arg(
        "--weights",
        type=number_above(_LEAST_WEIGHT, _MOST_WEIGHT),
        nargs="+",
        metavar="W",
        help="of the submissions in the mean, in their order (default: all the same)",
    )
    arg(
        "--disagreement",
        type=number_above(0, 1),
        default=_DISAGREEMENT,
        metavar="D",
        help="systems disagree on a video where the highest of their scores is more than that above the lowest "
        f"(default: {_DISAGREEMENT})",
    )
    arg("--report", metavar="FILE", help="also write an HTML page: the videos, and which of them systems disagree on")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    return run_command(combine_files, parse_args(argv))


def combine_files(args: argparse.Namespace, ranks: Ranks) -> int:
    if ranks.rank:
        return 0  # it takes seconds: one process does it
    # read
    weights = args.weights or [1.0] * len(args.submissions)
    if len(weights) != len(args.submissions):
        raise InputError(f"--weights: {len(weights)} for {len(args.submissions)} submissions; give one for each")
    check_files(args)
    submissions = read_submissions(args.submissions)

    # combine
    combination = combine(submissions, weights, way=args.how, disagreement=args.disagreement)

    # summarise
    write_submission(args.output, combination)
    write_json(summary_path(args.output), summary_of(combination), _REMEDY, indent=2)
    if args.report:
        write_page(args.report, combination)
    tell(combination, args.output)
    if combination.missing:
        count = len(set().union(*combination.missing.values()))
        print(f"error: {count} videos are not in every submission; score them by all systems", file=sys.stderr)
        return 1
    return 0


def check_files(args: argparse.Namespace) -> None:
    """Raises InputError where a submission is there twice, and `check_outputs`' errors."""
    places = [os.path.realpath(path) for path in args.submissions]
    for number, (path, place) in enumerate(zip(args.submissions, places, strict=True)):
        if place in places[:number]:
            raise InputError(f"submission {path}: is given twice; leave one out, or give it more of the --weights")
    outputs = {"--output": args.output, "summary of --output": summary_path(args.output), "--report": args.report}
    check_outputs(outputs, [*args.submissions, *map(summary_path, args.submissions)])


def write_submission(path: str, combination: Combination) -> None:
    """The combined CSV. File names that are no UTF-8 come out as the bytes they are."""
    with (
        whole_file(path, _REMEDY, follow=True) as temporary,
        open(temporary, "w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        header = ["filename", "label", *(each.name for each in combination.submissions)]
        rows = ([video.video, video.score, *video.scores] for video in combination.videos)
        file.writelines(csv_lines([header, *rows]))


def summary_of(combination: Combination) -> dict:
    """The content of the summary file."""
    submissions = combination.submissions
    names = [each.name for each in submissions]
    return {
        "videos": len(combination.videos),
        "how": combination.way,
        "submissions": [
            {"name": each.name, "path": each.path, "weight": weight, "videos": len(each.scores)}
            for each, weight in zip(submissions, combination.weights, strict=True)
        ],
        "disagreement": combination.disagreement,
        "disagree": {video.video: dict(zip(names, video.scores, strict=True)) for video in combination.disputed},
        "missing": combination.missing,
        "nothing_known": [video.video for video in combination.videos if not any(video.counted)],
        "unknown": {each.name: each.unknown for each in submissions if each.unknown},
        "without_summary": [each.name for each in submissions if not each.has_summary],
        "opposed": [
            {"submissions": pair.names, "spearman": pair.spearman, "videos": pair.videos}
            for pair in combination.opposed
        ],
    }


def tell(combination: Combination, output: str) -> None:
    names = [each.name for each in combination.submissions]
    print(printable(f"{len(combination.videos)} videos by {len(names)} submissions ({', '.join(names)}): {output}"))
    disputes = []
    for video in combination.disputed:
        counted = zip(names, video.scores, video.counted, strict=True)
        scores = ", ".join(f"{name} {score:.3f}" for name, score, counts in counted if counts)
        disputes.append(f"{video.video}: {scores}")
    tell_of_some("systems disagree", disputes, output)
    for name, videos in combination.missing.items():
        tell_of_some(f"missing from {name}, scored without it", videos, output)
    for each in combination.submissions:
        unknown = [f"{video}: {reason}" for video, reason in each.unknown.items()]
        tell_of_some(f"nothing known to {each.name}, scored without it", unknown, output)
        if not each.has_summary and UNKNOWN in each.scores.values():
            print(printable(f"  {each.name}: no summary is beside {each.path}, so its {UNKNOWN} count as scores"))
    for pair in combination.opposed:
        first, second = pair.names
        warning = (
            f"warning: {first} and {second} put their {pair.videos} common videos in opposite orders (Spearman's "
            f"correlation {pair.spearman:.2f}); does one of them hold the probability that a video is real?"
        )
        print(printable(warning), file=sys.stderr)


def tell_of_some(what: str, lines: Sequence[str], output: str) -> None:
    """The first few; all of them are in the summary."""
    for line in lines[:_SHOWN]:
        print(printable(f"  {what}: {line}"))
    if len(lines) > _SHOWN:
        print(printable(f"  {what}: {len(lines) - _SHOWN} more, in {summary_path(output)}"))


if __name__ == "__main__":
    sys.exit(main())
