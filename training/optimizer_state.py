"""An optimizer's state out of a checkpoint file, checked and fitted to the optimizer of this run.

A run may go on on another device: its own param groups stay, with what its device needs (`fused`, `foreach`,
`capturable`), and only the moments are taken, to the parameters' device and memory format.
"""

import math
from typing import Any

import torch

from systems.checkpoints import is_plain
from training.optimizers import start_momentum

_OF_THE_DEVICE = ("fused", "foreach", "capturable")
_SET_AT_EACH_STEP = ("lr", "betas")  # by the schedule
_MOST_STEPS = 2**53  # whole numbers are exact up to here
_MOST_RATE = 1e30

_SQUARED = ("exp_avg_sq", "square_avg")  # means of squares


def load_optimizer_state(optimizer: torch.optim.Optimizer, saved: Any) -> None:
    """Raises ValueError, KeyError or TypeError where `saved` is not what this optimizer would save."""
    names = _names_of(optimizer)
    if names is None:  # apex's, which keep some of it in their param groups
        optimizer.load_state_dict(saved)
        return
    own = optimizer.state_dict()["param_groups"]
    _check(type(saved) is dict and saved.keys() == {"state", "param_groups"}, "keys")
    _check(type(saved["state"]) is dict and type(saved["param_groups"]) is list, "kinds")
    _check(len(saved["param_groups"]) == len(own), "number of param groups")
    for theirs, ours in zip(saved["param_groups"], own, strict=True):
        _check_group(theirs, ours)
    parameters = {
        number: parameter
        for ours, group in zip(own, optimizer.param_groups, strict=True)
        for number, parameter in zip(ours["params"], group["params"], strict=True)
    }
    _check(all(type(number) is int and number in parameters for number in saved["state"]), "parameters")
    state = {number: _fitted(kept, names, parameters[number]) for number, kept in saved["state"].items()}
    optimizer.load_state_dict({"state": state, "param_groups": own})
    if type(optimizer) is torch.optim.SGD:
        start_momentum(optimizer)


def _names_of(optimizer: torch.optim.Optimizer) -> set[str] | None:
    """What the optimizer keeps of a parameter; None where it is none of PyTorch's."""
    momentum = {"momentum_buffer"} if optimizer.param_groups[0].get("momentum") else set()
    return {
        torch.optim.SGD: momentum,
        torch.optim.Adam: {"step", "exp_avg", "exp_avg_sq"},
        torch.optim.AdamW: {"step", "exp_avg", "exp_avg_sq"},
        torch.optim.RMSprop: {"step", "square_avg"} | momentum,
    }.get(type(optimizer))


def _check_group(theirs: Any, ours: dict) -> None:
    """The hyperparameters are the configuration's, which is the same. Other versions of PyTorch may have more."""
    _check(type(theirs) is dict and {"params", "lr", "base_lr"} <= theirs.keys(), "param group")
    _check(type(theirs["params"]) is list and all(type(number) is int for number in theirs["params"]), "parameters")
    _check(theirs["params"] == ours["params"], "parameters")
    _check(type(theirs["lr"]) in (int, float) and 0 <= theirs["lr"] <= _MOST_RATE, "lr")
    if "betas" in ours:
        betas = theirs["betas"]
        _check(type(betas) in (tuple, list) and len(betas) == 2, "betas")
        _check(all(type(beta) is float and 0 <= beta < 1 for beta in betas), "betas")
    for key in ours.keys() & theirs.keys() - {"params", *_SET_AT_EACH_STEP, *_OF_THE_DEVICE}:
        _check(_plain(theirs[key]) == _plain(ours[key]), key)


def _plain(value: Any) -> Any:
    """A hyperparameter, as something that can be compared whatever it is."""
    if type(value) in (tuple, list):
        return [each if type(each) in (int, float) else None for each in value]
    _check(value is None or type(value) in (bool, int, float), "hyperparameter")
    return value


def _fitted(kept: Any, names: set[str], parameter: torch.Tensor) -> dict:
    """A parameter's state, in memory of its own. A parameter that was frozen may have none."""
    _check(type(kept) is dict and kept.keys() in (set(), names), "state of a parameter")
    return {name: _fitted_value(name, value, parameter) for name, value in kept.items()}


def _fitted_value(name: str, value: Any, parameter: torch.Tensor) -> torch.Tensor:
    _check(is_plain(value) and value.is_floating_point(), name)
    if name == "step":
        _check(value.shape == (), name)
        steps = value.item()
        _check(math.isfinite(steps) and 0 <= steps <= _MOST_STEPS and steps % 1 == 0, name)
        return torch.tensor(steps, dtype=torch.float32)
    _check(value.shape == parameter.shape and value.dtype == parameter.dtype, name)
    _check(bool(torch.isfinite(value).all()) and not (name in _SQUARED and (value < 0).any()), name)
    return torch.empty_like(parameter, requires_grad=False).copy_(value)


def _check(fine: bool, what: str) -> None:
    if not fine:
        raise ValueError(f"not the {what} of this optimizer")
