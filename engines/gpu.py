"""Working on a GPU: one thread drives it, what does not fit is done in halves, failures are told in a line."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from runtime.errors import DeviceError

T, Item = TypeVar("T"), TypeVar("Item")
_WORKER_BYTES = 1600 * 10**6  # of a GPU's memory, for a process with a detector: context, libraries, activations
_NO_MEMORY = ("out of memory", "_ALLOC_FAILED")
_BROKEN = ("CUDA error", "cuDNN error", "CUDNN_STATUS")
_MOST_WORKERS = 8  # one GPU has nothing to do for more


class GpuThread:
    """The one thread that runs the calls that it is given, on a stream of its own, which goes before others.

    Each thread that uses cuDNN prepares every shape of convolution anew, which takes longer than the work. The small
    kernels of a detector would wait behind each of a classifier's, which has nothing to do without its faces.
    """

    def __init__(self, device: torch.device):
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="gpu", initializer=self._start, initargs=(device,))

    @staticmethod
    def _start(device: torch.device) -> None:
        torch.set_num_threads(1)
        if device.type == "cuda":
            torch.cuda.set_device(device)
            torch.cuda.set_stream(torch.cuda.Stream(device, priority=-1))

    def __call__(self, function: Callable[..., T], *args) -> T:
        """The function's result, when all calls before it are done."""
        return self._pool.submit(function, *args).result()


class Graph:
    """What `function` does on a GPU, recorded once; `replay` does it again, without Python's part of the work.

    The function reads tensors that stay where they are and returns one, `result`, that is written anew each time. It is
    kept, with all that it refers to: a graph knows addresses alone, and would read weights that are gone.
    Graphs of one `pool` share their memory: only one may run at a time. Nothing else may use the GPU meanwhile.
    """

    def __init__(self, function: Callable[[], torch.Tensor], stream: torch.cuda.Stream, pool: tuple[int, int]):
        with torch.cuda.stream(stream):
            for _ in range(2):  # what is prepared at the first calls must not be in the graph
                function()
        stream.synchronize()
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, pool=pool, stream=stream):
            self.result = function()
        self.replay = self._graph.replay
        self._function = function


class Lane:
    """Where graphs of one GPU run one after another: their stream, the memory that they share, and whose turn it is to
    give it work. On a CPU there are no streams. `full`: memory did not suffice for one of its graphs, and what that one
    took stays as long as the others, so that there are to be none."""

    def __init__(self, device: torch.device):
        on_gpu = device.type == "cuda"
        self.stream = torch.cuda.Stream(device) if on_gpu else None
        self.pool = torch.cuda.graph_pool_handle() if on_gpu else None
        self.turn = threading.Lock()
        self.full = False


class HostCopy:
    """A tensor on its way from a GPU, where later work may be queued by the time that it is read. (A plain copy would
    wait for that work too.)"""

    def __init__(self, tensor: torch.Tensor):
        self._copy = tensor.to("cpu", non_blocking=True, copy=True)  # from a GPU: into pinned memory
        self._arrived = None
        if tensor.is_cuda:
            self._arrived = torch.cuda.Event(blocking=True)  # who waits leaves the core to others
            self._arrived.record()

    def read(self) -> torch.Tensor:
        """On the CPU, when it has arrived."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._copy


@contextlib.contextmanager
def working_on(device: torch.device, stream: "torch.cuda.Stream | None") -> Iterator[None]:
    """Make a GPU and one of its streams this thread's current ones, and no gradients; no more than that on a CPU."""
    with torch.inference_mode():
        if device.type == "cuda":
            with torch.cuda.device(device), torch.cuda.stream(stream):
                yield
        else:
            yield


def staged(shape: Sequence[int], device: torch.device, dtype: torch.dtype = torch.uint8) -> torch.Tensor:
    """Memory on the host from which a GPU reads by itself."""
    return torch.empty(*shape, dtype=dtype, pin_memory=device.type == "cuda")


def is_no_memory(error: BaseException) -> bool:
    """Whether it says that a GPU's memory does not suffice. PyTorch's allocator has an error for it; cuBLAS, a graph's
    beginning and pinned memory have others."""
    told = isinstance(error, RuntimeError) and any(text in str(error) for text in _NO_MEMORY)
    return told or isinstance(error, torch.OutOfMemoryError)


def is_broken(error: BaseException) -> bool:
    """Whether it says that a GPU failed."""
    told = isinstance(error, RuntimeError) and any(text in str(error) for text in _BROKEN)
    return told or isinstance(error, torch.AcceleratorError)


@contextlib.contextmanager
def failures_are_told(remedy: str) -> Iterator[None]:
    """Raises DeviceError, with the remedy, where the GPU has too little memory, and where it fails. A failure stays:
    every later call would meet it too."""
    try:
        yield
    except RuntimeError as error:
        if is_no_memory(error):
            raise DeviceError(f"the GPU has too little free memory: {remedy}") from error
        if is_broken(error):
            first = str(error).splitlines()[0]
            raise DeviceError(
                f"the GPU failed ({first}): what is finished is kept; run the same command again, and check nvidia-smi"
            ) from error
        raise


def in_halves(work: Callable[[Sequence[Item]], list[T]], items: Sequence[Item], remedy: str) -> list[T]:
    """`work(items)`, a result for each, or of halves of them where the GPU has too little memory for all.

    Raises DeviceError, with the remedy, where there is too little for one.
    """
    with failures_are_told(remedy):
        try:
            return work(items)
        except RuntimeError as error:
            if len(items) < 2 or not is_no_memory(error):
                raise
    # not in the handler, whose traceback keeps what was allocated
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    middle = len(items) // 2
    return in_halves(work, items[:middle], remedy) + in_halves(work, items[middle:], remedy)


def most_workers(device: torch.device, processes: int) -> int:
    """How many processes with a detector fit on a GPU that so many `processes` of a launch share; at least one each."""
    memory = torch.cuda.get_device_properties(device).total_memory
    return max(1, min(_MOST_WORKERS, memory // _WORKER_BYTES // processes))


def forbid_tf32() -> None:
    """fp32 is fp32 on a GPU from now on, whatever the environment says: by PyTorch's own choice convolutions take TF32,
    which has 10 bits of each number: boxes move by pixels and scores by per cents. To be called before anything is
    computed there.

    The old switches go first: PyTorch refuses to say what holds where the new ones alone were set after them.
    """
    os.environ["NVIDIA_TF32_OVERRIDE"] = "0"  # which cuBLAS and cuDNN read, and obey before PyTorch
    torch.set_float32_matmul_precision("highest")
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    torch.backends.cudnn.conv.fp32_precision = "ieee"
    torch.backends.cudnn.rnn.fp32_precision = "ieee"
