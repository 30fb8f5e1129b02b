"""Turn `--device` and `--precision` into definite choices, or say in a line why not."""

import glob

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


def describe_device(device: torch.device) -> str:
    """A GPU by its number and name, or "the CPU"."""
    return "the CPU" if device.type == "cpu" else f"GPU {device.index} ({torch.cuda.get_device_name(device)})"


def device_notes(name: str, device: torch.device, local_world_size: int = 1) -> list[str]:
    """What a person who gave `--device name` should know of the device that it became, a line each.

    `local_world_size` is the number of this machine's processes in a torchrun launch.
    """
    if device.type == "cpu":
        reason = _why_no_gpu() if name == "auto" else None
        return [f"note: there is a GPU that PyTorch can't use ({reason}); this runs on the CPU"] if reason else []
    gpus = 1 if ":" in name else torch.cuda.device_count()
    if local_world_size <= gpus:
        return []
    return [f"note: {local_world_size} processes share {gpus} GPU(s): more than one on each makes nothing faster"]


def _why_no_gpu() -> str | None:
    """Why PyTorch can't use the GPU that the system has; None where it has none."""
    if not glob.glob("/dev/nvidia[0-9]*"):
        return None
    try:
        torch.cuda.init()
    except (AssertionError, RuntimeError) as error:
        return str(error).splitlines()[0]
    return "none is visible: see CUDA_VISIBLE_DEVICES"


def resolve_precision(name: str, device: torch.device) -> str:
    """Return fp32, fp16 or bf16. `auto` is what the reference did on a GPU (fp16) and exact fp32 on a CPU."""
    if name not in PRECISIONS:
        raise ChoiceError(f"--precision {name}: use one of {', '.join(PRECISIONS)}")
    if name == "auto":
        return "fp16" if device.type == "cuda" else "fp32"
    if name == "fp16" and device.type == "cpu":
        raise ChoiceError("--precision fp16 needs a GPU; on a CPU use bf16 (faster, approximate) or fp32 (exact)")
    if name == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise ChoiceError("--precision bf16: this GPU computes none; use fp16 (faster) or fp32 (exact)")
    return name
