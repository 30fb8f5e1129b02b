"""Training configurations: JSON files, parsed into dataclasses that say what is wrong with a key and what it may be.

Every hyperparameter and its default is here. Paths and what depends on the machine are flags of the trainer.
"""

import dataclasses
import inspect
import json
import os
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from runtime import limits
from runtime.errors import InputError
from runtime.files import read_text
from training.losses import LOSSES
from training.tools.optimizers import OPTIMIZERS
from training.tools.schedulers import SCHEDULES
from training.zoo.classifiers import ENCODERS, IMAGENET_MEAN, IMAGENET_STD, NETWORKS

MOST_EPOCHS = 100_000  # each has a checkpoint
_LARGEST = 1e30  # of numbers that have no other bound
_LATER = (0, 1, 10, 1000, 10**6)  # positions at which a schedule is tried


class ConfigError(InputError):
    """A key of a configuration can't be used; the message names the file, the key and what is allowed."""


def _key(check: Callable[[Any], bool], allowed: str, **kwargs) -> Any:
    """A field with the values that are allowed, and how to say so."""
    return dataclasses.field(metadata={"check": check, "allowed": allowed}, **kwargs)


def _one_of(names, **kwargs) -> Any:
    names = tuple(names)
    return _key(lambda value: value in names, f"one of {', '.join(names)}", **kwargs)


def _whole(least: int, most: int = 10**9, **kwargs) -> Any:
    text = f"a whole number from {least} to {most}"
    return _key(lambda value: value is None or least <= value <= most, text, **kwargs)


def _number(least: float, most: float = _LARGEST, *, above: bool = False, **kwargs) -> Any:
    text = f"a number {'above' if above else 'from'} {least:g} to {most:g}"

    def check(value: float | None) -> bool:
        return value is None or ((value > least if above else value >= least) and value <= most)

    return _key(check, text, **kwargs)


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """How the learning rate runs: `type` and its `params` (training/tools/schedulers.py). In mode "step" the position
    is i + epoch * batches_per_epoch, in mode "epoch" the epoch. `epochs` is how long training takes."""

    type: str = _one_of(SCHEDULES)
    mode: str = _one_of(("step", "epoch"), default="epoch")
    epochs: int = _whole(1, MOST_EPOCHS)
    params: dict = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """`batch_size` is for each process. `classifier_lr` is the rate of all that is not the encoder."""

    batch_size: int = _whole(1)
    type: str = _one_of(OPTIMIZERS)
    learning_rate: float = _number(0, above=True)
    classifier_lr: float | None = _number(0, above=True, default=None)
    momentum: float = _number(0, 1, default=0.0)
    nesterov: bool = False
    weight_decay: float = _number(0, default=0.0)
    schedule: ScheduleConfig = dataclasses.field()


@dataclass(frozen=True, kw_only=True)
class NormalizeConfig:
    """Of the input, in RGB. Prediction uses ImageNet's, so these are the ones that are allowed."""

    mean: tuple = _key(lambda value: value == IMAGENET_MEAN, f"{list(IMAGENET_MEAN)}", default=IMAGENET_MEAN)
    std: tuple = _key(lambda value: value == IMAGENET_STD, f"{list(IMAGENET_STD)}", default=IMAGENET_STD)


def _losses_by_weight() -> Any:
    return _key(
        _are_losses,
        f'an object of weights above 0, such as {{"BinaryCrossentropy": 1}}; losses: {", ".join(LOSSES)}',
        default_factory=lambda: {"BinaryCrossentropy": 1},
    )


def _are_losses(value: dict) -> bool:
    return bool(value) and all(
        name in LOSSES and isinstance(weight, (int, float)) and not isinstance(weight, bool) and 0 < weight < 1e6
        for name, weight in value.items()
    )


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """One training. `size` is the side of the square input in pixels, `batches_per_epoch` an epoch's longest length.

    `fp16` and `bf16` are mixed precision (--opt-level O0 turns both off). `pretrained` loads ImageNet weights.
    `ohem_samples` keeps that many of the hardest samples of each class in a batch. `diff_dropout` is the probability
    of the write-up's blackout by the diff mask, which the published pipeline never ran.
    """

    network: str = _one_of(NETWORKS, default="DeepFakeClassifier")
    encoder: str = _one_of(ENCODERS)
    pretrained: bool = True
    size: int = _whole(32, 4096)
    batches_per_epoch: int = _whole(1)
    fp16: bool = False
    bf16: bool = False
    optimizer: OptimizerConfig = dataclasses.field()
    normalize: NormalizeConfig = dataclasses.field(default_factory=NormalizeConfig)
    losses: dict = _losses_by_weight()  # noqa: RUF009  it is a field
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
    config = _parsed(TrainingConfig, content, file, "")
    if config.fp16 and config.bf16:
        raise ConfigError(f"{file}: fp16 and bf16: both are true; set one of them")
    if config.optimizer.nesterov and not config.optimizer.momentum:
        raise ConfigError(f"{file}: optimizer.nesterov: needs optimizer.momentum above 0")
    _check_schedule(config.optimizer.schedule, config.optimizer.learning_rate, file)
    return config


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


def _are_numbers(value: Any) -> bool:
    """A finite number, or lists of them."""
    if isinstance(value, list):
        return all(map(_are_numbers, value))
    return type(value) in (int, float) and abs(value) <= _LARGEST


def _without_twins(pairs: list[tuple[str, Any]]) -> dict:
    names = [name for name, _ in pairs]
    twins = {name for name in names if names.count(name) > 1}
    if twins:
        raise ValueError(f"key {min(twins)} is there twice")
    return dict(pairs)


def _parsed(cls: type, content: Any, file: str, prefix: str) -> Any:
    """An object of a dataclass from a JSON object; `prefix` is where that is, with a dot at its end."""
    if not isinstance(content, dict):
        raise ConfigError(f"{file}: {prefix.rstrip('.') or 'the file'}: must be an object of keys and values")
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for name in content:
        if name not in fields:
            raise ConfigError(f"{file}: {prefix}{name}: unknown key; allowed: {', '.join(fields)}")
    values = {}
    types = typing.get_type_hints(cls)
    for name, field in fields.items():
        key = f"{prefix}{name}"
        if name in content:
            values[name] = _value(types[name], field, content[name], file, key)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            allowed = field.metadata.get("allowed", "an object")
            raise ConfigError(f"{file}: {key}: is missing; set it to {allowed}")
    return cls(**values)


def _value(kind: Any, field: dataclasses.Field, value: Any, file: str, key: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return _parsed(kind, value, file, f"{key}.")
    allowed = field.metadata.get("allowed") or {bool: "true or false", dict: "an object"}[kind]
    kinds = typing.get_args(kind) or (kind,)
    if float in kinds and type(value) is int and abs(value) <= _LARGEST:
        value = float(value)
    if tuple in kinds and isinstance(value, list):
        value = tuple(value)
    check = field.metadata.get("check", lambda _: True)
    if type(value) not in kinds or not check(value):
        raise ConfigError(f"{file}: {key}: {json.dumps(value)[:60]} is not allowed; must be {allowed}")
    return value
