"""What machine a measurement was made on."""

import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch

from runtime.cores import available_cores

_MATRIX = 4096  # rows and columns of those that are multiplied


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.machine()


def machine_name(device: torch.device) -> str:
    """What computes there, and the cores beside it."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    return f"{name}, {available_cores()} cores"


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def fastest_product(device: torch.device) -> float:
    """GFLOP a second of the product of two matrices: the most of some tries."""
    matrix = torch.rand(_MATRIX, _MATRIX, device=device)
    return 2 * _MATRIX**3 / min(seconds(lambda: float(torch.mm(matrix, matrix)[0, 0])) for _ in range(5)) / 1e9
