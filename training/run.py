"""What stays the same from a training's first step to its last, and the checkpoints that only one process writes."""

import argparse
import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from runtime.errors import OutputError, printable
from runtime.files import whole_file
from systems.task import Step, Task
from training.config import schedule_of
from training.precision import choose_dtype
from training.processes import Processes
from training.run_lock import run_lock
from training.state import Position, Trained
from training.stopping import StopRequest


@dataclass(kw_only=True)
class Run:
    """One training, as one of its processes sees it. `args` are the trainer's common flags."""

    args: argparse.Namespace
    config: Any
    task: Task
    processes: Processes
    device: torch.device

    def __post_init__(self):
        self.dtype = choose_dtype(self.config, self.args.opt_level, self.device)
        self.epochs = self.config.optimizer.schedule.epochs
        self.schedule = schedule_of(self.config.optimizer.schedule, self.epochs * self.task.batches_per_epoch)
        self.stop = StopRequest()
        self.last_is_validated = True  # else an epoch's weights may turn out to be of no use
        self.name = f"{self.args.prefix}{self.task.name}"

    @property
    def described_device(self) -> str:
        if self.device.type == "cuda":
            return f"{self.device} ({torch.cuda.get_device_name(self.device)})"
        return str(self.device)

    @property
    def settings(self) -> dict:
        """What must be the same when a run goes on."""
        # By way of JSON the strings are not shared with others, so that equal runs give equal bytes. Checkpoints of
        # before there were systems go on, as their configurations have no such key.
        config = json.loads(self.config.model_dump_json(exclude={"system"}))
        world_size = self.processes.world_size
        own = {"seed": self.task.seed, **self.task.settings, "opt_level": self.args.opt_level}
        return {**own, "config": config, "world_size": world_size}

    def path(self, ending: object) -> Path:
        return Path(self.args.output_dir, f"{self.name}_{ending}")

    def say(self, text: str, file=None) -> None:
        if self.processes.rank == 0:
            print(printable(text), file=file, flush=True)

    @property
    def remedy(self) -> str:
        """What to do where training went wrong; names a checkpoint that is there."""
        lower = "lower optimizer.learning_rate or use --opt-level O0"
        if not self.path("last").is_file():
            return f"{lower}, and start again: there is no checkpoint yet"
        return f"{lower}, and go on from {self.path('last')} by --resume and --from-zero"

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Raises OutputError, on all processes, where another training writes the same checkpoints."""
        with contextlib.ExitStack() as held:
            refusal = None
            if self.processes.rank == 0:
                try:
                    held.enter_context(run_lock(self.path("lock")))
                except OutputError as error:
                    refusal = str(error)
            refusal = self.processes.gather(refusal)[0]
            if refusal:
                raise OutputError(refusal)
            yield

    def save_last(self, trained: Trained, position: Position) -> None:
        """An epoch's state is kept before it is validated, and that of before until it has been."""
        if self.processes.rank == 0:
            last, before = self.path("last"), self.path("last_validated")
            if not position.validated and self.last_is_validated and last.is_file():
                keep(last, before)
            trained.save(last, self.task, position, self.settings)
            if position.validated:
                before.unlink(missing_ok=True)
        self.last_is_validated = position.validated
        self.processes.wait()

    def take_back_last(self) -> None:
        """Put the state of before an epoch in the place of one that is of no use, which --resume auto would fail at."""
        if self.processes.rank == 0 and not self.last_is_validated:
            last, before = self.path("last"), self.path("last_validated")
            if before.is_file():
                os.replace(before, last)
            else:
                last.unlink(missing_ok=True)
        self.last_is_validated = True
        self.processes.wait()

    def step(self, number: int) -> Step:
        """A step of the whole run, counted from 0."""
        return Step(
            number=number,
            seed=self.task.seed,
            rank=self.processes.rank,
            world_size=self.processes.world_size,
            sum_over_ranks=self.processes.sum,
        )

    def on_device(self, batch: dict[str, Any]) -> dict[str, Any]:
        """A batch whose tensors have been sent to the device, but for the numbers of its rows."""
        return {
            name: value.to(self.device, non_blocking=True) if torch.is_tensor(value) and name != "row" else value
            for name, value in batch.items()
        }

    def autocast(self) -> Any:
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)


def keep(path: Path, other: Path) -> None:
    """Give a file another name besides, or copy it where the file system has no hard links."""
    other.unlink(missing_ok=True)
    try:
        os.link(path, other)
    except OSError:
        with whole_file(other, "free some space or name another folder") as temporary:
            shutil.copyfile(path, temporary)
