"""What is documented of a GPU's memory is what PyTorch would allocate."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.gpu_memory import Case, PeakMemory, cases, megabytes
from tests.fake_gpu import fake_gpu

ROOT = Path(__file__).resolve().parents[1]
ROW = re.compile(r"\| ((?:prediction|training), .*) \| (\d+) \| (\d+) \|")


def documented() -> dict[str, tuple[int, int]]:
    """Weights and batch, in MB, by the name of a case."""
    rows = ROW.findall((ROOT / "docs" / "gpu.md").read_text())
    return {name: (int(weights), int(batch)) for name, weights, batch in rows}


def test_all_cases_are_documented():
    assert list(documented()) == [case.name for case in cases()]


@pytest.mark.parametrize("case", [case for case in cases() if "medics" not in case.name], ids=lambda case: case.name)
def test_no_more_than_is_documented(case):
    """And hardly less. (Those of The Medics take their time.)"""
    for found, told in zip(megabytes(case), documented()[case.name], strict=True):
        assert 0.97 * told <= found <= told


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in cases() if "medics" in case.name], ids=lambda case: case.name)
def test_no_more_than_is_documented_of_the_medics(case):
    test_no_more_than_is_documented(case)


def test_what_is_counted():
    """Blocks of 512 bytes; views and what lies on the CPU for nothing; what is freed no longer."""
    with fake_gpu() as gpu:
        with PeakMemory() as memory:
            first = torch.zeros(100, device=gpu)  # 400 bytes
            view = first[10:].view(-1, 9)
            host = torch.zeros(1000)
            assert (memory.peak, memory.held()) == (512, 512)
            second = torch.zeros(1000, device=gpu)  # 4000
            del first
            assert memory.held() == 512 + 4096  # the view keeps it
            del view, second
            assert memory.held() == 0 and memory.peak == 512 + 4096
            third = torch.zeros(1, device=gpu)
        with PeakMemory(beside=memory) as later:
            third.add_(1)
            fourth = third[:1] + 1
    assert later.peak == 512 and not host.is_cuda and fourth.is_cuda


def test_a_network_by_hand():
    """What a backward pass wants is held; without one the first input, and those of the layer that is computed."""
    for trains, tensors in ((False, 3), (True, 11)):
        case = Case(
            name="",
            make=lambda: nn.Sequential(*(nn.Linear(1000, 1000, bias=False) for _ in range(10))),
            work=lambda network: network(torch.zeros(1000, 1000)),
            copies=3,
            trains=trains,
        )
        assert megabytes(case) == (3 * 10 * 4, tensors * 4)
