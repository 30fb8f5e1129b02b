"""How a command of this project begins and ends: torchrun's processes, signals, errors in one line, exit codes."""

import argparse
import math
import os
import signal
import sys
from collections.abc import Callable
from typing import TypeVar

from runtime.errors import InputError, UserError, one_line
from runtime.ranks import Ranks

MOST_WORKERS = 256  # a slip of the keyboard must not take all memory

T = TypeVar("T")


class _Terminated(BaseException):
    """SIGTERM came: the same as Ctrl-C."""


def _terminate(*_) -> None:
    raise _Terminated


def run_command(
    work: Callable[[argparse.Namespace, T], int], args: argparse.Namespace, join: Callable[[], T] = Ranks
) -> int:
    """Call `work` and return its exit code; 1 and a line for a UserError, 130 and 143 where the run was stopped.

    `join` makes the object, with a `rank`, by which this process knows the others of a torchrun launch.
    """
    signal.signal(signal.SIGTERM, _terminate)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # a file name may hold what the terminal's encoding does not
    ranks = None
    try:
        ranks = join()
        _check_folders(args)
        return work(args, ranks)
    except UserError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, _Terminated) as stop:
        if ranks is None or ranks.rank == 0:
            print("stopped; the same command goes on where it stopped", file=sys.stderr)
        return 128 + (signal.SIGTERM if isinstance(stop, _Terminated) else signal.SIGINT)
    except BrokenPipeError:  # whoever read our output has gone; nothing is to be said to anyone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _check_folders(args: argparse.Namespace) -> None:
    """Raises InputError for a folder without a name, as of a shell's variable that is not set: it would be the one that
    the command is run in."""
    for name, value in vars(args).items():
        if name.endswith("dir") and value == "":
            raise InputError(f"--{name.replace('_', '-')}: is empty; name a folder")


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """The type of a flag that takes a whole number from `least` on, or to `most`."""

    def parse(text: str) -> int:
        # longer ones int() refuses in its own words
        if not text.isdecimal() or len(text) > 18 or int(text) < least or (most is not None and int(text) > most):
            end = "on" if most is None else f"to {most}"
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} {end}")
        return int(text)

    return parse


def number_above(least: float, most: float) -> Callable[[str], float]:
    """The type of a flag that takes a number above `least`, to `most`."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least < value <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number above {least:g}, to {most:g}")
        return value

    return parse


positive = whole(1)
worker_count = whole(1, MOST_WORKERS)
