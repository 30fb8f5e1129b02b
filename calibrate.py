"""Turn scores into likelihood ratios: learn a calibration from labelled videos, apply it, say how good its ratios are.

    python calibrate.py fit --submission submission.csv --labels DATA_ROOT --output calibration.json --plots ratios
    python calibrate.py apply --calibration calibration.json --submission other.csv --output ratios.csv
    python calibrate.py report --calibration calibration.json --submission test.csv --labels TEST_ROOT --plots test

A likelihood ratio says how many times as probable a score is for a fake as for a real video, whatever the share of
fakes. Input: submissions of predict_folder.py (`filename,label`) with the summaries that it leaves beside them, which
say whose scores they are and which videos have none; labels as for evaluate.py. Output: of `fit` a calibration file,
which holds for scores of the same system, models and strategy only; of `apply` the submission with the columns
`log10_lr` and `lr_note`; of `report` Cllr and its parts, with 95 % intervals by draws of whole clusters of videos. With
--plots also plots and a page. `fit` and `report` leave out videos that are in one of submission and labels only, name
them, and have exit code 1 then.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence

import runtime.environment  # noqa: F401  it says what to do where the others can't be imported

import numpy as np
from scipy.special import expit

from evaluation.bootstrap import DRAWS
from evaluation.calibration import Calibration, load_calibration, write_calibration
from evaluation.calibration_record import file_of, make_calibration
from evaluation.calibrators import METHODS, log_odds_of
from evaluation.clusters import BY
from evaluation.cross_validation import FOLDS, fit
from evaluation.labelled_scores import NO_LABEL, NO_PREDICTION, LabelledScores, read_labelled_scores
from evaluation.labels import label_files
from evaluation.origin import NOT_TOLD, Run, read_run, summary_path
from evaluation.plot_folders import OF_RATIOS, check_page, written_to
from evaluation.ratio_csv import BOUND, OUTSIDE, ratios_of, write_ratios
from evaluation.ratio_estimates import Curve, curve_of
from evaluation.ratio_report import RatioReport, as_json, bounds_text, lines_of, methods_table, report_ratios
from evaluation.submissions import read_submission
from runtime.command import run_command, whole
from runtime.errors import InputError, printable
from runtime.files import write_json
from runtime.output_check import check_outputs
from runtime.ranks import Ranks

_SHOWN = 20  # names of videos of which the same is to be said
_CURVE_DRAWS, _CURVE_POINTS = 400, 101  # in each of these draws a calibration is learned
_HELP = {
    "fit": "learn a calibration from the scores of labelled videos",
    "apply": "write a submission's likelihood ratios",
    "report": "say how good the ratios are on labelled videos, which should be others than were learned from",
}
_UNMATCHED = (NO_LABEL, NO_PREDICTION)
_REASONS = {
    NO_LABEL: "no label",
    NO_PREDICTION: "no prediction",
    "no_face": "no face found",
    "unreadable": "unreadable",
    "failed": "failed",
    NOT_TOLD: "a score of 0.5, of which no summary tells what it means",
}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Turn scores into likelihood ratios")
    commands = parser.add_subparsers(dest="command", required=True, metavar="|".join(_HELP))
    for name, told in _HELP.items():
        arg = commands.add_parser(name, help=told, description=told).add_argument
        arg("--submission", required=True, metavar="FILE", help="CSV: filename,label; label is the probability of fake")
        arg("--summary", metavar="FILE", help="what predict_folder.py wrote with it (default: SUBMISSION.summary.json)")
        arg("--trust", action="store_true", help="go on where nothing tells whose scores they are; fit notes it down")
        if name != "fit":
            arg("--calibration", required=True, metavar="FILE", help="a file of calibrate.py fit")
        if name != "report":
            arg("--output", required=True, metavar="FILE", help="calibration file or CSV to write")
        if name == "apply":
            continue
        arg(
            "--labels",
            required=True,
            nargs="+",
            metavar="PATH",
            help="CSV: filename,label (0, 1, REAL, FAKE) and original; or metadata.json files; or a data root",
        )
        arg(
            "--cluster",
            choices=BY,
            default=BY[0],
            help="what stays together: a fake with its original and the other fakes of it, each video for itself, or "
            "all videos of a person (default: original)",
        )
        if name == "fit":
            arg("--method", choices=("auto", *METHODS), default="auto", help="default: auto, that of the lower Cllr")
            arg("--folds", type=whole(2, 100), default=FOLDS, metavar="N", help=f"that are left out (default: {FOLDS})")
        arg("--draws", type=whole(100, 100_000), default=DRAWS, metavar="N", help=f"for intervals (default: {DRAWS})")
        arg("--seed", type=whole(0), default=0, metavar="N", help="of the draws (default: 0)")
        arg("--json", metavar="FILE", help="also write the figures there")
        arg("--plots", metavar="DIR", help="also write plots there (.png), and index.html, a page with all of it")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    return run_command(calibrate, parse_args(argv))


def calibrate(args: argparse.Namespace, ranks: Ranks) -> int:
    if ranks.rank:
        return 0  # it takes seconds: one process does it
    return {"fit": fit_calibration, "apply": apply_calibration, "report": report_calibration}[args.command](args)


def fit_calibration(args: argparse.Namespace) -> int:
    # read
    labels = label_files(args.labels)
    outputs = {"--output": args.output, "--json": args.json}
    check_outputs(outputs, [*scores_files(args), *labels], folders={"--plots": written_to(args.plots, OF_RATIOS)})
    check_page(args.plots, "calibrate.py")
    videos = read_labelled_scores(args.submission, labels, args.summary, args.cluster)
    if videos.run.origin is None and not args.trust:
        raise InputError(untold(args))

    # learn
    methods = METHODS if args.method == "auto" else (args.method,)
    fitted = fit(videos.scores, videos.labels, videos.clusters, methods=methods, folds=args.folds)
    calibration = make_calibration(
        fitted, videos, submission=args.submission, labels=labels, cluster_by=args.cluster, folds=args.folds
    )
    write_calibration(args.output, calibration)

    # summarise
    method = calibration.calibrator.method
    report = report_ratios(
        fitted.left_out[method],
        videos,
        calibration,
        title="A calibration, and how good its ratios are",
        source=f"with the ratios that they got while they were left out, in {args.folds} folds",
        by=args.cluster,
        draws=args.draws,
        seed=args.seed,
        notes=notes_on_fit(calibration),
        tables=[methods_table(fitted.cllr, method)],
        curve=curve_of_fit(calibration, videos, args.seed) if args.plots else None,
    )
    tell(report, args)
    print(printable(f"{args.output}: {method}, ratios from {bounds_text(calibration)}"))
    return tell_left_out(videos.left_out)


def apply_calibration(args: argparse.Namespace) -> int:
    # read
    check_outputs({"--output": args.output}, [*scores_files(args), args.calibration])
    calibration = load_calibration(args.calibration)
    scores = read_submission(args.submission)
    run = read_run(args.submission, args.summary, scores)
    notes = check_origin(args, calibration, run)

    # apply
    ratios = ratios_of(calibration, scores, run.unscored)
    write_ratios(args.output, args.submission, ratios)

    # summarise
    given = sum(value is not None for value, _ in ratios.values())
    print(printable(f"{len(ratios)} videos, {given} with a likelihood ratio: {args.output}"))
    by_note: dict[str, list[str]] = {}
    for name, (_, note) in ratios.items():
        by_note.setdefault(note, []).append(name)
    if BOUND in by_note:
        print(f"  at a bound, {bounds_text(calibration)}: {len(by_note[BOUND])} videos")
    lowest, highest = calibration.scores_seen
    name_videos(f"outside of the scores that were learned from, {lowest:g} to {highest:g}", by_note.get(OUTSIDE, []))
    for reason in dict.fromkeys(run.unscored.values()):
        name_videos(f"no ratio, {_REASONS[reason]}", by_note[reason])
    for note in notes:
        print(printable(f"  note: {note}"))
    return 0


def report_calibration(args: argparse.Namespace) -> int:
    # read
    labels = label_files(args.labels)
    inputs = [*scores_files(args), args.calibration, *labels]
    check_outputs({"--json": args.json}, inputs, folders={"--plots": written_to(args.plots, OF_RATIOS)})
    check_page(args.plots, "calibrate.py")
    calibration = load_calibration(args.calibration)
    videos = read_labelled_scores(args.submission, labels, args.summary, args.cluster)
    notes = check_origin(args, calibration, videos.run)
    if len(np.unique(videos.labels)) < 2:
        kind = "fake" if videos.labels[0] else "real"
        raise InputError(f"all {len(videos.labels)} videos with a score and a label are {kind}: Cllr needs both kinds")

    # evaluate
    ratios, outside = calibration.log10_lr(videos.scores)
    if file_of(args.submission).sha256 == calibration.data.submission.sha256:
        notes.append("the calibration was learned from these very scores: the figures are too good; take other videos")
    if outside.any():
        notes.append(f"scores outside of those that the calibration was learned from: {outside.sum()}")
    report = report_ratios(
        ratios,
        videos,
        calibration,
        title="How good likelihood ratios are",
        source="with the calibration's ratios",
        by=args.cluster,
        draws=args.draws,
        seed=args.seed,
        notes=notes,
    )

    # summarise
    tell(report, args)
    return tell_left_out(videos.left_out)


# reading


def scores_files(args: argparse.Namespace) -> list[str]:
    return [args.submission, summary_path(args.submission, args.summary)]


def check_origin(args: argparse.Namespace, calibration: Calibration, run: Run) -> list[str]:
    """What makes the scores other than those of the calibration, a line each. Raises InputError where they are of
    another system, other models or another strategy, or where that can't be told and --trust is not given."""
    if run.origin and (calibration.origin or not args.trust):
        models = [(each.name, each.sha256) for each in run.origin.models]
        calibration.check(run.origin.system, models, run.origin.strategy, f"--calibration {args.calibration}")
        settings = calibration.other_settings(run.origin.settings)
        return [f"a setting of the run is other than the calibration's: {each}" for each in settings]
    if not args.trust:
        raise InputError(untold(args))
    return ["nothing tells whether the calibration is for these scores: whoever gave --trust vouches for it"]


