"""What a run needs to go on where it stopped, as it lies under "resume" in its `_last` checkpoint.

Random numbers need no state: a sample's are drawn from (seed, epoch, index), a step's from (seed, step, rank), a
schedule is a function of the step.
"""

import math
import os
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import nn

from runtime.errors import InputError
from systems.checkpoints import CheckpointError, read_checkpoint, shown
from systems.task import Task
from training.config import MOST_EPOCHS
from training.optimizer_state import load_optimizer_state

_KEYS = {"position", "settings", "optimizer", "scaler"}
_SCALES = (2.0**-126, 2.0**127)  # of losses, as fp32 has them


@dataclass(frozen=True, kw_only=True)
class Position:
    """The next step is number `iteration` of `epoch`. `best` is the best validation score so far. `validated` says
    whether the epochs before have been."""

    epoch: int = 0
    iteration: int = 0
    best: float = 100.0
    validated: bool = True


@dataclass(kw_only=True)
class Trained:
    """A model and what changes with it."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler

    def save(self, path: str | os.PathLike, task: Task, position: Position, settings: dict) -> None:
        """As the task does, with all that resuming needs. Raises OutputError."""
        resume = {
            "position": asdict(position),
            "settings": settings,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }
        task.save(path, self.model, epoch=position.epoch, bce_best=position.best, resume=resume)

    def load(self, path: str | os.PathLike, task: Task, settings: dict, *, epochs: int, from_zero: bool) -> Position:
        """Raises CheckpointError and InputError. A file without "resume" (the published ones) gives weights, epoch and
        best score; `from_zero` takes the weights alone."""
        checkpoint = read_checkpoint(path)
        task.load_weights(path, checkpoint, self.model)
        if from_zero:
            return Position()
        resume, damaged = checkpoint.get("resume"), "its training state is damaged; --from-zero takes its weights alone"
        if resume is None:
            return _published_position(path, checkpoint)
        if type(resume) is not dict or resume.keys() != _KEYS or type(resume["position"]) is not dict:
            raise CheckpointError(path, damaged)
        try:
            check_settings(path, resume["settings"], settings, within_epoch=resume["position"]["iteration"] != 0)
            position = _position(resume["position"], epochs, task.batches_per_epoch)
            scaling = _scaling(resume["scaler"])
            load_optimizer_state(self.optimizer, resume["optimizer"])
        except (TypeError, ValueError, KeyError, AttributeError, IndexError, RuntimeError, ArithmeticError) as error:
            raise CheckpointError(path, damaged) from error
        if scaling and self.scaler.is_enabled():  # a run in fp32 or bf16 has no scale: this one finds its own anew
            self.scaler.load_state_dict({**self.scaler.state_dict(), **scaling})
        return position

    def not_finite(self) -> str | None:
        """The first of the weights, the batch norms' statistics and the optimizer's moments that holds a number that is
        none."""
        named = dict(self.model.state_dict())
        names = {parameter: name for name, parameter in self.model.named_parameters()}
        for parameter, state in self.optimizer.state.items():
            named |= {f"{key} of {names.get(parameter, 'a parameter')}": value for key, value in state.items()}
        named = {name: value for name, value in named.items() if torch.is_tensor(value) and value.is_floating_point()}
        device = next(self.model.parameters()).device
        finite = [value.isfinite().all().to(device, non_blocking=True) for value in named.values()]
        for name, fine in zip(named, torch.stack(finite).tolist(), strict=True):  # a GPU is waited for once
            if not fine:
                return name
        return None


def _position(saved: dict, epochs: int, batches_per_epoch: int) -> Position:
    """Raises ValueError and its like where no run of that length can be there."""
    if saved.keys() != {field.name for field in fields(Position)}:
        raise ValueError("no position")
    position = Position(**saved)
    kinds = (position.epoch, int), (position.iteration, int), (position.best, float), (position.validated, bool)
    if not all(type(value) is kind for value, kind in kinds):
        raise TypeError("a position of other kinds")
    if not (0 <= position.epoch <= epochs and 0 <= position.iteration < batches_per_epoch):
        raise ValueError("outside the run")
    if position.iteration and (position.epoch == epochs or not position.validated):
        raise ValueError("within an epoch that can't have begun")
    if not position.validated and not position.epoch:
        raise ValueError("before the first epoch nothing is to be validated")
    if not 0 <= position.best < math.inf:
        raise ValueError("no loss")
    return position


def _scaling(saved: Any) -> dict:
    """What a gradient scaler has found out; nothing where it was not used. Raises ValueError and its like."""
    if type(saved) is not dict:
        raise TypeError("no state of a scaler")
    if not saved:
        return {}
    scale, steps = saved["scale"], saved["_growth_tracker"]
    if type(scale) is not float or type(steps) is not int:
        raise TypeError("a scale of another kind")
    if not (_SCALES[0] <= scale <= _SCALES[1] and 0 <= steps < 2**31):
        raise ValueError("no scale")
    return {"scale": scale, "_growth_tracker": steps}


def _published_position(path: str | os.PathLike, checkpoint: dict) -> Position:
    numbers = checkpoint.get("epoch"), checkpoint.get("bce_best", Position.best)
    epoch, best = (number.item() if isinstance(number, np.generic) else number for number in numbers)
    if type(epoch) is not int or not 0 <= epoch <= MOST_EPOCHS:
        raise CheckpointError(path, 'holds no "epoch" to go on from; --from-zero starts from its weights')
    if type(best) not in (int, float) or not 0 <= best < math.inf:
        raise CheckpointError(path, 'its "bce_best" is no loss; --from-zero starts from its weights')
    return Position(epoch=epoch, best=float(best))


def check_settings(path: str | os.PathLike, saved: dict, settings: dict, *, within_epoch: bool) -> None:
    """A run goes on as it began. Within an epoch the number of processes counts too, as it sets who has done what."""
    for key, value in settings.items():
        if key == "world_size" and not within_epoch:
            continue
        if difference := _difference(saved.get(key), value, key):
            name, theirs, ours = difference
            raise InputError(
                f"--resume {os.fspath(path)}: it was made with {name} {shown(theirs)}, this run has {shown(ours)}; "
                "use the same, or start anew from its weights with --from-zero"
            )


def _difference(theirs: Any, ours: Any, name: str) -> tuple[str, Any, Any] | None:
    """The first key that differs, with its two values. `theirs` may be anything."""
    if type(theirs) is dict and type(ours) is dict and theirs.keys() == ours.keys():
        found = (_difference(theirs[key], value, f"{name}.{key}") for key, value in ours.items())
        return next((difference for difference in found if difference), None)
    if type(theirs) is list and type(ours) is list and len(theirs) == len(ours):
        found = (_difference(each, own, name) for each, own in zip(theirs, ours, strict=True))
        return next(((name, theirs, ours) for difference in found if difference), None)
    plain = theirs is None or type(theirs) in (bool, int, float, str)
    return None if plain and theirs == ours else (name, theirs, ours)
