"""What a configuration, --opt-level and a device come to."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from training.tools.precision import choose_dtype

ROOT = Path(__file__).resolve().parents[1]
FORBIDDEN = """
import os, torch
torch.set_float32_matmul_precision("high")
torch.backends.fp32_precision = "tf32"
torch.backends.cudnn.conv.fp32_precision = "tf32"
from training.tools.precision import forbid_tf32
forbid_tf32()
backends = torch.backends
print(backends.cuda.matmul.fp32_precision, backends.cudnn.conv.fp32_precision, backends.cudnn.rnn.fp32_precision)
print(backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32, torch.get_float32_matmul_precision())
print(os.environ["NVIDIA_TF32_OVERRIDE"])
"""


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


def test_no_tf32_whatever_the_environment_says():
    """As a process: the switches hold for all of it."""
    environment = {**os.environ, "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1", "NVIDIA_TF32_OVERRIDE": "1"}
    finished = subprocess.run(
        [sys.executable, "-c", FORBIDDEN], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert finished.stdout.split() == ["ieee"] * 3 + ["False", "False", "highest", "0"], finished.stderr
