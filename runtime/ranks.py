"""One list of work, shared by the processes of a torchrun launch: each takes the next item when it has room.

That is even in time, not in count. Rank 0 collects the results and is the only one to write. The counter and the
results travel through torch.distributed's key-value store.
"""

import contextlib
import pickle
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from runtime.errors import UserError
from runtime.launch import read_launch

T = TypeVar("T")
_POLL_SECONDS = 0.1
_STOP_SECONDS = 20
_TIMEOUT = timedelta(days=7)  # a rank may wait at the end for as long as another's last item takes


class LaunchError(UserError):
    """The environment names other processes and does not say how to reach them."""


class Ranks:
    """This process among the others: `rank` of `world_size`, `local_rank` of `local_world_size` on this machine.

    Without torchrun's environment variables it is alone, and nothing here touches the network.
    """

    def __init__(self):
        launch = read_launch()
        self.rank, self.world_size = launch.rank, launch.world_size
        self.local_rank, self.local_world_size = launch.local_rank, launch.local_world_size
        self._store = None
        self._stopping = threading.Event()
        if self.world_size > 1:
            import torch.distributed as dist  # takes seconds, and most runs are one process
            from torch.distributed.rendezvous import rendezvous

            try:
                store, rank, world_size = next(rendezvous("env://", timeout=_TIMEOUT))
            except ValueError as error:
                raise LaunchError(launch.unreachable(error)) from error
            self._dist = dist
            dist.init_process_group("gloo", store=store, rank=rank, world_size=world_size, timeout=_TIMEOUT)
            self._store = dist.PrefixStore("work", store)

    def broadcast(self, value: T) -> T:
        """Rank 0's value, on every rank."""
        if self.world_size == 1:
            return value
        box = [value]
        self._dist.broadcast_object_list(box, src=0)
        return box[0]

    def results(self, todo: Sequence[Any], run: Callable[[Iterator], Iterator[T]]) -> Iterator[T]:
        """Do `todo` together: `run` maps items to results, one for each, in any order. Rank 0 yields the results of
        all ranks as they come, the others yield nothing and return when everything is done."""
        if self.world_size == 1:
            yield from run(iter(todo))
        elif self.rank:
            for result in run(self._drawn(todo)):
                self._store.set(f"result/{self._store.add('sent', 1) - 1}", pickle.dumps(result))
            self._dist.barrier()
        else:
            yield from self._collect(todo, run)
            self._dist.barrier()

    def close(self) -> None:
        if self.world_size > 1:
            self._dist.destroy_process_group()

    def _drawn(self, todo: Sequence[Any]) -> Iterator[Any]:
        while not self._stopping.is_set() and (number := self._store.add("drawn", 1) - 1) < len(todo):
            yield todo[number]

    def _collect(self, todo: Sequence[Any], run: Callable[[Iterator], Iterator[T]]) -> Iterator[T]:
        own: queue.Queue[tuple[bool, Any]] = queue.Queue()

        def work() -> None:
            try:
                with contextlib.closing(run(self._drawn(todo))) as results:
                    for result in results:
                        own.put((True, result))
                        if self._stopping.is_set():
                            break
            except BaseException as error:  # noqa: BLE001  raised again by the thread that collects
                own.put((False, error))

        worker = threading.Thread(target=work, daemon=True)
        worker.start()
        try:
            yield from self._received(own, len(todo))
        finally:  # also when the one who takes the results gives up
            self._stopping.set()
            worker.join(_STOP_SECONDS)

    def _received(self, own: queue.Queue, count: int) -> Iterator[Any]:
        received = taken = 0
        while received < count:
            try:
                fine, result = own.get(timeout=_POLL_SECONDS)
                if not fine:
                    raise result
                received += 1
                yield result
            except queue.Empty:
                pass  # nothing of our own: look at what the others sent
            while self._store.check([f"result/{taken}"]):
                result = pickle.loads(self._store.get(f"result/{taken}"))
                self._store.delete_key(f"result/{taken}")
                taken += 1
                received += 1
                yield result
