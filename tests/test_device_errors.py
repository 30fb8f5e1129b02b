"""Memory that is too small and GPUs that fail, as PyTorch tells of them."""

import pytest
import torch

from runtime.errors import TrainingError
from training.device_errors import device_errors_are_told


@pytest.mark.parametrize(
    "error, message",
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB.\nMore"), r"out of memory \(CUDA out"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "out of memory"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), "out of memory"),
        (MemoryError(), r"out of memory \(MemoryError\)"),
        (torch.AcceleratorError("CUDA error: an illegal memory access was encountered\nCUDA kernel"), "the GPU failed"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "the GPU failed"),
    ],
)
def test_in_one_line(error, message):
    with pytest.raises(TrainingError, match=message) as raised, device_errors_are_told("configs/b7.json"):
        raise error
    text = str(raised.value)
    assert "\n" not in text and "--workers" not in text
    assert ("optimizer.batch_size in configs/b7.json" in text) == ("out of memory" in text)


@pytest.mark.parametrize("error", [RuntimeError("a defect"), ValueError("CUDA error")])
def test_defects_stay_what_they_are(error):
    with pytest.raises(type(error)) as raised, device_errors_are_told("configs/b7.json"):
        raise error
    assert raised.value is error
