"""Re-encode, shrink, blur and otherwise change videos, predict all of it again, and tell what became of the scores.

    python robustness.py --test-dir videos --labels DATA_ROOT --models A B --weights-dir weights --output-dir robustness

Input: the videos of a folder; what they are, as evaluate.py takes it (a CSV `filename,label`, metadata.json files, or a
data root); checkpoints. Flags after -- are passed on to predict_folder.py, such as -- --frames-per-video 16. Output, in
the folder --output-dir: for each variant (--list tells all) the scores, faces and summary of the whole pipeline, face
detection included; and robustness.csv, robustness.json and robustness.html: figures of each variant and their
difference from those of the files themselves, with 95 % intervals by draws of whole clusters of videos, lost faces and
changed verdicts (docs/robustness.md says how to read them). A variant's videos are made in parallel, without sound, and
deleted as it is done. A run that is stopped goes on where it stopped. Exit code 1 if a variant, or a video of one, is
missing.
"""

import argparse
import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import runtime.environment  # noqa: F401  it says what to do where the others can't be imported

from evaluation.bootstrap import DRAWS
from evaluation.clusters import BY
from evaluation.labels import Truth, label_files, read_labels
from evaluation.robustness import Table, VariantScores, as_json, read_scores, table_of
from evaluation.robustness_progress import Progress, Scored
from evaluation.robustness_runs import OUTPUTS, Prediction, Scoring
from evaluation.robustness_text import failures, text_of, write_csv
from evaluation.robustness_videos import has_encoder
from evaluation.variants import IDENTITY, VARIANTS, Variant
from inference.listing import list_videos, tell_left_out
from runtime.command import run_command, whole, worker_count
from runtime.cores import available_cores
from runtime.errors import InputError, printable
from runtime.files import is_link, link_error, write_json
from runtime.output_check import check_outputs
from runtime.ranks import Ranks

_DRAWS = (100, 100_000)  # fewer tell no ends of an interval
_SHOWN = 20  # names
_REMEDY = "choose another --output-dir"
_TABLES = ("robustness.csv", "robustness.json", "robustness.html")


class _List(argparse.Action):
    """Tell all variants and leave."""

    def __call__(self, parser: argparse.ArgumentParser, *_) -> None:
        width = max(map(len, VARIANTS))
        for name, variant in VARIANTS.items():
            lacking = "" if is_possible(variant) else f" (not here: FFmpeg has no {variant.codec})"
            print(f"{name:<{width}}  {variant.about}{lacking}")
        parser.exit()


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Predict variants of videos, and tell what became of the scores",
        epilog="Flags after -- are passed on to predict_folder.py.",
    )
    arg = parser.add_argument
    arg("--list", action=_List, nargs=0, help="tell all variants, a line each")
    arg("--test-dir", required=True, metavar="DIR", help="folder with videos")
    arg(
        "--labels",
        required=True,
        nargs="+",
        metavar="PATH",
        help="CSV: filename,label (0, 1, REAL, FAKE); or metadata.json files; or a data root",
    )
    arg("--models", nargs="+", required=True, metavar="FILE", help="checkpoint files: the ensemble")
    arg("--weights-dir", default="weights", metavar="DIR", help="folder with checkpoints (default: weights)")
    arg("--output-dir", required=True, metavar="DIR", help="folder to write to")
    arg(
        "--variants",
        nargs="+",
        choices=VARIANTS,
        default=list(VARIANTS),
        metavar="NAME",
        help=f"which ones (default: all); {IDENTITY} is always among them",
    )
    arg("--workers", type=worker_count, metavar="N", help="processes that make videos (default: CPU cores)")
    arg("--keep", action="store_true", help="keep the videos of variants that are scored from now on")
    arg(
        "--cluster",
        choices=BY,
        default=BY[0],
        help="what is drawn together for the intervals, as for evaluate.py (default: original)",
    )
    arg("--draws", type=whole(*_DRAWS), default=DRAWS, metavar="N", help=f"of the bootstrap (default: {DRAWS})")
    arg("--seed", type=whole(0), default=0, metavar="N", help="of the draws (default: 0)")
    own = list(sys.argv[1:] if argv is None else argv)
    end = own.index("--") if "--" in own else len(own)
    args = parser.parse_args(own[:end])
    args.flags = own[end + 1 :]
    return args


def main(argv: list[str] | None = None) -> int:
    return run_command(measure, parse_args(argv))


