"""Optimizers by the names of the published configurations."""

from typing import Protocol

import torch
from torch import nn

from engines.momentum import start_momentum
from runtime.errors import InputError


class Hyperparameters(Protocol):
    """What is read of the configuration's "optimizer"."""

    type: str
    learning_rate: float
    classifier_lr: float | None
    momentum: float
    nesterov: bool
    weight_decay: float


OPTIMIZERS = ("SGD", "Adam", "AdamW", "RmsProp", "FusedSGD", "FusedAdam")


def create_optimizer(config: Hyperparameters, model: nn.Module) -> torch.optim.Optimizer:
    """An optimizer over all parameters, frozen ones too, which get no gradients and are left alone.

    With `classifier_lr` there are two groups: the encoder's parameters, and the others at that rate. Each group has its
    first rate as "base_lr". FusedSGD and FusedAdam are apex's; raises InputError where that is not installed.
    """
    groups = parameter_groups(config, model)
    rate, decay = config.learning_rate, config.weight_decay
    sgd = {"lr": rate, "momentum": config.momentum, "nesterov": config.nesterov, "weight_decay": decay}
    adam = {"lr": rate, "weight_decay": decay}
    on_gpu = {"fused": True} if next(model.parameters()).is_cuda else {}
    if config.type == "SGD":
        return start_momentum(torch.optim.SGD(groups, **sgd, **on_gpu))
    if config.type == "Adam":
        return torch.optim.Adam(groups, **adam, **on_gpu)
    if config.type == "AdamW":
        return torch.optim.AdamW(groups, **adam, **on_gpu)
    if config.type == "RmsProp":
        return torch.optim.RMSprop(groups, lr=rate, momentum=config.momentum, weight_decay=decay)
    apex = _apex_optimizers(config.type)
    return apex.FusedSGD(groups, **sgd) if config.type == "FusedSGD" else apex.FusedAdam(groups, **adam)


def start_anew(optimizer: torch.optim.Optimizer) -> None:
    """Forget all steps, as an optimizer that is made now."""
    optimizer.state.clear()
    if type(optimizer) is torch.optim.SGD:
        start_momentum(optimizer)


def parameter_groups(config: Hyperparameters, model: nn.Module) -> list[dict]:
    named = [(name, parameter) for name, parameter in model.named_parameters()]
    if config.classifier_lr is None:
        return [{"params": [parameter for _, parameter in named], "base_lr": config.learning_rate}]
    encoder = [parameter for name, parameter in named if "encoder" in name.split(".")]
    others = [parameter for name, parameter in named if "encoder" not in name.split(".")]
    if not encoder:
        raise InputError("optimizer.classifier_lr: the network has no encoder beside its classifier; leave it out")
    return [
        {"params": encoder, "base_lr": config.learning_rate},
        {"params": others, "lr": config.classifier_lr, "base_lr": config.classifier_lr},
    ]


def _apex_optimizers(name: str):
    try:
        from apex import optimizers
    except ImportError as error:
        plain = name.removeprefix("Fused")
        raise InputError(
            f"optimizer.type {name}: apex is not installed; use {plain}, which is fused on a GPU too"
        ) from error
    return optimizers
