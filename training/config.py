"""Training configurations: JSON files, parsed by pydantic into models; what is wrong with a key is told in one line.

Every hyperparameter and its default is here. Paths and what depends on the machine are flags of the trainer.
"""

import inspect
import json
import os
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from runtime import limits
from runtime.errors import InputError
from runtime.files import read_text
from systems.imagenet import IMAGENET_MEAN, IMAGENET_STD
from systems.seferbekov.loss import LOSSES
from systems.seferbekov.models import ENCODERS, NETWORKS
from training.optimizers import OPTIMIZERS
from training.schedulers import SCHEDULES

MOST_EPOCHS = 100_000  # each has a checkpoint
_LARGEST = 1e30  # of numbers that have no other bound
_LATER = (0, 1, 10, 1000, 10**6)  # positions at which a schedule is tried


class ConfigError(InputError):
    """A key of a configuration can't be used; the message names the file, the key and what is allowed."""


# The description of a field says what is allowed, for messages; without one it is an object.


def _one_of(names) -> Any:
    names = tuple(names)
    return Annotated[Literal[names], Field(description=f"one of {', '.join(names)}")]


def _whole(least: int, most: int = 10**9, **kwargs) -> Any:
    return Field(ge=least, le=most, description=f"a whole number from {least} to {most}", **kwargs)


def _number(least: float, most: float = _LARGEST, *, above: bool = False, **kwargs) -> Any:
    text = f"a number {'above' if above else 'from'} {least:g} to {most:g}"
    return Field(**{"gt" if above else "ge": least}, le=most, description=text, **kwargs)


_Switch = Annotated[bool, Field(description="true or false")]
_Weight = Annotated[int | float, Field(gt=0, lt=1e6)]


class _Strict(BaseModel):
    """What a JSON object must be: nothing is converted but whole numbers where any number may be."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class ScheduleConfig(_Strict):
    """How the learning rate runs: `type` and its `params` (training/schedulers.py). In mode "step" the position
    is i + epoch * batches_per_epoch, in mode "epoch" the epoch. `epochs` is how long training takes."""

    type: _one_of(SCHEDULES)
    mode: _one_of(("step", "epoch")) = "epoch"
    epochs: int = _whole(1, MOST_EPOCHS)
    params: dict = Field(default_factory=dict)


class OptimizerConfig(_Strict):
    """`batch_size` is for each process. `classifier_lr` is the rate of all that is not the encoder."""

    batch_size: int = _whole(1)
    type: _one_of(OPTIMIZERS)
    learning_rate: float = _number(0, above=True)
    classifier_lr: float | None = _number(0, above=True, default=None)
    momentum: float = _number(0, 1, default=0.0)
    nesterov: _Switch = False
    weight_decay: float = _number(0, default=0.0)
    schedule: ScheduleConfig


class NormalizeConfig(_Strict):
    """Of the input, in RGB. Prediction uses ImageNet's, so these are the ones that are allowed."""

    mean: list = Field(default=list(IMAGENET_MEAN), description=f"{list(IMAGENET_MEAN)}")
    std: list = Field(default=list(IMAGENET_STD), description=f"{list(IMAGENET_STD)}")

    @field_validator("mean", "std")
    @classmethod
    def _is_imagenets(cls, value: list, info: ValidationInfo) -> list:
        if value != cls.model_fields[info.field_name].default:
            raise ValueError
        return value


class TrainingConfig(_Strict):
    """One training. `size` is the side of the square input in pixels, `batches_per_epoch` an epoch's longest length.

    `fp16` and `bf16` are mixed precision (--opt-level O0 turns both off). `pretrained` loads ImageNet weights.
    `ohem_samples` keeps that many of the hardest samples of each class in a batch. `diff_dropout` is the probability
    of the write-up's blackout by the diff mask, which the published pipeline never ran.
    """

    network: _one_of(NETWORKS) = "DeepFakeClassifier"
    encoder: _one_of(ENCODERS)
    pretrained: _Switch = True
    size: int = _whole(32, 4096)
    batches_per_epoch: int = _whole(1)
    fp16: _Switch = False
    bf16: _Switch = False
    optimizer: OptimizerConfig
    normalize: NormalizeConfig = Field(default_factory=NormalizeConfig)
    losses: dict[_one_of(LOSSES), _Weight] = Field(
        default={"BinaryCrossentropy": 1},
        min_length=1,
        description=f'an object of weights above 0, such as {{"BinaryCrossentropy": 1}}; losses: {", ".join(LOSSES)}',
    )
    ohem_samples: int | None = _whole(1, default=None)
    diff_dropout: float = _number(0, 1, default=0.0)


def read_config(path: str | os.PathLike) -> TrainingConfig:
    """Raises ConfigError."""
    path = os.fspath(path)
    try:
        content = json.loads(read_text(path, limits.CONFIG), object_pairs_hook=_without_twins)
    except OSError as error:
        raise ConfigError(f"{path}: can't be read ({error.strerror}); --config must name a file in configs/") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: is not JSON ({error})") from error
    return parse_config(content, path)


def parse_config(content: Any, file: str) -> TrainingConfig:
    """`file` is for the messages. Raises ConfigError."""
    try:
        config = TrainingConfig.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{file}: {_told(error, content)}") from error
    if config.fp16 and config.bf16:
        raise ConfigError(f"{file}: fp16 and bf16: both are true; set one of them")
    if config.optimizer.nesterov and not config.optimizer.momentum:
        raise ConfigError(f"{file}: optimizer.nesterov: needs optimizer.momentum above 0")
    _check_schedule(config.optimizer.schedule, config.optimizer.learning_rate, file)
    return config


def _told(error: ValidationError, content: Any) -> str:
    """The first key that is wrong, unknown ones before others, and what is allowed."""
    wrong = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
    key, value, allowed, fields = "", content, None, TrainingConfig.model_fields
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
    known = inspect.signature(made).parameters
    for name, value in schedule.params.items():
        if name not in known:
            raise ConfigError(f"{place}.{name}: unknown key; {schedule.type} takes: {', '.join(known) or 'none'}")
        if name != "mode" and not _are_numbers(value):
            raise ConfigError(f"{place}.{name}: {json.dumps(value)[:60]} is not allowed; must be numbers below 1e+30")
    for name, parameter in known.items():
        if parameter.default is parameter.empty and name not in schedule.params:
            raise ConfigError(f"{place}.{name}: is missing; {schedule.type} needs it")
    try:
        rate = made(**schedule.params)
        rates = [rate(position, base) for position in _LATER]
    except (TypeError, ValueError, ArithmeticError) as error:
        raise ConfigError(f"{place}: {error}") from error
    wrong = [value for value in rates if not 0 <= value <= _LARGEST]
    if wrong:
        raise ConfigError(f"{place}: gives a learning rate of {wrong[0]:g}; rates must be from 0 on")


def _are_numbers(value: Any, depth: int = 2) -> bool:
    """A finite number, or lists of them, at most `depth` deep."""
    if isinstance(value, list):
        return depth > 0 and all(_are_numbers(each, depth - 1) for each in value)
    return type(value) in (int, float) and abs(value) <= _LARGEST


def _without_twins(pairs: list[tuple[str, Any]]) -> dict:
    names = [name for name, _ in pairs]
    twins = {name for name in names if names.count(name) > 1}
    if twins:
        raise ValueError(f"key {min(twins)} is there twice")
    return dict(pairs)
