"""Mixup of aligned pairs, by hand."""

import math

import numpy as np
import pytest
import torch

from systems.ntechlab.mixup import draw_shares, mix_clips, mix_frames, mixup_loss


@pytest.fixture
def pair():
    """Originals and fakes of 2 pairs of 3 frames of 1x1 pixels: 10 * pair + frame, and that + 100."""
    real = (10.0 * torch.arange(2)[:, None] + torch.arange(3)).view(2, 3, 1, 1, 1).expand(2, 3, 3, 1, 1)
    return real, real + 100


def test_frames(pair):
    shares = torch.tensor([0.0, 0.1, 0.2, 0.3, 0.4, 1.0])
    images, targets = mix_frames(*pair, shares)
    assert images.shape == (6, 3, 1, 1) and targets.shape == (6, 1)
    # the first frame of both pairs, then the second: 0, 10, 1, 11, 2, 12
    torch.testing.assert_close(images[:, 0, 0, 0], torch.tensor([0.0, 20, 21, 41, 42, 112]))
    assert torch.equal(targets[:, 0], shares)


def test_clips(pair):
    images, targets = mix_clips(*pair, torch.tensor([0.25, 1.0]))
    assert images.shape == (6, 3, 1, 1)
    torch.testing.assert_close(images[:, 2, 0, 0], torch.tensor([25.0, 26, 27, 110, 111, 112]))
    assert targets.tolist() == [[0.25]] * 3 + [[1.0]] * 3


def test_shares_are_mostly_pure():
    """Beta(1/2, 1/2) is the arcsine law: P(t < x) = 2 / pi asin sqrt x."""
    shares = draw_shares(20000, np.random.default_rng(1))
    assert shares.dtype == torch.float32 and shares.shape == (20000,)
    for below in (0.1, 0.5, 0.9):
        expected = 2 / math.pi * math.asin(math.sqrt(below))
        assert (shares < below).float().mean().item() == pytest.approx(expected, abs=0.015)


def test_shares_follow_the_generator():
    assert torch.equal(draw_shares(5, np.random.default_rng(3)), draw_shares(5, np.random.default_rng(3)))


def test_loss():
    """-t log p - (1 - t) log (1 - p), p = 1/2 and 3/4."""
    logits = torch.tensor([[0.0], [math.log(3)]], dtype=torch.bfloat16)
    expected = (math.log(2) - 0.25 * math.log(0.75) - 0.75 * math.log(0.25)) / 2
    loss = mixup_loss(logits, torch.tensor([[0.9], [0.25]]))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected, rel=2e-3)  # bfloat16 has 8 bits of log 3
