"""The split loss, by hand: with logit 0 a sample's cross-entropy is ln 2, whatever its label."""

import math

import pytest
import torch

from systems.seferbekov.loss import split_loss

BCE = {"BinaryCrossentropy": 1}


def column(*values):
    return torch.tensor(values, dtype=torch.float32)[:, None]


def softplus(x):
    return math.log1p(math.exp(x))


def test_each_class_has_half_the_weight():
    logits, labels = column(2, -1, 0, 0), column(1, 0, 0, 0)
    loss = split_loss(logits, labels, weights=BCE)
    assert loss.fake.item() == pytest.approx(softplus(-2))
    assert loss.real.item() == pytest.approx((softplus(-1) + 2 * math.log(2)) / 3)
    assert loss.total.item() == pytest.approx((loss.fake.item() + loss.real.item()) / 2)


def test_smoothed_labels():
    loss = split_loss(column(2, -1), column(0.99, 0.01), weights=BCE)
    assert loss.fake.item() == pytest.approx(0.99 * softplus(-2) + 0.01 * softplus(2))
    assert loss.real.item() == pytest.approx(0.99 * softplus(-1) + 0.01 * softplus(1))


def test_a_missing_class_counts_0():
    logits = column(0, 0).requires_grad_()
    loss = split_loss(logits, column(1, 1), weights=BCE)
    assert loss.real.item() == 0 and loss.total.item() == pytest.approx(math.log(2) / 2)
    loss.total.backward()
    assert logits.grad.flatten().tolist() == pytest.approx([-0.125, -0.125])  # (0.5 - 1) / 2 samples / 2 classes


def test_only_what_is_kept_counts():
    keep = torch.tensor([True, False, True, True])
    loss = split_loss(column(2, 9, 0, -1), column(1, 1, 0, 0), weights=BCE, keep=keep)
    assert loss.fake.item() == pytest.approx(softplus(-2))
    nothing = split_loss(column(2, 0), column(1, 0), weights=BCE, keep=torch.tensor([False, False]))
    assert nothing.total.item() == 0


def test_the_hardest_samples():
    logits, labels = column(3, -1, -2, 0), column(1, 1, 1, 0)
    loss = split_loss(logits, labels, weights=BCE, ohem_samples=2)
    assert loss.fake.item() == pytest.approx((softplus(1) + softplus(2)) / 2)
    assert loss.real.item() == pytest.approx(math.log(2))  # there is only one


def test_weights():
    loss = split_loss(column(0, 0), column(1, 0), weights={"BinaryCrossentropy": 3})
    assert loss.total.item() == pytest.approx(3 * math.log(2))


def test_half_precision_logits_are_computed_in_fp32():
    loss = split_loss(column(2, -1).half(), column(1, 0), weights=BCE)
    assert loss.total.dtype == torch.float32


def test_shares_of_processes_average_to_the_whole():
    """Two processes, one of them without a fake: the mean of their gradients is that of one process with all."""
    logits, labels = column(2, -1, 0.5, 1, 0, -2), column(1, 1, 0, 0, 0, 0)
    whole = logits.clone().requires_grad_()
    split_loss(whole, labels, weights=BCE).total.backward()
    counts = torch.tensor([2.0, 4.0])
    grads = []
    for part in (slice(0, 3), slice(3, 6)):
        share = logits[part].clone().requires_grad_()
        loss = split_loss(share, labels[part], weights=BCE, sum_over_ranks=lambda _: counts.clone(), world_size=2)
        loss.total.backward()
        grads.append(share.grad / 2)  # DDP's mean
    assert torch.allclose(torch.cat(grads), whole.grad)
