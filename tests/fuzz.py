"""Damaged files of every kind but videos, and what the commands make of them.

    python -m tests.fuzz --count 200 --seed 0 [--only boxes]

Makes a small data root, a checkpoint, a training and a prediction as they should be; then, for each of --count cases,
a copy in which one file is damaged: a checkpoint, a journal of predictions or of a stage, metadata.json, folds.csv,
boxes, a crop, landmarks, a diff, a configuration, a submission, labels. What is damaged, how, and which command runs on
it are drawn from (seed, number) alone. The command runs in a process of its own, with limits, and must

- end with exit code 0 and no error, or with 1 and a line that says what is wrong, and never with a traceback;
- take at most a minute and less than 2 GB beyond what a process has at its start;
- change nothing in the folder beside the copy, to which the links lead that some damages make;
- come to the same result as on the undamaged files, where a journal is all that was damaged and it goes on.

Prints a table of what became of the cases, then the findings; exit code 1 if there are any. A case can be run alone
with --first NUMBER --count 1. Videos have a script of their own: `python -m benchmarks.damage`.
"""

import argparse
import contextlib
import hashlib
import json
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

import evaluate
import predict_folder
from benchmarks.bounded import Outcome, bounded
from preprocessing import extract_crops, generate_diffs, generate_folds, inspect_data
from tests import fuzz_damages, media
from tests.test_inspect_data import write_root
from tests.test_train_classifier import write_config
from training.pipelines import train_classifier
from training.tools import check_checkpoint

MOST_BYTES, MOST_SECONDS = 2 * 10**9, 60
_FRAMES = 11
_LAST = "t_DeepFakeClassifier_tf_efficientnet_b0_ns_0_last"
_SHOWN = 600  # characters of an output

Command = Callable[[Path], int]


@dataclass(frozen=True, kw_only=True)
class Target:
    """A file to damage: where it may be in the copy, of what kind it is, and the commands that read it. `result` is
    what must come out as it did before where the exit code is 0."""

    files: str
    kind: str
    commands: tuple[Command, ...]
    result: str | None = None


# the commands, each on a folder with all that there is


def predict(folder: Path) -> int:
    return predict_folder.main(_predict_flags(folder))


def predict_again(folder: Path) -> int:
    return predict_folder.main([*_predict_flags(folder), "--overwrite", "--report", str(folder / "report.html")])


def check(folder: Path) -> int:
    return check_checkpoint.main([str(folder / "weights" / "model")])


def resume(folder: Path) -> int:
    return train_classifier.main([*_train_flags(folder), "--resume", str(folder / "out" / _LAST)])


def train(folder: Path) -> int:
    return train_classifier.main([*_train_flags(folder), "--prefix", "new_"])


def crops(folder: Path) -> int:
    return extract_crops.main(_stage_flags(folder))


def crops_again(folder: Path) -> int:
    return extract_crops.main([*_stage_flags(folder), "--overwrite"])


def diffs(folder: Path) -> int:
    return generate_diffs.main(_stage_flags(folder))


def diffs_again(folder: Path) -> int:
    return generate_diffs.main([*_stage_flags(folder), "--overwrite"])


def folds(folder: Path) -> int:
    return generate_folds.main(
        ["--root-dir", str(folder / "root"), "--out", str(folder / "folds.csv"), "--n_splits", "2"]
    )


def inspect(folder: Path) -> int:
    return inspect_data.main(["--root-dir", str(folder / "root"), "--video", "f2", "--out", str(folder / "sheet.png")])


def figures(folder: Path) -> int:
    flags = [
        "--submission",
        str(folder / "submission.csv"),
        "--labels",
        str(folder / "root" / "part_0" / "metadata.json"),
    ]
    return evaluate.main([*flags, "--folds-csv", str(folder / "folds.csv"), "--json", str(folder / "figures.json")])


def figures_of_a_table(folder: Path) -> int:
    return evaluate.main(["--submission", str(folder / "submission.csv"), "--labels", str(folder / "labels.csv")])


def _predict_flags(folder: Path) -> list[str]:
    return [
        *("--weights-dir", str(folder / "weights"), "--models", "model", "--test-dir", str(folder / "root" / "part_0")),
        *("--output", str(folder / "submission.csv"), "--frames-per-video", "2", "--engine", "torch"),
        *("--device", "cpu", "--workers", "1"),
    ]


def _train_flags(folder: Path) -> list[str]:
    return [
        *("--config", str(folder / "config.json"), "--data-dir", str(folder / "root"), "--workers", "0"),
        *("--folds-csv", str(folder / "folds.csv"), "--output-dir", str(folder / "out"), "--prefix", "t_"),
        *("--logdir", str(folder / "logs"), "--device", "cpu"),
    ]


def _stage_flags(folder: Path) -> list[str]:
    return ["--root-dir", str(folder / "root"), "--workers", "1"]


