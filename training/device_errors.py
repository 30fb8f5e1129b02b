"""What a device says when it can't go on, in one line."""

import contextlib
from collections.abc import Iterator

import torch

from runtime.errors import TrainingError

_NO_MEMORY = ("out of memory", "can't allocate memory", "_ALLOC_FAILED")
_BROKEN = ("CUDA error", "cuDNN error", "CUDNN_STATUS")


@contextlib.contextmanager
def device_errors_are_told(config: str) -> Iterator[None]:
    """Raises TrainingError where memory is too small for a batch, or a GPU has failed. `config` names the file."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError and torch.AcceleratorError among them
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(text in str(error) for text in _NO_MEMORY):
            raise TrainingError(
                f"out of memory ({reason}): lower optimizer.batch_size in {config}; as it is a setting of the run, "
                "--resume FILE goes on from a checkpoint's weights with --from-zero"
            ) from error
        if isinstance(error, torch.AcceleratorError) or any(text in str(error) for text in _BROKEN):
            raise TrainingError(
                f"the GPU failed ({reason}): this process can't compute on it any more; look at nvidia-smi and the "
                "system's log, and go on with --resume auto"
            ) from error
        raise
