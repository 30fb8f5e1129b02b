"""This process among those of a torchrun launch that train one model together; alone, every call is a no-op."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

from runtime.errors import InputError, TrainingError

_LOOK_SECONDS = 1

T = TypeVar("T")
_TIMEOUT = timedelta(minutes=30)  # a rank that is gone for longer hangs: the others end with an error


class Processes:
    """`rank` of `world_size`; `local_rank` on this machine. NCCL for tensors on a GPU, gloo for the others."""

    def __init__(self):
        self.rank = int(os.environ.get("RANK", 0))
        self.world_size = int(os.environ.get("WORLD_SIZE", 1))
        self.local_rank = int(os.environ.get("LOCAL_RANK", 0))
        if self.world_size > 1:
            threading.Thread(target=_stop_with_launcher, daemon=True).start()
            backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
            if torch.cuda.is_available():
                torch.cuda.set_device(self.local_rank % torch.cuda.device_count())
            try:
                dist.init_process_group(backend, timeout=_TIMEOUT)
            except ValueError as error:
                raise InputError(f"WORLD_SIZE is {self.world_size}, but: {error}. Use torchrun, or unset it") from error

    @contextlib.contextmanager
    def lost_is_told(self) -> Iterator[None]:
        """Raises TrainingError where another process has gone."""
        try:
            yield
        except RuntimeError as error:
            if self.world_size == 1 or not (isinstance(error, dist.DistError) or "gloo" in str(error)):
                raise
            raise TrainingError(
                f"process {self.rank}: another process of this launch is gone, its own message says why; "
                "--resume auto goes on"
            ) from error

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """Add up a tensor over all processes, in place, and return it. Without gradients."""
        if self.world_size > 1:
            dist.all_reduce(tensor)
        return tensor

    def gather(self, value: T) -> list[T]:
        """Every process's value, on every process, by rank."""
        if self.world_size == 1:
            return [value]
        values: list = [None] * self.world_size
        dist.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        """For all others to come here."""
        if self.world_size > 1:
            dist.barrier()

    def close(self) -> None:
        if self.world_size > 1:
            dist.destroy_process_group()


def _stop_with_launcher() -> None:
    """Ask this process to save and stop when torchrun is gone, however it went."""
    launcher = os.getppid()
    while os.getppid() == launcher:
        time.sleep(_LOOK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
