"""Mixed precision: what a configuration asks for, what --opt-level says, and what the device can do."""

import os

import torch

from training.tools.config import TrainingConfig

OPT_LEVELS = ("O0", "O1", "O2")


def choose_dtype(config: TrainingConfig, opt_level: str, device: torch.device) -> torch.dtype:
    """The dtype of autocast; float32 is none.

    apex's levels map to it: O0 is fp32, O1 and O2 are autocast, which keeps weights in fp32 as both did. fp16 needs a
    GPU: a CPU computes in fp32 instead.
    """
    if opt_level == "O0":
        return torch.float32
    if config.bf16:
        return torch.bfloat16
    return torch.float16 if config.fp16 and device.type == "cuda" else torch.float32


def forbid_tf32() -> None:
    """fp32 is fp32 on a GPU from now on, whatever the environment says: by PyTorch's own choice convolutions take TF32,
    which has 10 bits of each number. To be called before anything is computed there.

    The old switches go first: PyTorch refuses to say what holds where the new ones alone were set after them.
    """
    os.environ["NVIDIA_TF32_OVERRIDE"] = "0"  # which cuBLAS and cuDNN read, and obey before PyTorch
    torch.set_float32_matmul_precision("highest")
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    torch.backends.cudnn.conv.fp32_precision = "ieee"
    torch.backends.cudnn.rnn.fp32_precision = "ieee"
