"""Damaged files of every kind but videos, and what the commands make of them.

    python -m tests.fuzz --count 200 --seed 0 [--only boxes ...]

Makes what each system reads as it should be: a small data root, checkpoints, a training, a prediction (fuzz_<system>.py
says which files, and which commands read them); then, for each of --count cases, a copy in which one file is damaged.
What is damaged, how (fuzz_damages.py), and which command runs on it are drawn from (seed, number) alone. The command
runs in a process of its own, with limits, and must

- end with exit code 0 and no error, or with 1 and a line that says what is wrong, and never with a traceback;
- take at most a minute and less than 2 GB beyond what a process has at its start;
- change nothing in the folder beside the copy, to which the links lead that some damages make;
- come to the same result as on the undamaged files, where a journal is all that was damaged and it goes on.

Prints a table of what became of the cases, then the findings; exit code 1 if there are any. A case can be run alone
with --only KIND --first NUMBER --count 1. Videos have a script of their own: `python -m benchmarks.damage`.
"""

import argparse
import contextlib
import hashlib
import os
import shutil
import signal
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.bounded import Outcome, bounded
from tests import fuzz_damages, fuzz_medics, fuzz_ntechlab, fuzz_seferbekov
from tests.fuzz_target import Files

MOST_BYTES, MOST_SECONDS = 2 * 10**9, 60
_SHOWN = 600  # characters of an output

SYSTEMS = {"seferbekov": fuzz_seferbekov.FILES, "ntechlab": fuzz_ntechlab.FILES, "medics": fuzz_medics.FILES}
TARGETS = {name: system for system, files in SYSTEMS.items() for name in files.targets}  # and whose files they are


@dataclass(frozen=True, kw_only=True)
class Case:
    """One damaged copy, and what became of it; `findings` is empty where that is as it must be."""

    number: int
    target: str
    damage: str
    command: str
    outcome: Outcome
    findings: list[str]

    @property
    def fate(self) -> str:
        if self.findings:
            return "finding"
        return "goes on" if self.outcome.result == 0 else "refused"


class Folder:
    """A system's undamaged files, made once, and beside them the canary: the same files, which nothing may change."""

    def __init__(self, files: Files, place: Path):
        self.whole, self.canary = place / "whole", place / "canary"
        self.whole.mkdir(parents=True)
        _checked(bounded(lambda: _apart(files.make, self.whole), seconds=300, most_bytes=4 * 10**9))
        self._fingerprints = fingerprints(self.whole)
        shutil.copytree(self.whole, self.canary)

    def canary_was_changed(self) -> bool:
        """Whether it was since the last call. It is as before then."""
        if fingerprints(self.canary) == self._fingerprints:
            return False
        shutil.rmtree(self.canary)
        shutil.copytree(self.whole, self.canary)
        return True


def run_case(number: int, seed: int, name: str, folder: Folder, copy: Path) -> Case:
    draw = np.random.default_rng((seed, number))
    target = SYSTEMS[TARGETS[name]].targets[name]
    shutil.copytree(folder.whole, copy)
    files = sorted(path for pattern in target.files for path in copy.glob(pattern))
    path = files[draw.integers(len(files))]
    damage = fuzz_damages.damage_of(target.kind, draw)
    command = target.commands[draw.integers(len(target.commands))]
    seen = folder.canary / path.relative_to(copy)
    _checked(bounded(lambda: damage(path, seen, draw), seconds=MOST_SECONDS, most_bytes=MOST_BYTES))
    outcome = bounded(lambda: _apart(command, copy), seconds=MOST_SECONDS, most_bytes=MOST_BYTES)
    found = findings_of(outcome)
    if folder.canary_was_changed():
        found.append("the folder beside it was changed")
    if target.result and outcome.result == 0 and not found:
        made, expected = fingerprints(copy / target.result), fingerprints(folder.whole / target.result)
        if made != expected:
            found.append(f"another {target.result} than without the damage")
    shutil.rmtree(copy)
    return Case(
        number=number,
        target=name,
        damage=damage.__name__,
        command=command.__name__,
        outcome=outcome,
        findings=found,
    )


