"""Mixed precision: what a configuration asks for, what --opt-level says, and what the device can do."""

import torch

from training.config import CommonConfig

OPT_LEVELS = ("O0", "O1", "O2")


def choose_dtype(config: CommonConfig, opt_level: str, device: torch.device) -> torch.dtype:
    """The dtype of autocast; float32 is none.

    apex's levels map to it: O0 is fp32, O1 and O2 are autocast, which keeps weights in fp32 as both did. fp16 needs a
    GPU: a CPU computes in fp32 instead.
    """
    if opt_level == "O0":
        return torch.float32
    if config.bf16:
        return torch.bfloat16
    return torch.float16 if config.fp16 and device.type == "cuda" else torch.float32
