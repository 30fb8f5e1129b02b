"""One thread for a GPU, halves, failures in a line, how many workers."""

import contextlib
import gc
import os
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from engines.gpu import GpuThread, Graph, failures_are_told, in_halves, most_workers
from runtime.errors import DeviceError

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
ROOT = Path(__file__).resolve().parents[1]
FORBIDDEN = """
import os, torch
torch.set_float32_matmul_precision("high")
torch.backends.fp32_precision = "tf32"
torch.backends.cudnn.conv.fp32_precision = "tf32"
from engines.gpu import forbid_tf32
forbid_tf32()
backends = torch.backends
print(backends.cuda.matmul.fp32_precision, backends.cudnn.conv.fp32_precision, backends.cudnn.rnn.fp32_precision)
print(backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32, torch.get_float32_matmul_precision())
print(os.environ["NVIDIA_TF32_OVERRIDE"])
"""

IMPORTED = """
import importlib, pathlib, sys
import albumentations, cv2, facenet_pytorch, timm, torch, torchvision  # what these do is theirs
def touched(*_, **__):
    raise AssertionError("an import touches CUDA")
torch.cuda._lazy_init = torch.cuda.is_available = torch.cuda.device_count = touched
torch._C._cuda_init = torch._C._cuda_getDeviceCount = touched
folders = "runtime engines faces systems inference evaluation preprocessing training benchmarks".split()
files = [path for folder in folders for path in pathlib.Path(folder).rglob("*.py")] + list(pathlib.Path().glob("*.py"))
names = sorted(".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in files)
for name in names:
    importlib.import_module(name)
print(len(names), torch.cuda.is_initialized())
"""


def test_one_thread_makes_all_calls():
    call = GpuThread(CPU)
    threads = set()

    def caller():
        for _ in range(20):
            threads.add(call(threading.get_ident))

    callers = [threading.Thread(target=caller) for _ in range(4)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join()
    assert len(threads) == 1 and threads != {threading.get_ident()}
    with pytest.raises(ZeroDivisionError):
        call(lambda: 1 // 0)


def test_a_graph_keeps_what_it_reads(monkeypatch):
    """It replays addresses: weights that nobody else refers to would be gone, and others lie in their place."""
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: SimpleNamespace(replay=None))
    monkeypatch.setattr(torch.cuda, "graph", lambda *_, **__: contextlib.nullcontext())
    layer = torch.nn.Linear(1, 1)
    weights, calls = weakref.ref(layer), []
    stream = SimpleNamespace(synchronize=lambda: calls.append("waited"))
    graph = Graph(lambda layer=layer: layer(torch.zeros(1)), stream, (0, 0))
    del layer
    gc.collect()
    assert weights() is not None and calls == ["waited"] and graph.result.shape == (1,)


def test_halves():
    calls = []

    def work(items):
        calls.append(list(items))
        if len(items) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return [10 * item for item in items]

    assert in_halves(work, range(5), "use less") == [0, 10, 20, 30, 40]
    assert calls == [[0, 1, 2, 3, 4], [0, 1], [2, 3, 4], [2], [3, 4]]
    assert in_halves(work, [], "use less") == []


@pytest.mark.parametrize(
    "error, line",
    [
        (torch.AcceleratorError("CUDA error: out of memory\nmore"), "the GPU has too little free memory: use less"),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED"),
            "the GPU has too little free memory: use",
        ),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "the GPU failed .cuDNN error: CUDNN_STATUS_EX"),
        (torch.OutOfMemoryError("CUDA out of memory"), "the GPU has too little free memory: use less"),
        (torch.AcceleratorError("CUDA error: unspecified launch failure\nmore"), "the GPU failed .CUDA error: unspec"),
    ],
)
def test_failures_are_told(error, line):
    def work(_):
        raise error

    with pytest.raises(DeviceError, match=line) as told, failures_are_told("use less"):
        raise error
    assert "\n" not in str(told.value)
    with pytest.raises(DeviceError, match=line):
        in_halves(work, [1], "use less")


@pytest.mark.parametrize("gigabytes, processes, expected", [(80, 1, 8), (8, 1, 5), (8, 2, 2), (1, 1, 1), (80, 16, 3)])
def test_workers_of_a_gpu(monkeypatch, gigabytes, processes, expected):
    memory = SimpleNamespace(total_memory=gigabytes * 10**9)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: memory)
    assert most_workers(CUDA, processes) == expected


def test_no_tf32_whatever_the_environment_says():
    """As a process: the switches hold for all of it."""
    environment = {**os.environ, "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1", "NVIDIA_TF32_OVERRIDE": "1"}
    finished = subprocess.run(
        [sys.executable, "-c", FORBIDDEN], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert finished.stdout.split() == ["ieee"] * 3 + ["False", "False", "highest", "0"], finished.stderr


def test_no_import_touches_cuda():
    """Each process that does would take 500 MB of a GPU, and could not be forked."""
    finished = subprocess.run([sys.executable, "-c", IMPORTED], cwd=ROOT, capture_output=True, text=True)
    count, initialised = finished.stdout.split() or ("0", finished.stderr)
    assert int(count) > 200 and initialised == "False"
