"""Training configurations: JSON files, parsed by pydantic into models; what is wrong with a key is told in one line.

The hyperparameters that all systems share, and their defaults, are here; a system's own are in its folder's task.py.
Paths and what depends on the machine are flags of the trainer.
"""

import inspect
import json
import os
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, create_model

from runtime import limits
from runtime.files import read_json, without_twins
from systems import registry
from systems.config import LARGEST, ConfigError, Strict, Switch, number, one_of, refuse, whole_number
from training.optimizers import OPTIMIZERS
from training.schedulers import SCHEDULES, Schedule

MOST_EPOCHS = 100_000  # each has a checkpoint
_PROJECT = Path(__file__).resolve().parents[1]  # where configs/ lies, in a checkout and installed
_LATER = (0, 1, 10, 1000, 10**6)  # positions at which a schedule is tried


class ScheduleConfig(Strict):
    """How the learning rate runs: `type` and its `params` (training/schedulers.py). In mode "step" the position
    is i + epoch * batches_per_epoch, in mode "epoch" the epoch. `epochs` is how long training takes."""

    type: one_of(SCHEDULES)
    mode: one_of(("step", "epoch")) = "epoch"
    epochs: int = whole_number(1, MOST_EPOCHS)
    params: dict = Field(default_factory=dict)


class OptimizerConfig(Strict):
    """`batch_size` is for each process. `classifier_lr` is the rate of all that is not the encoder."""

    batch_size: int = whole_number(1)
    type: one_of(OPTIMIZERS)
    learning_rate: float = number(0, above=True)
    classifier_lr: float | None = number(0, above=True, default=None)
    momentum: float = number(0, 1, default=0.0)
    nesterov: Switch = False
    weight_decay: float = number(0, default=0.0)
    schedule: ScheduleConfig


class CommonConfig(Strict):
    """What every training has. `fp16` and `bf16` are mixed precision (--opt-level O0 turns both off)."""

    system: str = registry.DEFAULT
    fp16: Switch = False
    bf16: Switch = False
    optimizer: OptimizerConfig


@cache
def config_of(system: str) -> type[CommonConfig]:
    """The model of a system's configurations: its own keys, which its module `task` has, and the common ones."""
    return create_model("TrainingConfig", __base__=(CommonConfig, registry.task_module(system).Keys))


def read_config(path: str | os.PathLike) -> Any:
    """A configuration: an instance of what `config_of` gives for its "system". What is not in the current folder,
    such as `configs/b7.json`, is looked for in the project. Raises ConfigError."""
    path = os.fspath(path)
    file = path if os.path.lexists(path) else _PROJECT / path
    try:
        content = read_json(file, limits.CONFIG, make_object=without_twins)
    except OSError as error:
        raise ConfigError(f"{path}: can't be read ({error.strerror}); --config must name a file in configs/") from error
    except ValueError as error:
        raise ConfigError(f"{path}: is not JSON ({error})") from error
    return parse_config(content, path)


def parse_config(content: Any, file: str) -> Any:
    """`file` is for the messages. Raises ConfigError."""
    system = content.get("system", registry.DEFAULT) if isinstance(content, dict) else registry.DEFAULT
    if not isinstance(system, str) or system not in registry.SYSTEMS:
        known = ", ".join(registry.SYSTEMS)
        refuse(file, "system", f"{json.dumps(system)[:60]} is not allowed; must be one of {known}")
    model = config_of(system)
    try:
        config = model.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{file}: {_told(error, content, model.model_fields)}") from error
    if config.fp16 and config.bf16:
        refuse(file, "fp16 and bf16", "both are true; set one of them")
    if config.optimizer.nesterov and not config.optimizer.momentum:
        refuse(file, "optimizer.nesterov", "needs optimizer.momentum above 0")
    _check_schedule(config.optimizer.schedule, config.optimizer.learning_rate, file)
    return config


def schedule_of(config: ScheduleConfig, total_steps: int) -> Schedule:
    """The schedule of a run that is `total_steps` long, which those that end with it are told."""
    made = SCHEDULES[config.type]
    length = {"total_steps": total_steps} if "total_steps" in inspect.signature(made).parameters else {}
    return made(**config.params, **length)


def _told(error: ValidationError, content: Any, fields: dict[str, Any]) -> str:
    """The first key that is wrong, unknown ones before others, and what is allowed."""
    wrong = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
    key, value, allowed = "", content, None
    for name in wrong["loc"]:
        if fields is None:
            break  # What is wrong inside of a value is told with all of the value.
        key = f"{key}.{name}".lstrip(".")
        if name not in fields:
            return f"{key}: unknown key; allowed: {', '.join(fields)}"
        allowed = fields[name].description or "an object"
        if name not in value:
            return f"{key}: is missing; set it to {allowed}"
        value, fields = value[name], getattr(fields[name].annotation, "model_fields", None)
    if fields is not None:
        return f"{key or 'the file'}: must be an object of keys and values; keys: {', '.join(fields)}"
    return f"{key}: {json.dumps(value)[:60]} is not allowed; must be {allowed}"


def _check_schedule(schedule: ScheduleConfig, base: float, file: str) -> None:
    place, made = f"{file}: optimizer.schedule.params", SCHEDULES[schedule.type]
    known = {name: each for name, each in inspect.signature(made).parameters.items() if name != "total_steps"}
    for name, value in schedule.params.items():
        if name not in known:
            raise ConfigError(f"{place}.{name}: unknown key; {schedule.type} takes: {', '.join(known) or 'none'}")
        if name != "mode" and not _are_numbers(value):
            raise ConfigError(f"{place}.{name}: {json.dumps(value)[:60]} is not allowed; must be numbers below 1e+30")
    for name, parameter in known.items():
        if parameter.default is parameter.empty and name not in schedule.params:
            raise ConfigError(f"{place}.{name}: is missing; {schedule.type} needs it")
    try:
        rate = schedule_of(schedule, max(_LATER) + 1)
        rates = [rate(position, base) for position in _LATER]
    except (TypeError, ValueError, ArithmeticError) as error:
        raise ConfigError(f"{place}: {error}") from error
    wrong = [value for value in rates if not 0 <= value <= LARGEST]
    if wrong:
        raise ConfigError(f"{place}: gives a learning rate of {wrong[0]:g}; rates must be from 0 on")


def _are_numbers(value: Any, depth: int = 2) -> bool:
    """A finite number, or lists of them, at most `depth` deep."""
    if isinstance(value, list):
        return depth > 0 and all(_are_numbers(each, depth - 1) for each in value)
    return type(value) in (int, float) and abs(value) <= LARGEST
