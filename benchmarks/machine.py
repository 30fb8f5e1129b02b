"""What machine a measurement was made on."""

import platform
from pathlib import Path

import torch

from runtime.cores import available_cores


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.machine()


def machine_name(device: torch.device) -> str:
    """What computes there, and the cores beside it."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    return f"{name}, {available_cores()} cores"
