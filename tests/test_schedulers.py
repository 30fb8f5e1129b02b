"""The rate of each schedule, by hand."""

import pytest
import torch

from training.schedulers import SCHEDULES


def rates(name, positions, base=0.1, **params):
    schedule = SCHEDULES[name](**params)
    return [schedule(position, base) for position in positions]


def test_constant():
    assert rates("constant", (0, 7)) == [0.1, 0.1]


def test_poly():
    assert rates("poly", (0, 1, 2, 4, 9), max_iter=4, power=1) == pytest.approx([0.1, 0.075, 0.05, 0, 0])
    assert rates("poly", (50250,), base=0.01, max_iter=100500) == pytest.approx([0.01 * 0.5**0.9])  # as published


def test_step_gives_the_rates_themselves():
    assert rates("step", (0, 1, 2, 3, 9), steps=[[1, 0.5], [3, 0.2]]) == [0.5, 0.5, 0.5, 0.2, 0.2]


def test_multistep():
    assert rates("multistep", (0, 1, 2, 3, 4), milestones=[4, 2]) == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001])


def test_exponential():
    assert rates("exponential", (0, 1, 2), gamma=0.5) == [0.1, 0.05, 0.025]


def test_linear():
    assert rates("linear", (0, 1, 2, 30), alpha=-0.1, beta=1) == pytest.approx([0.1, 0.09, 0.08, 0])


def test_clr():
    cycle = {"base_lr": 0.1, "max_lr": 0.5, "step_size": 2}
    assert rates("clr", range(6), **cycle) == pytest.approx([0.1, 0.3, 0.5, 0.3, 0.1, 0.3])
    halved = rates("clr", (2, 6, 10), mode="triangular2", **cycle)
    assert halved == pytest.approx([0.5, 0.1 + 0.4 / 2, 0.1 + 0.4 / 4])
    assert rates("clr", (2,), mode="exp_range", gamma=0.5, **cycle) == pytest.approx([0.1 + 0.4 * 0.25])


@pytest.mark.parametrize(
    "name, params, torchs",
    [
        ("multistep", {"milestones": [3, 5], "gamma": 0.3}, torch.optim.lr_scheduler.MultiStepLR),
        ("exponential", {"gamma": 0.9}, torch.optim.lr_scheduler.ExponentialLR),
    ],
)
def test_the_same_as_pytorch(name, params, torchs):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = torchs(optimizer, **params)
    expected = []
    for _ in range(8):
        expected.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    assert rates(name, range(8), **params) == pytest.approx(expected)


@pytest.mark.parametrize(
    "name, params, error",
    [
        ("poly", {"max_iter": 0}, "max_iter must be 1 or more"),
        ("step", {"steps": [[3, 0.1], [1, 0.2]]}, "steps must be in order"),
        ("exponential", {"gamma": 2}, "gamma must be above 0"),
        ("clr", {"base_lr": 0, "max_lr": 1, "mode": "sine"}, "mode must be one of triangular, triangular2, exp_range"),
    ],
)
def test_what_makes_no_sense(name, params, error):
    with pytest.raises(ValueError, match=error):
        SCHEDULES[name](**params)
