"""What a device says when it can't go on, in one line."""

import contextlib
from collections.abc import Iterator

from engines.gpu import is_broken, is_no_memory
from runtime.errors import TrainingError

_NO_HOST_MEMORY = "can't allocate memory"


@contextlib.contextmanager
def device_errors_are_told(config: str) -> Iterator[None]:
    """Raises TrainingError where memory is too small for a batch, or a GPU has failed. `config` names the file."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError and torch.AcceleratorError among them
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if isinstance(error, MemoryError) or is_no_memory(error) or _NO_HOST_MEMORY in str(error):
            raise TrainingError(
                f"out of memory ({reason}): lower optimizer.batch_size in {config}; as it is a setting of the run, "
                "--resume FILE goes on from a checkpoint's weights with --from-zero"
            ) from error
        if is_broken(error):
            raise TrainingError(
                f"the GPU failed ({reason}): this process can't compute on it any more; look at nvidia-smi and the "
                "system's log, and go on with --resume auto"
            ) from error
        raise
