"""This process among those of a torchrun launch that train one model together; alone, every call is a no-op."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from runtime.errors import InputError, TrainingError
from runtime.launch import read_launch

_LOOK_SECONDS = 1
_GRACE_SECONDS = 20  # for a process that sees by itself that another one is gone
_FAILED = "failed"

T = TypeVar("T")
_REACH_TIMEOUT = timedelta(minutes=1)
_TIMEOUT = timedelta(minutes=30)  # a rank that is gone for longer hangs: the others end with an error


class Processes:
    """`rank` of `world_size`; `local_rank` on this machine. NCCL for tensors on a GPU, gloo for the others."""

    def __init__(self):
        launch = read_launch()
        self.rank, self.world_size, self.local_rank = launch.rank, launch.world_size, launch.local_rank
        self.is_launched = launch.is_torchruns
        self._closed = threading.Event()
        self._store: dist.Store | None = None
        if self.world_size > 1:
            threading.Thread(target=_stop_with_launcher, daemon=True).start()
            backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
            if torch.cuda.is_available():
                torch.cuda.set_device(self.local_rank % torch.cuda.device_count())
            # torchrun's own store is there before its processes are: where it can't be reached, torchrun has gone
            is_there = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
            try:
                store, _, _ = next(rendezvous("env://", timeout=_REACH_TIMEOUT if is_there else _TIMEOUT))
                store.set_timeout(_TIMEOUT)
                dist.init_process_group(
                    backend, store=store, rank=self.rank, world_size=self.world_size, timeout=_TIMEOUT
                )
            except ValueError as error:
                raise InputError(launch.unreachable(error)) from error
            except dist.DistError as error:
                raise TrainingError(
                    f"process {self.rank}: the others of this launch can't be reached ({str(error).splitlines()[0]}); "
                    "start them all anew: --resume auto goes on"
                ) from error
            self._store = dist.PrefixStore("processes", store.clone())  # that another thread may use
            threading.Thread(target=self._end_with_others, daemon=True).start()

    @contextlib.contextmanager
    def lost_is_told(self) -> Iterator[None]:
        """Raises TrainingError where another process has gone. What is raised here ends the others too, which would
        wait for this process in their next exchange."""
        try:
            yield
        except BaseException as error:
            self._tell_others()
            is_loss = isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))
            if self.world_size > 1 and is_loss:
                raise TrainingError(self._loss) from error
            raise

    @property
    def _loss(self) -> str:
        return (
            f"process {self.rank}: another process of this launch is gone, its own message says why; "
            "--resume auto goes on"
        )

    def _tell_others(self) -> None:
        if self._store is not None:
            with contextlib.suppress(RuntimeError):  # whoever keeps the store has gone, which the others see too
                self._store.set(_FAILED, str(self.rank))

    def _end_with_others(self, grace: float = _GRACE_SECONDS) -> None:
        """End this process when another one has failed and its own error does not: NCCL waits for it, and can't be
        interrupted."""
        failed = False
        while not failed and not self._closed.wait(_LOOK_SECONDS):
            try:
                failed = self._store.check([_FAILED])
            except RuntimeError:
                failed = True
        if failed and not self._closed.wait(grace):
            print(f"error: {self._loss}", file=sys.stderr, flush=True)
            os._exit(1)

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
        self._closed.set()
        if self.world_size > 1:
            dist.destroy_process_group()


def _stop_with_launcher() -> None:
    """Ask this process to save and stop when torchrun is gone, however it went."""
    launcher = os.getppid()
    while os.getppid() == launcher:
        time.sleep(_LOOK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
