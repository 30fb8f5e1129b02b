"""The validation losses in what training prints, and the best epochs by them.

    python -c "from training.loss_log import read_losses; print(read_losses('logs/b7_111'))"

Input: a log with the lines `fake_loss X` and `real_loss X` of each validation among others, also behind or between
tqdm's bars. Pairs count up from 0, unless `epoch N` stands before one: then N it is, so that an epoch that a resumed
run repeats replaces the one before. Output: an EpochLoss for each epoch, in order.
"""

import argparse
import contextlib
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from runtime import limits
from runtime.errors import InputError
from runtime.files import open_text

AFTER_EPOCH = 16  # the reference looks at later epochs only: before, the learning rate is high
COUNT = 5
FAKE_WEIGHT = 1.4

_ESCAPE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")  # how tqdm moves the cursor
# each digit in one place of the pattern: else a line of digits takes time with the square of its length
_NUMBER = r"[-+]?(?:\d+(?:\.\d*)?(?:[eE][-+]?\d+)?|nan|inf)"
_LINE = re.compile(  # alone in its line, or behind a bar, which ends with a bracket
    rf"(?:^|\])\s*(?:epoch (?P<epoch>\d{{1,6}})|(?P<name>fake_loss|real_loss)\s+(?P<value>{_NUMBER}))\s*$"
)


@dataclass(frozen=True, kw_only=True)
class EpochLoss:
    """Log loss over the fake and over the real videos of a validation; not finite where training went wrong."""

    epoch: int
    fake: float
    real: float

    @property
    def is_finite(self) -> bool:
        return math.isfinite(self.fake) and math.isfinite(self.real)

    def weighted(self, fake_weight: float) -> float:
        return (fake_weight * self.fake + self.real) / 2


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The best epochs, best first. Those after `after_epoch` were looked at, or all of them where it is None."""

    best: list[EpochLoss]
    after_epoch: int | None


def read_losses(path: str | os.PathLike) -> list[EpochLoss]:
    """The losses of a log, by epoch. Raises InputError where it can't be read or has none that is finite."""
    losses: dict[int, EpochLoss] = {}
    epoch, fake = 0, None
    try:
        with open_text(path, limits.LOG, errors="replace") as file:  # a \r ends a line too
            for line in file:
                match = _LINE.search(_ESCAPE.sub("", line))
                if not match:
                    continue
                if match["epoch"]:
                    epoch, fake = int(match["epoch"]), None
                elif match["name"] == "fake_loss":
                    fake = float(match["value"])
                elif fake is not None:
                    losses[epoch] = EpochLoss(epoch=epoch, fake=fake, real=float(match["value"]))
                    epoch, fake = epoch + 1, None
    except OSError as error:
        reason = f"can't be read ({error.strerror}); name the file that holds what training printed"
        raise InputError(f"--log-file {os.fspath(path)}: {reason}") from error
    if not losses:
        reason = "holds no lines `fake_loss X` and `real_loss X`; name the file that holds what training printed"
        raise InputError(f"--log-file {os.fspath(path)}: {reason}")
    if not any(loss.is_finite for loss in losses.values()):
        reason = f"not one of its {len(losses)} epochs has a finite loss: training went wrong; train anew"
        raise InputError(f"--log-file {os.fspath(path)}: {reason}")
    return [losses[epoch] for epoch in sorted(losses)]


def choose_best(losses: Sequence[EpochLoss], *, count: int, after_epoch: int, fake_weight: float) -> Choice:
    """The `count` epochs of least weighted loss after `after_epoch`; of all, where fewer than `count` come after it.

    Epochs whose loss is not finite are left out.
    """
    finite = [loss for loss in losses if loss.is_finite]
    late = [loss for loss in finite if loss.epoch > after_epoch]
    enough = len(late) >= count
    ordered = sorted(late if enough else finite, key=lambda loss: (loss.weighted(fake_weight), loss.epoch))
    return Choice(best=ordered[:count], after_epoch=after_epoch if enough else None)


def describe(losses: Sequence[EpochLoss], choice: Choice, *, after_epoch: int, fake_weight: float) -> str:
    """The choice for a person, a line for each epoch."""
    lines = []
    broken = [str(loss.epoch) for loss in losses if not loss.is_finite]
    if broken:
        lines.append(f"no finite loss, left out: epoch {', '.join(broken)}")
    if choice.after_epoch is None:
        lines.append(f"too few epochs come after epoch {after_epoch}: all epochs count")
    where = "of all" if choice.after_epoch is None else f"after epoch {after_epoch}, of"
    lines.append(f"best {len(choice.best)} {where} {len(losses)} epochs by ({fake_weight:g} * fake + real) / 2:")
    lines += [line_of(loss, fake_weight) for loss in choice.best]
    return "\n".join(lines)


def line_of(loss: EpochLoss, fake_weight: float) -> str:
    return (
        f"  epoch {loss.epoch}: fake {loss.fake:.5f}, real {loss.real:.5f}, weighted {loss.weighted(fake_weight):.5f}"
    )


def weight(text: str) -> float:
    """The type of a flag that takes a weight: a number from 0 on."""
    with contextlib.suppress(ValueError):
        if 0 <= float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 on")
