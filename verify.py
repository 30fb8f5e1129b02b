"""Check that a case is still what it was: its videos, weights and settings, its journal, its outputs, its scores.

    python verify.py submission.case.json
    python verify.py submission.case.json --videos DIR --weights-dir DIR --rerun 3

Input: a case file (predict_folder.py writes one beside its output) and what it names. Output: a line for each kind of
thing, and one that begins with "differs" for each thing that is another than it was, in the order in which they came
about, and says how. With --rerun some videos are scored again, and may move as far as docs/cases.md says; with
--compare two cases are compared, which are equal but for their times. C2PA manifests of the videos are told of where
`pip install c2pa-python` was done. Exit code 0: nothing differs; 1: something does.
"""

import argparse
import contextlib
import io
import itertools
import os
import sys
from collections.abc import Iterable

import runtime.environment  # noqa: F401  it says what to do where the others can't be imported

import torch
from tqdm import tqdm

import predict_folder
from inference.c2pa_manifests import manifest_reader
from inference.case import Case, first_difference, read_case
from inference.case_check import Check, Places, check_case, path_in, size_of
from inference.case_rerun import choose_videos, plan_rerun, rerun
from inference.machine_facts import machine_facts
from runtime.command import positive, run_command, whole
from runtime.digests import digest_of
from runtime.errors import InputError, printable
from runtime.ranks import Ranks

_SHOWN = 20  # differences of a kind
_TOLD = {"weights": "weights", "input": "inputs", "video": "videos", "journal": "journal", "output": "outputs"}
_TOLD |= {"scores": "scores in --output", "rerun": "videos scored again"}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Check that a case is still what it was")
    arg = parser.add_argument
    arg("case", metavar="CASE", help="a case file of predict_folder.py")
    arg("--videos", metavar="DIR", help="where the videos are now (default: where they were)")
    arg("--weights-dir", metavar="DIR", help="where the weights are now (default: where they were)")
    arg("--rerun", type=positive, metavar="N", help="also score N of the videos again, and compare")
    arg("--seed", type=whole(0), default=0, metavar="N", help="by which they are chosen (default: 0)")
    arg("--compare", metavar="CASE", help="only tell in what another run of the same case differs, but for times")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    return run_command(verify, parse_args(argv))


def verify(args: argparse.Namespace, ranks: Ranks) -> int:
    if ranks.rank:
        return 0  # one process does it
    case = read_case(args.case)
    if args.compare:
        return compare(case, args)
    places = Places(case=os.path.dirname(os.path.abspath(args.case)), videos=args.videos, weights=args.weights_dir)
    check_folders(case, places)
    print(f"Case of {case.run.started}: {len(case.videos)} videos, files of weights: {len(case.weights)}")
    print(f"its file's SHA-256: {digest_of(args.case).sha256}", flush=True)
    with tqdm(total=size_of(case), unit="B", unit_scale=True, desc="Hashing", disable=None) as progress:
        checks = list(check_case(case, places, progress.update))
    failed = tell(checks)
    for line in [*changes(case), *manifests(case, places)]:
        print(printable(f"note: {line}"))
    if args.rerun:
        try:
            failed += tell(again(case, places, args.rerun, args.seed))
        except InputError as error:
            raise InputError(f"{args.case}: {error}") from error
    print(f"differs: {failed} of what was looked at" if failed else "nothing differs")
    return int(bool(failed))


def compare(case: Case, args: argparse.Namespace) -> int:
    found = first_difference(case, read_case(args.compare))
    print(printable(f"differs: {found}") if found else "the two cases are equal but for their runs")
    return int(bool(found))


def check_folders(case: Case, places: Places) -> None:
    """Raises InputError where a folder is not there at all."""
    for flag, folder, files in (
        ("--videos", places.videos_of(case), case.videos),
        ("--weights-dir", places.weights_of(case), case.weights),
    ):
        if files and not os.path.isdir(folder):
            raise InputError(f"{folder}: there is no such folder; {flag} DIR says where its files are now")


def tell(checks: Iterable[Check]) -> int:
    """Print what was found, and return how much differs."""
    failed = 0
    for kind, group in itertools.groupby(checks, key=lambda check: check.kind):
        found = list(group)
        bad = [check for check in found if check.problem]
        failed += len(bad)
        print(f"{'differs' if bad else 'ok'}: {_TOLD[kind]}: {len(found) - len(bad)} of {len(found)} as they were")
        for check in bad[:_SHOWN]:
            print(printable(f"  differs: {check.name}: {check.problem}"))
        if len(bad) > _SHOWN:
            print(f"  differs: {len(bad) - _SHOWN} more")
    return failed


def changes(case: Case) -> list[str]:
    """What of this machine is another than what the videos were scored with: no fault, but a reason why scores move."""
    here = machine_facts(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    lines = []
    for environment in case.environments.values():
        for part in ("project", "python", "libraries", "ffmpeg", "processor", "mtcnn"):
            then, now = environment.get(part), here[part]
            if isinstance(then, dict) and part in ("libraries", "ffmpeg"):
                lines += [
                    f"{name} {then.get(name)} then, {now[name]} now" for name in now if then.get(name) != now[name]
                ]
            elif then != now:
                lines.append(f"{part}: {then!r:.200} then, {now!r:.200} now")
    return sorted(set(lines))


def manifests(case: Case, places: Places) -> list[str]:
    """What the C2PA manifests of the videos say."""
    try:
        tell_of = manifest_reader()
    except InputError as error:
        return [str(error)]
    if tell_of is None:
        return []
    paths = {video.video: path_in(places.videos_of(case), video.video) for video in case.videos if video.file}
    told = {name: tell_of(path) for name, path in paths.items() if path and os.path.isfile(path)}
    return [f"{name}: {line}" for name, line in told.items() if line] or ["no video has a C2PA manifest"]


def again(case: Case, places: Places, count: int, seed: int) -> list[Check]:
    """Score some videos again."""
    chosen, plan = choose_videos(case, count, seed), plan_rerun(case, places)
    check_flags(plan.flags)
    print(printable(f"scoring again, by seed {seed}: {', '.join(video.video for video in chosen)}"))
    print(f"their scores may move by {plan.tolerance}", flush=True)
    for note in plan.notes:
        print(printable(f"note: {note}"))
    return list(rerun(case, places, chosen, plan))


def check_flags(flags: list[str]) -> None:
    """Raises InputError for those that predict_folder.py does not take: it would tell all that it takes first."""
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told):
            predict_folder.parse_args([*flags, "--test-dir=."])
    except SystemExit as stop:
        raise InputError(f"repeat: {told.getvalue().partition(': error: ')[2].strip()}") from stop


if __name__ == "__main__":
    sys.exit(main())
