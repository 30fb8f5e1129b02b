"""Optimizers by their published names."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from runtime.errors import InputError
from training.tools.optimizers import create_optimizer

PLAIN = {"learning_rate": 0.1, "classifier_lr": None, "momentum": 0.9, "nesterov": True, "weight_decay": 0.5}


def model():
    return nn.ModuleDict({"encoder": nn.Linear(2, 3), "fc": nn.Linear(3, 1)})


def create(name, **changes):
    return create_optimizer(SimpleNamespace(**{**PLAIN, "type": name, **changes}), model())


@pytest.mark.parametrize(
    "name, kind",
    [
        ("SGD", torch.optim.SGD),
        ("Adam", torch.optim.Adam),
        ("AdamW", torch.optim.AdamW),
        ("RmsProp", torch.optim.RMSprop),
    ],
)
def test_names(name, kind):
    optimizer = create(name)
    (group,) = optimizer.param_groups
    assert type(optimizer) is kind and len(group["params"]) == 4
    assert group["lr"] == group["base_lr"] == 0.1 and group["weight_decay"] == 0.5


def test_sgd():
    (group,) = create("SGD").param_groups
    assert group["momentum"] == 0.9 and group["nesterov"]


def test_the_classifier_may_have_a_rate_of_its_own():
    encoder, others = create("SGD", classifier_lr=0.3).param_groups
    assert [tuple(p.shape) for p in encoder["params"]] == [(3, 2), (3,)] and encoder["lr"] == encoder["base_lr"] == 0.1
    assert [tuple(p.shape) for p in others["params"]] == [(1, 3), (1,)] and others["lr"] == others["base_lr"] == 0.3


@pytest.mark.parametrize("name", ["FusedSGD", "FusedAdam"])
def test_apex_is_asked_for_and_not_there(name, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "apex", None)
    with pytest.raises(InputError, match=f"optimizer.type {name}: apex is not installed; use {name[5:]}"):
        create(name)
