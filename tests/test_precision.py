"""What a configuration, --opt-level and a device come to."""

from types import SimpleNamespace

import pytest
import torch

from training.precision import choose_dtype


@pytest.mark.parametrize(
    "fp16, bf16, level, device, wanted",
    [
        (True, False, "O1", "cuda", torch.float16),
        (True, False, "O1", "cpu", torch.float32),
        (False, True, "O2", "cpu", torch.bfloat16),
        (True, False, "O0", "cuda", torch.float32),
        (False, False, "O1", "cuda", torch.float32),
    ],
)
def test_dtypes(fp16, bf16, level, device, wanted):
    assert choose_dtype(SimpleNamespace(fp16=fp16, bf16=bf16), level, torch.device(device)) == wanted
