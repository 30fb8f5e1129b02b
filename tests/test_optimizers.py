"""Optimizers by their published names."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from runtime.errors import InputError
from training.optimizers import create_optimizer

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


def train(optimizer, network, steps, *, overflows=None, frozen=()):
    """Steps with seeded gradients; `overflows` says for each what a gradient scaler found."""
    for step in range(steps):
        optimizer.zero_grad(set_to_none=True)
        for name, parameter in network.named_parameters():
            torch.manual_seed(step)
            if step not in frozen or not name.startswith("encoder"):
                parameter.grad = torch.randn_like(parameter)
        if overflows is not None:
            optimizer.grad_scale, optimizer.found_inf = None, torch.tensor(float(overflows[step]))
        optimizer.step()
    return {name: parameter.detach().clone() for name, parameter in network.named_parameters()}


def on_gpu(monkeypatch, network, **changes):
    """The optimizer that a GPU gets, over parameters on the CPU, which fused steps take too."""
    with monkeypatch.context() as patched:
        patched.setattr(torch.Tensor, "is_cuda", True)
        optimizer = create_optimizer(SimpleNamespace(**{**PLAIN, "type": "SGD", **changes}), network)
    assert optimizer.param_groups[0]["fused"]
    return optimizer


def plain_sgd(network, **changes):
    hyperparameters = {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.5, **changes}
    return torch.optim.SGD(network.parameters(), **hyperparameters)


def seeded():
    torch.manual_seed(0)
    return model()


def assert_close(found, wanted):
    for name, value in wanted.items():
        assert torch.allclose(found[name], value, rtol=1e-5, atol=1e-6), name


def test_a_skipped_first_step_leaves_no_momentum(monkeypatch):
    """PyTorch's fused step would keep what lay in memory."""
    network, plain = seeded(), seeded()
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    optimizer = on_gpu(monkeypatch, network)
    monkeypatch.setattr(torch, "empty_like", lambda tensor, **kwargs: torch.full_like(tensor, 1e4, **kwargs))
    skipped = train(optimizer, network, 1, overflows=[True])
    assert all(torch.equal(before[name], value) for name, value in skipped.items())
    assert_close(train(optimizer, network, 3, overflows=[False] * 3), train(plain_sgd(plain), plain, 3))


def test_an_encoder_that_thaws(monkeypatch):
    network, plain = seeded(), seeded()
    optimizer, other = on_gpu(monkeypatch, network), plain_sgd(plain)
    start = network["encoder"].weight.detach().clone()
    train(optimizer, network, 1, frozen=[0])
    assert torch.equal(network["encoder"].weight, start)
    train(other, plain, 1, frozen=[0])
    assert_close(train(optimizer, network, 3, frozen=[0]), train(other, plain, 3, frozen=[0]))


@pytest.mark.parametrize("nesterov", [True, False])
def test_weights_are_those_of_plain_sgd_to_the_bit(nesterov):
    ours, theirs = seeded(), seeded()
    optimizer = create_optimizer(SimpleNamespace(**{**PLAIN, "type": "SGD", "nesterov": nesterov}), ours)
    wanted = train(plain_sgd(theirs, nesterov=nesterov), theirs, 4)
    assert all(torch.equal(wanted[name], value) for name, value in train(optimizer, ours, 4).items())


def test_without_momentum_there_is_none():
    assert not create("SGD", momentum=0.0, nesterov=False).state
