"""Turn `--device` and `--precision` into definite choices, or say in a line why not."""

import torch

from runtime.errors import UserError

DEVICES = "auto, cpu, cuda or cuda:N"
PRECISIONS = ("auto", "fp32", "fp16", "bf16")
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class ChoiceError(UserError):
    """A device, precision or engine was asked for that this machine or installation does not have."""


def resolve_device(name: str = "auto", local_rank: int = 0) -> torch.device:
    """Return the torch device for `name`.

    `auto` takes a GPU when there is one and the CPU otherwise. `auto` and `cuda` spread the processes of a torchrun
    launch over the visible GPUs by `local_rank`. Raises ChoiceError for a device that is not there.
    """
    if name == "cpu":
        return torch.device("cpu")
    visible = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda", local_rank % visible) if visible else torch.device("cpu")
    kind, _, index = name.partition(":")
    if kind != "cuda" or (":" in name and not index.isdecimal()):
        raise ChoiceError(f"--device {name}: not a device; use {DEVICES}")
    if not visible:
        raise ChoiceError(f"--device {name}: no CUDA GPU is visible to PyTorch; use --device cpu, or check nvidia-smi")
    number = int(index) if index else local_rank % visible
    if number >= visible:
        raise ChoiceError(f"--device {name}: only {visible} GPU(s) are visible, numbered from 0")
    return torch.device("cuda", number)


def resolve_precision(name: str, device: torch.device) -> str:
    """Return fp32, fp16 or bf16. `auto` is what the reference did on a GPU (fp16) and exact fp32 on a CPU."""
    if name not in PRECISIONS:
        raise ChoiceError(f"--precision {name}: use one of {', '.join(PRECISIONS)}")
    if name == "auto":
        return "fp16" if device.type == "cuda" else "fp32"
    if name == "fp16" and device.type == "cpu":
        raise ChoiceError("--precision fp16 needs a GPU; on a CPU use bf16 (faster, approximate) or fp32 (exact)")
    return name
