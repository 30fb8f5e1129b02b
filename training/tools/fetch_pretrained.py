"""Fetch encoders' pretrained ImageNet weights ahead of training, with the code that training loads them with.

    python training/tools/fetch_pretrained.py tf_efficientnet_b7_ns tf_efficientnet_b5_ns

Input: names of encoders, and the internet for those that are not there. Output: the weights in the Hugging Face cache
(HF_HOME), and a line for each encoder; exit code 1 if one could not be had.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project, from wherever this is run

import runtime.environment  # noqa: F401  it says what to do where the others can't be imported

from runtime.command import run_command
from runtime.errors import printable
from runtime.ranks import Ranks
from systems.imagenet import PretrainedWeightsError
from systems.seferbekov.models import ENCODERS, create_encoder


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Fetch encoders' pretrained ImageNet weights ahead of training")
    parser.add_argument(
        "encoders",
        nargs="+",
        choices=ENCODERS,
        metavar="ENCODER",
        help=f"as a configuration names it: {', '.join(ENCODERS)}",
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    return run_command(fetch, parse_args(argv))


def fetch(args: argparse.Namespace, _: Ranks) -> int:
    failed = 0
    for encoder in args.encoders:
        try:
            create_encoder(encoder, pretrained=True)
        except PretrainedWeightsError as error:
            failed += 1
            print(printable(f"error: {error}"), file=sys.stderr)
        else:
            print(f"{encoder}: pretrained weights are there")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