def findings_of(outcome: Outcome) -> list[str]:
    """What is not as it must be, as sentences."""
    found, text = [], outcome.output
    errors = [line for line in text.splitlines() if line.startswith("error: ")]
    if outcome.exit_code == -signal.SIGKILL:
        found.append(f"killed after {outcome.seconds:.0f} s")
    elif outcome.exit_code:
        found.append(f"exit code {outcome.exit_code}")
    elif outcome.result not in (0, 1):
        found.append(f"the command returned {outcome.result!r}")
    if "Traceback" in text:
        found.append("a traceback")
    if outcome.result == 1 and not errors and not any(word in text for word in ("failed", "unreadable", "can't be")):
        found.append("exit code 1, and nothing says why")
    if len(errors) > 1 or (outcome.result == 0 and errors):
        found.append(f"{len(errors)} lines with an error and exit code {outcome.result}")
    if any(len(line) > 5000 for line in errors):
        found.append("an error of more than 5000 characters")
    if outcome.grown > MOST_BYTES:
        found.append(f"{outcome.grown / 1e9:.1f} GB of memory")
    if found:
        found.append("..." + text.strip()[-_SHOWN:])
    return found


def fingerprints(path: Path) -> dict[str, str]:
    """What a file is, or each file of a folder: its content, or where it leads to."""
    found = {}
    for each in sorted(path.rglob("*")) if path.is_dir() and not path.is_symlink() else [path]:
        if each.is_symlink():
            found[str(each.relative_to(path))] = os.readlink(each)
        elif each.is_file():
            found[str(each.relative_to(path))] = hashlib.sha256(each.read_bytes()).hexdigest()
        else:
            found[str(each.relative_to(path))] = "a folder" if each.is_dir() else "something else"
    return found


def _checked(outcome: Outcome) -> None:
    """This process computes nothing itself: the threads that it would start for that are not in its copies, which
    would wait for them for ever."""
    if outcome.exit_code:
        raise RuntimeError(outcome.output)


def _apart(command: Callable[[Path], object], folder: Path) -> object:
    """In the child: processes that it starts need not import this script."""
    script = sys.modules["__main__"]
    script.__spec__ = None
    with contextlib.suppress(AttributeError):
        del script.__file__
    return command(folder)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Damage files and run the commands on them")
    arg = parser.add_argument
    arg("--count", type=int, default=200, metavar="N", help="cases (default: 200)")
    arg("--first", type=int, default=0, metavar="N", help="number of the first case (default: 0)")
    arg("--seed", type=int, default=0)
    arg("--only", nargs="+", choices=TARGETS, metavar="NAME", help="damage files of these kinds alone")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    os.environ.setdefault("MPLBACKEND", "agg")
    with tempfile.TemporaryDirectory(prefix="fuzz") as scratch:
        folders: dict[str, Folder] = {}
        cases, names = [], args.only or list(TARGETS)
        for number in range(args.first, args.first + args.count):
            name = names[number % len(names)]
            system = TARGETS[name]
            if system not in folders:
                folders[system] = Folder(SYSTEMS[system], Path(scratch, system))
            cases.append(run_case(number, args.seed, name, folders[system], Path(scratch, "copy")))
            print(f"{number}: {_described(cases[-1])}", file=sys.stderr, flush=True)
    print_table(cases)
    for case in cases:
        if case.findings:
            alone = f"--only '{case.target}' --seed {args.seed} --first {case.number} --count 1"
            print(f"\nFINDING {_described(case)} ({alone})")
            print("  " + "\n  ".join(case.findings))
    return int(any(case.findings for case in cases))


def print_table(cases: list[Case]) -> None:
    by_target: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        by_target[case.target].append(case)
    print(f"{'damaged':<16}{'cases':>7}{'go on':>7}{'refused':>9}{'findings':>10}{'most MB':>9}{'most s':>8}")
    for target, of_target in by_target.items():
        fates = Counter(case.fate for case in of_target)
        most, slowest = max(case.outcome.grown for case in of_target), max(case.outcome.seconds for case in of_target)
        print(
            f"{target:<16}{len(of_target):>7}{fates['goes on']:>7}{fates['refused']:>9}{fates['finding']:>10}"
            f"{most / 1e6:>9.0f}{slowest:>8.1f}"
        )


def _described(case: Case) -> str:
    last = case.outcome.output.strip().splitlines()[-1:] or [""]
    return f"{case.target}, {case.damage}, {case.command}: {case.fate} ({case.outcome.seconds:.1f} s) {last[0][:160]}"


if __name__ == "__main__":
    sys.exit(main())
