"""The one-cycle schedule against PyTorch's own."""

import pytest
import torch

from training.one_cycle import OneCycle

PUBLISHED = {"betas": (0.95, 0.85)}  # PyTorch's defaults, which The Medics took


def test_it_is_pytorchs_step_for_step():
    optimizer = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=1e-3)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=37)
    ours, mine = OneCycle(total_steps=37, **PUBLISHED), torch.optim.AdamW([torch.zeros(1, requires_grad=True)])
    for step in range(37):
        group = optimizer.param_groups[0]
        ours.set_beta1(mine, step)
        beta1, _ = mine.param_groups[0]["betas"]
        assert (ours(step, 1e-3), beta1) == pytest.approx((group["lr"], group["betas"][0]), rel=1e-9)
        optimizer.step()
        if step < 36:
            theirs.step()
    with pytest.raises(ValueError, match="step 37 of a schedule of 37"):
        ours(37, 1e-3)


def test_betas_are_set_only_where_they_are_given():
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], betas=(0.9, 0.99))
    OneCycle(total_steps=1000).set_beta1(optimizer, 299)
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.99)
    OneCycle(total_steps=1000, **PUBLISHED).set_beta1(optimizer, 299)
    assert optimizer.param_groups[0]["betas"] == (0.85, 0.99)


def test_a_linear_rise_by_hand():
    """The peak is at step 0.5 * 10 - 1 = 4; from 1 / 4 to 1 in four steps."""
    schedule = OneCycle(total_steps=10, pct_start=0.5, div_factor=4, mode="linear")
    assert [schedule(step, 1.0) for step in range(5)] == pytest.approx([0.25, 0.4375, 0.625, 0.8125, 1])
    assert schedule(9, 1.0) == pytest.approx(0.25 / 1e4)


@pytest.mark.parametrize(
    "wrong",
    [
        {"total_steps": 0},
        {"pct_start": 1},
        {"div_factor": 0.5},
        {"mode": "square"},
        {"betas": (0.9,)},
        {"betas": (0, 1)},
    ],
    ids=str,
)
def test_no_cycle(wrong):
    with pytest.raises(ValueError, match="must be"):
        OneCycle(**{"total_steps": 10, **wrong})
