"""Write the known answers that doctor.py compares a machine with: of PyTorch in fp32 on the CPU.

    python -m benchmarks.make_known_answers

Input: none. Output: inference/known_answers.json. Run it where made-up input or a step has changed on purpose, on a
machine whose tests pass: tests/test_known_answers.py holds the file against Pillow, OpenCV, facenet-pytorch and PyTorch
themselves.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import torch

from inference.known_answers import FILE, detect, encoded, steps
from inference.known_scores import fixed_system, scores_of
from inference.made_input import write_made_video
from runtime.command import run_command
from runtime.files import write_json
from runtime.ranks import Ranks
from systems.registry import SYSTEMS


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Write the known answers that doctor.py compares a machine with")
    parser.add_argument("--output", default=FILE, metavar="FILE", help="default: inference/known_answers.json")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    return run_command(make, parse_args(argv))


def make(args: argparse.Namespace, ranks: Ranks) -> int:
    cpu = torch.device("cpu")
    with tempfile.TemporaryDirectory() as folder:
        video = write_made_video(Path(folder))
        answers = {"steps": {step.answer: encoded(step.make(Path(folder))) for step in steps()}}
        answers["detect"] = encoded(detect("torch", cpu))
        answers["systems"] = {}
        for name in SYSTEMS:
            system = fixed_system(name, Path(folder, name))
            answers["systems"][name] = scores_of(system, system.open(cpu, "fp32", "torch"), video)
    write_json(args.output, answers, "name another --output", end="\n", indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
