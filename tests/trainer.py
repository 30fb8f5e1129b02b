"""The trainer, run in this process or as one of its own, and what tests of trainings ask of its checkpoints."""

import os
import random
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch

from systems.checkpoints import read_checkpoint
from tests import processes
from training.pipelines import train_classifier

SCRIPT = Path(train_classifier.__file__)


def flags(root: Path, folder: Path, *more: object) -> list[str]:
    """For a training by `folder`/config.json that writes below `folder`."""
    places = ("--config", folder / "config.json", "--data-dir", root, "--output-dir", folder / "out")
    return [*map(str, (*places, "--logdir", folder / "logs", "--device", "cpu", "--workers", 0, *more))]


def train(root: Path, folder: Path, *more: object) -> int:
    return train_classifier.main(flags(root, folder, *more))


def error_of(capsys: Any, root: Path, folder: Path, *more: object) -> str:
    """The one line that says why a training ended."""
    capsys.readouterr()
    assert train(root, folder, *more) == 1
    printed = capsys.readouterr().err
    lines = [line for line in re.split(r"[\n\r]", printed) if line.startswith("error: ")]
    assert len(lines) == 1 and printed.endswith(f"{lines[0]}\n") and "Traceback" not in printed
    return lines[0].removeprefix("error: ")


def weights(path: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(path)["state_dict"]


def assert_same_weights(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    assert [key for key in first if not torch.equal(first[key], second[key])] == []


def stop_after_two_steps(patched: Any, task: type) -> None:
    """SIGTERM comes while the first step is computed, and is seen after the next; or at its epoch's end."""
    losses, steps = task.losses, []

    def signalled(self, *args):
        steps.append(1)
        if len(steps) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return losses(self, *args)

    patched.setattr(task, "losses", signalled)


def killed_and_gone_on_with(root: Path, folder: Path, kills: int, seconds: float) -> None:
    """A training, as a process, is killed that many times, up to so many seconds after it began, then left to end."""
    command = [sys.executable, str(SCRIPT), *flags(root, folder, "--resume", "auto", "--workers", 1)]
    draw, running = random.Random(folder.name), 0
    for _ in range(kills):
        process = processes.Popen(command, stdout=processes.PIPE, stderr=processes.DEVNULL, text=True)
        assert process.stdout.readline().endswith("1 process(es)\n")  # all is imported, and the network is made next
        time.sleep(draw.uniform(0, seconds))
        running += process.poll() is None
        process.kill()
        process.communicate()
    assert running
    finished = processes.run(command, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