def measure(args: argparse.Namespace, ranks: Ranks) -> int:
    if ranks.world_size > 1:
        raise InputError("robustness.py is one process, which starts others: run it without torchrun")
    # list the work and skip what is done
    output = Path(args.output_dir)
    prediction = Prediction(weights_dir=args.weights_dir, models=args.models, flags=args.flags)
    prediction.check()
    files = label_files(args.labels)
    truth = read_labels(files)
    listing = list_videos(args.test_dir, only_mp4=False, outputs=[])
    sources = labelled(args, listing.videos, truth)
    check_outputs({f"--output-dir, {name}": output / name for name in _TABLES}, [*files, *sources.values()])
    asked = [variant for name, variant in VARIANTS.items() if name in args.variants or name == IDENTITY]
    for variant in asked:
        if is_link(output / variant.name):
            raise link_error(output / variant.name)
    variants = [variant for variant in asked if is_possible(variant)]
    print(f"Testing {len(variants)} variants of {len(sources)} videos", flush=True)
    tell_left_out(listing)
    without_label = tell_of_unlabelled(listing.videos, sources, truth)

    # process
    told: dict[str, VariantScores] = {}
    codes = []
    with contextlib.closing(Progress(output)) as progress:
        scoring = Scoring(
            prediction=prediction, progress=progress, workers=args.workers or available_cores(), keep=args.keep
        )
        for variant in variants:
            print(f"{variant.name}: {variant.about}", flush=True)
            folder = output / variant.name
            scored, failed = scoring.score(variant, sources, folder)
            codes.append(scored.exit_code)
            told[variant.name] = scores_of(folder, sources, scored, failed)

        # summarise
        table = table_of(variants, told, truth, by=args.cluster, draws=args.draws, seed=args.seed)
        write_tables(output, table, args)
    print(f"\n{text_of(table)}")
    return tell_of_missing(table, [variant for variant in asked if variant not in variants], without_label, codes)


def is_possible(variant: Variant) -> bool:
    return variant.codec is None or has_encoder(variant.codec)


def labelled(args: argparse.Namespace, videos: Sequence[str], truth: Mapping[str, Truth]) -> dict[str, str]:
    """The files of the videos that have a label, by name. Raises InputError where they are not of both kinds."""
    sources = {name: os.path.join(args.test_dir, name) for name in videos if name in truth}
    labels = " ".join(args.labels)
    if not sources:
        raise InputError(
            f"--labels {labels}: not one of its {len(truth)} videos is among the {len(videos)} of "
            f"--test-dir {args.test_dir}; compare names, such as {next(iter(truth), '(none)')} and {videos[0]}"
        )
    kinds = {truth[name].is_fake for name in sources}
    if len(kinds) == 1:
        kind, other = ("fake", "real") if kinds == {True} else ("real", "fake")
        raise InputError(
            f"--labels {labels}: all {len(sources)} videos of --test-dir {args.test_dir} are {kind}: no figure tells "
            f"how well they are told from others; add {other} ones"
        )
    return sources


def scores_of(folder: Path, sources: Mapping[str, str], scored: Scored, failed: Mapping[str, str]) -> VariantScores:
    """What was written of a variant's videos, but for those that could not be made: it may be of what they were."""
    if not scored.sources:  # not one could be made
        return VariantScores(scores={}, faces={}, unreadable={}, not_encoded=failed)
    files = (folder / name for name in OUTPUTS)
    return read_scores(*files, names=sources.keys() - failed.keys(), not_encoded=failed)


def write_tables(output: Path, table: Table, args: argparse.Namespace) -> None:
    from evaluation.robustness_page import write_page  # matplotlib takes a second to load

    write_csv(output / _TABLES[0], table, _REMEDY)
    write_json(output / _TABLES[1], as_json(table), _REMEDY, end="\n", indent=2, allow_nan=False)
    sources = {
        "Videos": args.test_dir,
        "Labels": " ".join(args.labels),
        "Models": " ".join(args.models),
        "Prediction": " ".join(args.flags) or "with predict_folder.py's defaults",
    }
    write_page(output / _TABLES[2], table, sources, _REMEDY)


# telling


def tell_of_unlabelled(videos: Sequence[str], sources: Mapping[str, str], truth: Mapping[str, Truth]) -> int:
    """Name the videos without a label, and return how many there are; say how many labels are of other videos."""
    without = [name for name in videos if name not in sources]
    for name in without[:_SHOWN]:
        print(printable(f"  no label, left out: {name}"))
    if len(without) > _SHOWN:
        print(f"  no label, left out: {len(without) - _SHOWN} more")
    if others := len(truth) - len(sources):
        print(f"  {others} labels are of videos that are not in --test-dir")
    return len(without)


def tell_of_missing(table: Table, impossible: Sequence[Variant], without_label: int, codes: Sequence[int]) -> int:
    """Name what the table lacks, and return the exit code."""
    lines = [*failures(table)]
    for line in lines[:_SHOWN]:
        print(f"  {line}")
    if len(lines) > _SHOWN:
        print(f"  and {len(lines) - _SHOWN} more, see {_TABLES[1]}")
    for variant in impossible:
        print(f"error: {variant.name}: FFmpeg has no encoder {variant.codec} here: left out", file=sys.stderr)
    if without_label:
        print(f"error: {without_label} videos have no label and are left out; check --labels", file=sys.stderr)
    if lines:
        print(f"error: {len(lines)} videos of variants can't be encoded or read; mend or remove them", file=sys.stderr)
    return int(bool(lines or impossible or without_label or any(codes)))


if __name__ == "__main__":
    sys.exit(main())
