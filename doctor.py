"""Tell whether this machine gives the right scores, and what it has: engines, GPU, weights, memory, speed.

    python doctor.py
    python doctor.py --json doctor.json --weights-dir weights

Input: none. A made-up video goes through each step from a file to a score, and through each system with networks of
fixed weights on each engine that can be had; what comes out is compared with known answers. Output: a line for each
check, which begins with ok, failed or "not here" (what this machine lacks and need not have), and the same as JSON.
Exit code 1 if a check failed. With --quick, for the health check of a container, it is one system on one engine.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import runtime.environment  # noqa: F401  it says what to do where the others can't be imported

import cv2
import torch

from inference.findings import FAILED, Finding
from inference.known_answers import read_answers
from inference.known_checks import check_detectors, check_steps, check_system
from inference.machine_checks import (
    check_disk,
    check_engines,
    check_gpus,
    check_libraries,
    check_memory,
    check_processor,
    check_weights,
)
from inference.machine_facts import machine_facts
from inference.made_input import write_made_video
from runtime.command import run_command
from runtime.errors import printable
from runtime.files import write_json
from runtime.ranks import Ranks
from systems.registry import DEFAULT, SYSTEMS


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Tell whether this machine gives the right scores")
    arg = parser.add_argument
    arg("--weights-dir", default="weights", metavar="DIR", help="folder with checkpoints (default: weights)")
    arg("--quick", action="store_true", help="only the default system on the fastest engine; leave out the weights")
    arg("--json", metavar="FILE", help="also write the findings there")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    return run_command(examine, parse_args(argv))


def examine(args: argparse.Namespace, ranks: Ranks) -> int:
    if ranks.rank:
        return 0  # one process does it
    torch.set_num_threads(1)  # as in a prediction: threads inside an operation collapse where another needs a core
    cv2.setNumThreads(1)
    findings = []
    with tempfile.TemporaryDirectory(prefix="doctor-") as folder:
        for finding in look(args, Path(folder)):
            findings.append(finding)
            print(printable(f"{finding.state}: {finding.check}: {finding.text}"), flush=True)
    failed = sum(finding.state == FAILED for finding in findings)
    if args.json:
        content = {
            "passed": not failed,
            "findings": [asdict(finding) for finding in findings],
            "machine": machine_facts(devices()[-1]),
        }
        write_json(args.json, content, "choose another --json", end="\n", indent=2)
    print(f"{failed} of {len(findings)} checks failed" if failed else "this machine gives the right scores")
    return int(bool(failed))


def look(args: argparse.Namespace, folder: Path) -> Iterator[Finding]:
    """All checks; `folder` may be written to."""
    answers = read_answers()
    yield check_libraries()
    yield check_processor()
    yield check_memory()
    yield check_disk(".")
    yield from check_gpus()
    for device in devices():
        yield from check_engines(device)
    yield from check_steps(answers, folder)
    for device in devices():
        yield from check_detectors(answers, device)
    video = write_made_video(folder)
    for name in [DEFAULT] if args.quick else SYSTEMS:
        # the GPU first: it is what a prediction takes
        yield from check_system(name, answers, video, folder, devices=devices()[::-1], only_one=args.quick)
    if not args.quick:
        yield from check_weights(args.weights_dir)


def devices() -> list[torch.device]:
    """The CPU, and the first GPU where there is one."""
    return [torch.device("cpu"), *([torch.device("cuda", 0)] if torch.cuda.is_available() else [])]


if __name__ == "__main__":
    sys.exit(main())
