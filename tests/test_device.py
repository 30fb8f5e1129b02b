"""Devices, precisions and cores, with and without a GPU (simulated)."""

import pytest
import torch

from engines import device as device_module
from engines.device import ChoiceError, describe_device, device_notes, resolve_device, resolve_precision
from runtime import cores as cores_module
from runtime.cores import available_cores


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


def test_precision(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    cpu, cuda = torch.device("cpu"), torch.device("cuda", 0)
    assert resolve_precision("auto", cpu) == "fp32" and resolve_precision("auto", cuda) == "fp16"
    assert resolve_precision("bf16", cpu) == "bf16" and resolve_precision("fp32", cuda) == "fp32"
    with pytest.raises(ChoiceError, match="fp16 needs a GPU"):
        resolve_precision("fp16", cpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    with pytest.raises(ChoiceError, match="--precision bf16: this GPU computes none; use fp16"):
        resolve_precision("bf16", cuda)
    with pytest.raises(ChoiceError, match="--precision int8: use one of"):
        resolve_precision("int8", cpu)


@pytest.mark.parametrize("quota, cores", [("max 100000", 8), ("250000 100000", 2), ("50000 100000", 1), ("junk", 8)])
def test_cores_of_a_container(monkeypatch, tmp_path, quota, cores):
    (tmp_path / "cpu.max").write_text(quota + "\n")
    monkeypatch.setattr(cores_module.os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setattr(cores_module, "Path", lambda path: tmp_path / "cpu.max")
    assert available_cores() == cores


def test_notes(gpus, monkeypatch):
    """A GPU that can't be used is not passed over in silence, nor are more processes than GPUs."""
    gpus(0)
    monkeypatch.setattr(device_module.glob, "glob", lambda pattern: [])
    assert device_notes("auto", torch.device("cpu")) == [] and describe_device(torch.device("cpu")) == "the CPU"
    monkeypatch.setattr(device_module.glob, "glob", lambda pattern: ["/dev/nvidia0"])

    def init():
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040).\nPlease update")

    monkeypatch.setattr(torch.cuda, "init", init)
    [line] = device_notes("auto", torch.device("cpu"))
    assert "too old (found version 11040).); this runs on the CPU" in line and "\n" not in line
    assert device_notes("cpu", torch.device("cpu")) == []
    gpus(2)
    assert device_notes("auto", torch.device("cuda", 0), 2) == []
    assert device_notes("auto", torch.device("cuda", 1), 4) == [
        "note: 4 processes share 2 GPU(s): more than one on each makes nothing faster"
    ]
    assert "4 processes share 1 GPU(s)" in device_notes("cuda:1", torch.device("cuda", 1), 4)[0]