def untold(args: argparse.Namespace) -> str:
    return (
        f"--submission {args.submission}: nothing tells whose scores these are "
        f"({summary_path(args.submission, args.summary)} is missing, or of combined scores); name by --summary what "
        "predict_folder.py wrote with it, or vouch for it by --trust"
    )


# learning


def curve_of_fit(calibration: Calibration, videos: LabelledScores, seed: int) -> Curve:
    """The ratios of the scores from the lowest to the highest that was learned from."""
    ends = log_odds_of(np.array(calibration.scores_seen))
    return curve_of(
        calibration.calibrator,
        calibration.bounds,
        expit(np.linspace(*ends, _CURVE_POINTS)),
        videos.scores,
        videos.labels,
        videos.clusters,
        draws=_CURVE_DRAWS,
        seed=seed,
    )


def notes_on_fit(calibration: Calibration) -> list[str]:
    notes = []
    if calibration.origin is None:
        notes.append("nothing tells whose scores these are: the calibration says so, and applies with --trust only")
    if calibration.bounds == (0, 0):
        notes.append("the scores don't tell fakes from real videos: all ratios are 1; are the labels the right ones?")
    return notes


# telling


def tell(report: RatioReport, args: argparse.Namespace) -> None:
    """Write what --json and --plots ask for, and print the tables."""
    if args.json:
        write_json(args.json, as_json(report), "choose another --json", end="\n", indent=2, allow_nan=False)
    if args.plots:
        from evaluation.ratio_page import write_ratio_page  # matplotlib takes a second to load

        write_ratio_page(args.plots, report)
    print("\n".join(lines_of(report)))


def name_videos(what: str, names: Sequence[str]) -> None:
    for name in names[:_SHOWN]:
        print(printable(f"  {what}: {name}"))
    if len(names) > _SHOWN:
        print(f"  {what}: {len(names) - _SHOWN} more")


def tell_left_out(left_out: Mapping[str, Sequence[str]]) -> int:
    """Name the videos that were left out. Returns the exit code: 1 where submission and labels don't match."""
    for reason, names in left_out.items():
        name_videos(f"{_REASONS[reason]}, left out", names)
    counts = [f"{len(names)} with {_REASONS[each]}" for each in _UNMATCHED if (names := left_out.get(each))]
    if counts:
        told = ", ".join(counts)
        print(f"error: the figures leave out videos: {told}; check --submission and --labels", file=sys.stderr)
    return int(bool(counts))


if __name__ == "__main__":
    sys.exit(main())
