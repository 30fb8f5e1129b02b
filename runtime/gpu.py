"""Working on a GPU: one thread drives it, what does not fit is done in halves, failures are told in a line."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from runtime.errors import DeviceError

T, Item = TypeVar("T"), TypeVar("Item")


class GpuThread:
    """The one thread that runs the calls that it is given, on a stream of its own.

    Each thread that uses cuDNN prepares every shape of convolution anew, which takes longer than the work.
    """

    def __init__(self, device: torch.device):
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="gpu", initializer=self._start, initargs=(device,))

    @staticmethod
    def _start(device: torch.device) -> None:
        torch.set_num_threads(1)
        if device.type == "cuda":
            torch.cuda.set_device(device)
            torch.cuda.set_stream(torch.cuda.Stream(device))

    def __call__(self, function: Callable[..., T], *args) -> T:
        """The function's result, when all calls before it are done."""
        return self._pool.submit(function, *args).result()


@contextlib.contextmanager
def failures_are_told() -> Iterator[None]:
    """Raises DeviceError where the GPU itself fails. Such an error stays: every later call would meet it too."""
    try:
        yield
    except torch.AcceleratorError as error:
        first = str(error).splitlines()[0]
        raise DeviceError(
            f"the GPU failed ({first}): what is finished is kept; run the same command again, and check nvidia-smi"
        ) from error


def in_halves(work: Callable[[Sequence[Item]], list[T]], items: Sequence[Item], remedy: str) -> list[T]:
    """`work(items)`, a result for each, or of halves of them where the GPU has too little memory for all.

    Raises DeviceError, with the remedy, where there is too little for one.
    """
    with failures_are_told():
        try:
            return work(items)
        except torch.OutOfMemoryError as error:
            if len(items) < 2:
                raise DeviceError(f"the GPU has too little free memory: {remedy}") from error
    # not in the handler, whose traceback keeps what was allocated
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    middle = len(items) // 2
    return in_halves(work, items[:middle], remedy) + in_halves(work, items[middle:], remedy)


def forbid_tf32() -> None:
    """fp32 is fp32, whatever the environment says: 10 bits of mantissa move boxes by pixels and scores by per cents."""
    os.environ["NVIDIA_TF32_OVERRIDE"] = "0"  # read by cuBLAS and cuDNN when they are first used
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
