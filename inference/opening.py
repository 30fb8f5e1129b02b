"""The models of a run: are they there, what runs them, and the pipeline that they make with a system's sampler."""

import os
from collections.abc import Iterable, Sequence

import torch

from engines.choice import choose_engine, usable_engines
from engines.device import ChoiceError
from engines.gpu import failures_are_told
from runtime.cores import available_cores
from runtime.errors import InputError
from runtime.memory import MemoryBudget, default_budget
from systems.registry import checkpoint_path
from systems.system import Machine, Opened, Predictor


def check_checkpoints(folder: str, names: Sequence[str]) -> None:
    """Raises InputError that names the checkpoints that are not there."""
    missing = [name for name in names if not os.path.isfile(checkpoint_path(folder, name))]
    if missing:
        raise InputError(
            f"--weights-dir {folder}: no checkpoint {', '.join(missing)}; "
            "./download_weights.sh fetches the winner's published ones into weights/, docs/systems.md tells of others"
        )


def engine_of(predictor: Predictor, asked: str, device: torch.device) -> str:
    """The engine that was asked for, or the fastest that can be had of those that run the system's models. Raises
    ChoiceError."""
    engines = predictor.engines_on(device)
    if asked == "auto":
        return usable_engines(device, engines)[0]
    if asked not in engines:
        raise ChoiceError(f"--engine {asked}: this system's models run on {', '.join(engines)}")
    return choose_engine(asked, device)


def open_for_one_video(
    predictor: Predictor,
    checkpoints: Iterable[tuple[str, str]],
    *,
    device: torch.device,
    precision: str,
    engine: str,
) -> Opened:
    """A system made ready for one video at a time. Raises CheckpointError, DeviceError."""
    cores = available_cores()
    machine = Machine(
        device=device,
        precision=precision,
        engine=engine,
        workers=1,
        lanes=cores,
        memory=MemoryBudget(default_budget(on_gpu=device.type == "cuda")),
    )
    with failures_are_told("end what else runs on it, or use fewer --models or another --device"):
        return predictor.open(checkpoints, machine)
