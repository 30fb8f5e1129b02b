"""Devices, precisions and cores, with and without a GPU (simulated)."""

import pytest
import torch

from runtime import cores as cores_module
from runtime.cores import available_cores
from runtime.device import ChoiceError, resolve_device, resolve_precision


@pytest.fixture
def gpus(monkeypatch):
    def simulate(count):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    return simulate


def test_without_a_gpu(gpus):
    gpus(0)
    assert resolve_device("auto") == resolve_device("cpu") == torch.device("cpu")
    with pytest.raises(ChoiceError, match="--device cuda: no CUDA GPU is visible"):
        resolve_device("cuda")


def test_with_gpus(gpus):
    gpus(2)
    assert resolve_device("auto") == resolve_device("cuda") == torch.device("cuda", 0)
    assert [resolve_device("auto", local_rank=rank).index for rank in range(4)] == [0, 1, 0, 1]
    assert resolve_device("cuda:1", local_rank=0) == torch.device("cuda", 1)
    assert resolve_device("cpu") == torch.device("cpu")
    with pytest.raises(ChoiceError, match="--device cuda:2: only 2"):
        resolve_device("cuda:2")


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cpu:0", "", "cuda1"])
def test_no_device(gpus, name):
    gpus(2)
    with pytest.raises(ChoiceError, match="not a device; use auto, cpu, cuda or cuda:N"):
        resolve_device(name)


def test_precision():
    cpu, cuda = torch.device("cpu"), torch.device("cuda", 0)
    assert resolve_precision("auto", cpu) == "fp32" and resolve_precision("auto", cuda) == "fp16"
    assert resolve_precision("bf16", cpu) == "bf16" and resolve_precision("fp32", cuda) == "fp32"
    with pytest.raises(ChoiceError, match="fp16 needs a GPU"):
        resolve_precision("fp16", cpu)
    with pytest.raises(ChoiceError, match="--precision int8: use one of"):
        resolve_precision("int8", cpu)


@pytest.mark.parametrize("quota, cores", [("max 100000", 8), ("250000 100000", 2), ("50000 100000", 1), ("junk", 8)])
def test_cores_of_a_container(monkeypatch, tmp_path, quota, cores):
    (tmp_path / "cpu.max").write_text(quota + "\n")
    monkeypatch.setattr(cores_module.os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setattr(cores_module, "Path", lambda path: tmp_path / "cpu.max")
    assert available_cores() == cores
