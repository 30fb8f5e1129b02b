"""Optimizers' states out of files: of other devices, and of no optimizer."""

import copy
import io
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from training.optimizer_state import load_optimizer_state
from training.optimizers import create_optimizer

PLAIN = {"learning_rate": 0.1, "classifier_lr": None, "momentum": 0.9, "nesterov": False, "weight_decay": 0.0}
WRONG = (TypeError, ValueError, KeyError)
SHAPE = (4, 3, 2, 2)


def make(name, *, fused=False):
    torch.manual_seed(0)
    network = nn.Conv2d(3, 4, 2).to(memory_format=torch.channels_last)
    optimizer = create_optimizer(SimpleNamespace(**{**PLAIN, "type": name}), network)
    for group in optimizer.param_groups:
        group["fused"] = fused or None
    return network, optimizer


def step(network, optimizer, seed):
    for parameter in network.parameters():
        torch.manual_seed(seed)
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()


def saved(name, *, fused=False):
    network, optimizer = make(name, fused=fused)
    step(network, optimizer, 1)
    file = io.BytesIO()
    torch.save({"optimizer": optimizer.state_dict(), "weights": network.state_dict()}, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def two_steps(name):
    network, optimizer = make(name)
    step(network, optimizer, 1)
    step(network, optimizer, 2)
    return network.state_dict()


def resumed(name, content, *, fused=False):
    network, optimizer = make(name, fused=fused)
    network.load_state_dict(content["weights"])
    load_optimizer_state(optimizer, content["optimizer"])
    assert [group["fused"] for group in optimizer.param_groups] == [fused or None]
    step(network, optimizer, 2)
    return network.state_dict()


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
@pytest.mark.parametrize("fused", [True, False], ids=["to a GPU", "from a GPU"])
def test_a_run_goes_on_on_another_device(name, fused):
    found = resumed(name, saved(name, fused=not fused), fused=fused)
    for key, value in two_steps(name).items():
        assert torch.allclose(found[key], value, rtol=1e-5, atol=1e-7), key


@pytest.mark.parametrize("name", ["SGD", "Adam", "RmsProp"])
def test_the_same_device_gives_the_same_bits(name):
    found = resumed(name, saved(name))
    assert all(torch.equal(value, found[key]) for key, value in two_steps(name).items())


def test_momentum_that_a_file_does_not_have_is_zero():
    """Of a frozen parameter, in a file of before every parameter had one."""
    content = saved("SGD")["optimizer"]
    del content["state"][0]
    network, optimizer = make("SGD", fused=True)
    load_optimizer_state(optimizer, content)
    assert not optimizer.state[network.weight]["momentum_buffer"].any()
    step(network, optimizer, 2)


def test_moments_lie_in_memory_of_their_own_as_the_parameters_do():
    content = saved("Adam")["optimizer"]
    contiguous = content["state"][0]["exp_avg"].contiguous()
    content["state"][0] |= {"exp_avg": contiguous, "exp_avg_sq": contiguous.square()}
    network, optimizer = make("Adam")
    load_optimizer_state(optimizer, content)
    moment = optimizer.state[network.weight]["exp_avg"]
    assert moment.stride() == network.weight.stride() and moment.data_ptr() != contiguous.data_ptr()
    assert torch.equal(moment, contiguous)


def damages():
    """What may be wrong, as (keys of the place, what is put there)."""
    group, state = ("param_groups", 0), ("state", 0)
    yield from ((("state",), value) for value in (None, [], {7: {}}, {"0": {}}, {True: {}}))
    yield from ((("param_groups",), value) for value in (None, [], {}, [1], [{}]))
    hyperparameters = {
        "params": (None, [], [0], [1, 0], [0, 1, 2], ["a", 1]),
        "lr": (None, "a", float("nan"), -1.0, torch.ones(2)),
        "base_lr": (None, "a", float("nan"), 0.2, torch.ones(2)),
        "betas": (None, 1, (0.5,), (0.9, "a"), (torch.ones(2), 0.9)),
        "weight_decay": (1.0, None, [0.0]),
        "eps": (0.0,),
    }
    yield from (((*group, key), value) for key, values in hyperparameters.items() for value in values)
    yield from ((state, value) for value in (None, {"exp_avg": torch.zeros(SHAPE)}, {"a": 1}))
    moments = (
        None,
        1.0,
        torch.zeros(3),
        torch.zeros(SHAPE, dtype=torch.float64),
        torch.zeros(SHAPE, dtype=torch.int64),
        torch.zeros(SHAPE, dtype=torch.complex64),
        torch.zeros(SHAPE, device="meta"),
        torch.zeros(SHAPE).to_sparse(),
        torch.zeros(SHAPE).to(torch.float8_e4m3fn),
        torch.quantize_per_tensor(torch.zeros(SHAPE), 0.1, 0, torch.qint8),
        torch.full(SHAPE, torch.nan),
        torch.full(SHAPE, torch.inf),
    )
    yield from (((*state, "exp_avg"), moment) for moment in moments)
    yield (*state, "exp_avg_sq"), torch.full(SHAPE, -1.0)
    steps = (None, 1, -1.0, torch.tensor(-1.0), torch.tensor(0.5), torch.tensor(torch.nan), torch.ones(2))
    yield from (((*state, "step"), value) for value in steps)


@pytest.mark.parametrize("place, value", list(damages()), ids=lambda value: str(value)[:30].replace("\n", ""))
def test_damaged(place, value):
    content = copy.deepcopy(saved("Adam")["optimizer"])
    inner = content
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    _, optimizer = make("Adam")
    with pytest.raises(WRONG):
        load_optimizer_state(optimizer, content)
    assert not optimizer.state


@pytest.mark.parametrize("content", [None, [], {}, {"state": {}}, 3, "a"])
def test_no_state(content):
    with pytest.raises(WRONG):
        load_optimizer_state(make("Adam")[1], content)
