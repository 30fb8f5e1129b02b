"""Folding changes nothing but the number of operations."""

import pytest
import torch

from engines.fold import fold_batch_norms
from systems.seferbekov.checkpoints import load_model


@pytest.mark.parametrize("size", [64, 97])
def test_same_logits(weights_dir, size):
    torch.manual_seed(0)
    x = torch.randn(3, 3, size, size)
    module = load_model(weights_dir / "first").module
    with torch.inference_mode():
        expected = module(x)
        folded = fold_batch_norms(module)
        torch.testing.assert_close(folded(x), expected, rtol=1e-3, atol=1e-4)
    assert expected.std() > 0.01
    assert not any(isinstance(layer, torch.nn.BatchNorm2d) for layer in folded.modules())


def test_folding_by_hand():
    """y = 2 * (3x - 1) / sqrt(4) + 5 = 3x + 4, for a variance of 4, a mean of 1, and nothing to divide by zero for."""

    class InvertedResidual(torch.nn.Module):
        def __init__(self):
            super().__init__()
            for number, name in enumerate(("conv_pw", "conv_dw", "conv_pwl"), start=1):
                conv = torch.nn.Conv2d(1, 1, 1, bias=False)
                torch.nn.init.constant_(conv.weight, 3.0)
                norm = torch.nn.BatchNorm2d(1, eps=0)
                norm.weight.data[:], norm.bias.data[:] = 2, 5
                norm.running_mean[:], norm.running_var[:] = 1, 4
                norm.act = torch.nn.Identity()
                setattr(self, name, conv)
                setattr(self, f"bn{number}", norm)

    block = fold_batch_norms(InvertedResidual().eval())
    for conv in (block.conv_pw, block.conv_dw, block.conv_pwl):
        assert conv.weight.item() == 3 and conv.bias.item() == 4
    assert isinstance(block.bn1, torch.nn.Identity)