TARGETS = {
    "checkpoint": Target(files="weights/model", kind="checkpoint", commands=(check, predict_again)),
    "training": Target(files=f"out/{_LAST}", kind="checkpoint", commands=(resume,)),
    "predictions": Target(
        files="submission.*.jsonl", kind="journal", commands=(predict, predict), result="submission.csv"
    ),
    "stage": Target(files="root/.preprocessing/*.jsonl", kind="journal", commands=(crops, diffs), result="root/diffs"),
    "metadata": Target(files="root/part_0/metadata.json", kind="json", commands=(folds, inspect, figures)),
    "folds": Target(files="folds.csv", kind="csv", commands=(figures, train)),
    "boxes": Target(files="root/boxes/*.json", kind="json", commands=(inspect, crops_again)),
    "crop": Target(files="root/crops/f*/*.png", kind="png", commands=(inspect, diffs_again, train)),
    "landmarks": Target(files="root/landmarks/*/*.npy", kind="npy", commands=(inspect, train)),
    "diff": Target(files="root/diffs/*/*.png", kind="png", commands=(inspect, train)),
    "config": Target(files="config.json", kind="json", commands=(train,)),
    "submission": Target(files="submission.csv", kind="csv", commands=(figures_of_a_table, figures)),
    "labels": Target(files="labels.csv", kind="csv", commands=(figures_of_a_table,)),
}


def make_whole(folder: Path) -> None:
    """All that the commands read, as they write it."""
    write_root(folder / "root", frames=_FRAMES)
    for name in ("crops", "diffs"):  # the stages' own
        shutil.rmtree(folder / "root" / name)
    add_another_original(folder / "root")
    write_config(folder, epochs=1, batches_per_epoch=1)
    (folder / "weights").mkdir()
    media.write_checkpoint(folder / "weights" / "model")
    (folder / "labels.csv").write_text("filename,label\n004.mp4,0\nf1.mp4,1\nf2.mp4,1\n005.mp4,0\ng1.mp4,1\n")
    for command in (crops_again, diffs_again, folds, predict, train):
        if command(folder):
            raise RuntimeError(f"{command.__name__} fails on whole files")
    for path in (folder / "out").iterdir():
        path.rename(path.with_name(path.name.replace("new_", "t_")))


def add_another_original(root: Path) -> None:
    """And its fake: what one fold is trained on while the other is held out."""
    part = root / "part_0"
    labels = json.loads((part / "metadata.json").read_text())
    for new, old in {"005": "004", "g1": "f1"}.items():
        shutil.copy(part / f"{old}.mp4", part / f"{new}.mp4")
    labels |= {"005.mp4": {"label": "REAL"}, "g1.mp4": {"label": "FAKE", "original": "005.mp4"}}
    (part / "metadata.json").write_text(json.dumps(labels))
    shutil.copy(root / "boxes" / "004.json", root / "boxes" / "005.json")
    shutil.copytree(root / "landmarks" / "004", root / "landmarks" / "005")


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


def run_case(number: int, seed: int, whole: Path, scratch: Path, only: str | None) -> Case:
    draw = np.random.default_rng((seed, number))
    name = only or list(TARGETS)[number % len(TARGETS)]
    target = TARGETS[name]
    folder, canary = scratch / "copy", scratch / "canary"
    shutil.copytree(whole, folder)
    shutil.copytree(whole, canary)
    before = fingerprints(canary)
    files = sorted(folder.glob(target.files))
    path = files[draw.integers(len(files))]
    damage = fuzz_damages.damage_of(target.kind, draw)
    command = target.commands[draw.integers(len(target.commands))]
    seen = canary / path.relative_to(folder)
    _checked(bounded(lambda: damage(path, seen, draw), seconds=MOST_SECONDS, most_bytes=MOST_BYTES))
    outcome = bounded(lambda: _apart(command, folder), seconds=MOST_SECONDS, most_bytes=MOST_BYTES)
    found = findings_of(outcome)
    if fingerprints(canary) != before:
        found.append("the folder beside it was changed")
    if target.result and outcome.result == 0 and not found:
        made, expected = fingerprints(folder / target.result), fingerprints(whole / target.result)
        if made != expected:
            found.append(f"another {target.result} than without the damage")
    for each in (folder, canary):
        shutil.rmtree(each)
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
    arg("--only", choices=TARGETS, help="damage files of this kind alone")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    os.environ.setdefault("MPLBACKEND", "agg")
    with tempfile.TemporaryDirectory(prefix="fuzz") as folder:
        whole = Path(folder, "whole")
        whole.mkdir()
        _checked(bounded(lambda: _apart(make_whole, whole), seconds=300, most_bytes=4 * 10**9))
        cases = []
        for number in range(args.first, args.first + args.count):
            cases.append(run_case(number, args.seed, whole, Path(folder), args.only))
            print(f"{number}: {_described(cases[-1])}", file=sys.stderr, flush=True)
    print_table(cases)
    for case in cases:
        if case.findings:
            print(f"\nFINDING {_described(case)} (--seed {args.seed} --first {case.number} --count 1)")
            print("  " + "\n  ".join(case.findings))
    return int(any(case.findings for case in cases))


def print_table(cases: list[Case]) -> None:
    by_target: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        by_target[case.target].append(case)
    print(f"{'damaged':<14}{'cases':>7}{'go on':>7}{'refused':>9}{'findings':>10}{'most MB':>9}{'most s':>8}")
    for target, of_target in by_target.items():
        fates = Counter(case.fate for case in of_target)
        most, slowest = max(case.outcome.grown for case in of_target), max(case.outcome.seconds for case in of_target)
        print(
            f"{target:<14}{len(of_target):>7}{fates['goes on']:>7}{fates['refused']:>9}{fates['finding']:>10}"
            f"{most / 1e6:>9.0f}{slowest:>8.1f}"
        )


def _described(case: Case) -> str:
    last = case.outcome.output.strip().splitlines()[-1:] or [""]
    return f"{case.target}, {case.damage}, {case.command}: {case.fate} ({case.outcome.seconds:.1f} s) {last[0][:160]}"


if __name__ == "__main__":
    sys.exit(main())
