"""What a run needs to go on where it stopped, as it lies under "resume" in its `_last` checkpoint.

Random numbers need no state: a sample's are drawn from (seed, epoch, index), a step's from (seed, step, rank), a
schedule is a function of the step.
"""

import os
from dataclasses import asdict, dataclass

import torch
from torch import nn

from runtime.errors import InputError
from training.zoo.checkpoints import CheckpointError, load_weights, read_checkpoint, save_model

_KEYS = {"position", "settings", "optimizer", "scaler"}


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

    def save(self, path: str | os.PathLike, described: dict, position: Position, settings: dict) -> None:
        """In the published format, with all that resuming needs. Raises OutputError."""
        resume = {
            "position": asdict(position),
            "settings": settings,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }
        save_model(path, self.model, **described, epoch=position.epoch, bce_best=position.best, resume=resume)

    def load(self, path: str | os.PathLike, described: dict, settings: dict, *, from_zero: bool) -> Position:
        """Raises CheckpointError and InputError. A file without "resume" (the published ones) gives weights, epoch and
        best score; `from_zero` takes the weights alone."""
        checkpoint = read_checkpoint(path)
        names = {key: described[key] for key in ("network", "encoder")}
        load_weights(path, checkpoint, self.model, **names)
        if from_zero:
            return Position()
        resume, damaged = checkpoint.get("resume"), "its training state is damaged; --from-zero takes its weights alone"
        if resume is None:
            return _published_position(path, checkpoint)
        if not isinstance(resume, dict) or resume.keys() != _KEYS:
            raise CheckpointError(path, damaged)
        try:
            position = Position(**resume["position"])
            if min(position.epoch, position.iteration) < 0:
                raise ValueError("before the first step")
            check_settings(path, resume["settings"], settings, within_epoch=position.iteration > 0)
            self.optimizer.load_state_dict(resume["optimizer"])
            self.scaler.load_state_dict(resume["scaler"])
        except (TypeError, ValueError, KeyError, AttributeError, IndexError, RuntimeError) as error:
            raise CheckpointError(path, damaged) from error
        return position


def _published_position(path: str | os.PathLike, checkpoint: dict) -> Position:
    try:
        return Position(epoch=int(checkpoint["epoch"]), best=float(checkpoint.get("bce_best", Position.best)))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise CheckpointError(path, 'holds no "epoch" to go on from; --from-zero starts from its weights') from error


def check_settings(path: str | os.PathLike, saved: dict, settings: dict, *, within_epoch: bool) -> None:
    """A run goes on as it began. Within an epoch the number of processes counts too, as it sets who has done what."""
    for key, value in settings.items():
        if key == "world_size" and not within_epoch:
            continue
        if saved.get(key) != value:
            raise InputError(
                f"--resume {os.fspath(path)}: it was made with {key} {saved.get(key)}, this run has {value}; "
                "use the same, or start anew from its weights with --from-zero"
            )
