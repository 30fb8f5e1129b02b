"""Processes that each work on one item at a time, and whose death costs only that item.

A decoder that crashes on a hostile file, or the system's out-of-memory killer, ends one process; the item it had is
reported and another process takes its place. Workers end by themselves as soon as the process that started them is
gone, however it went.
"""

import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import connection, forkserver
from multiprocessing.context import BaseContext
from typing import Any

from runtime.errors import UserError

_JOIN_SECONDS = 5
_READY = "ready"

Work = Callable[[Any], Any]


@dataclass(frozen=True, kw_only=True)
class Crash:
    """What comes instead of a result where the process died."""

    item: Any
    reason: str


def fork_server(preload: Sequence[str]) -> BaseContext:
    """Where processes come from: a server that has imported the modules `preload` once and is forked for each. Safe
    with CUDA and threads, unlike a fork of this process. The first call in a process decides what is imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)  # it has no other way to know it
    try:
        forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    return context


class WorkerPool:
    """`count` processes that run `make_work()` once and then `work(item)` for one item after the other.

    `make_work`, items and results are pickled. `work` must report what is wrong with an item in its result: an
    exception in it, or in `make_work`, ends the run and is raised by `run`, a UserError as it is. `preload` names
    modules that are imported once for all processes.
    """

    def __init__(self, make_work: Callable[[], Work], count: int, preload: Sequence[str] = ()):
        self.make_work = make_work
        self.count = count
        self._context = fork_server(preload)

    def run(self, items: Iterable[Any]) -> Iterator[Any]:
        """Yield the result of each item, or a Crash, as they come, in any order. Items are drawn when a process has
        nothing to do."""
        drawn = iter(items)
        workers: list[_Worker] = []
        try:
            while True:
                item = _END
                while len(workers) < self.count and (item := next(drawn, _END)) is not _END:
                    workers.append(_Worker(self._context, self.make_work, item))
                if not workers:
                    return
                for worker in _with_news(workers):
                    yield from self._advance(worker, workers, drawn)
        finally:
            for worker in workers:
                worker.stop()

    def _advance(self, worker: "_Worker", workers: list["_Worker"], drawn: Iterator[Any]) -> Iterator[Any]:
        """Take what a worker sent: that it is ready, a result, an error, or that it died."""
        try:
            message = worker.connection.recv()
        except (EOFError, ConnectionError):
            workers.remove(worker)  # `run` starts another for the next item
            if not worker.is_ready:
                raise UserError(f"a worker process died as it started ({worker.fate()})") from None
            yield Crash(item=worker.item, reason=f"the process that worked on it died ({worker.fate()})")
            return
        if isinstance(message, BaseException):
            raise message
        if not worker.is_ready:
            worker.is_ready = True
            return
        yield message
        item = next(drawn, _END)
        if item is _END:
            workers.remove(worker)
            worker.finish()
        else:
            worker.give(item)


_END = object()


class _Worker:
    """One process, seen from the one that started it."""

    def __init__(self, context, make_work: Callable[[], Work], item: Any):
        self.connection, theirs = context.Pipe()
        self.is_ready = False
        self.process = context.Process(target=_serve, args=(theirs, make_work), daemon=True)
        self.process.start()
        theirs.close()
        self.give(item)

    def give(self, item: Any) -> None:
        self.item = item
        try:
            self.connection.send(item)
        except ConnectionError:
            return  # it has died: `recv` finds out

    def fate(self) -> str:
        self.process.join(_JOIN_SECONDS)
        code = self.process.exitcode
        if code is not None and code < 0:
            killed = "; the system may be out of memory: use fewer --workers" if -code == signal.SIGKILL else ""
            return f"{signal.Signals(-code).name}{killed}"
        return f"exit code {code}"

    def finish(self) -> None:
        self.connection.close()
        self.process.join(_JOIN_SECONDS)

    def stop(self) -> None:
        self.process.terminate()
        self.finish()


def _with_news(workers: list[_Worker]) -> list[_Worker]:
    ready = connection.wait([worker.connection for worker in workers])
    return [worker for worker in workers if worker.connection in ready]


def _serve(ours: connection.Connection, make_work: Callable[[], Work]) -> None:
    """What a worker process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of the terminal: the first one decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_parent()
    try:
        work = make_work()
        ours.send(_READY)
        while True:
            item = ours.recv()
            ours.send(work(item))
    except (EOFError, ConnectionError):  # no more work
        return
    except BaseException as error:  # noqa: BLE001  raised again by `run`
        ours.send(error if isinstance(error, UserError) else _Defect("".join(traceback.format_exception(error))))


class _Defect(Exception):
    """An exception of a worker, with its traceback as text."""


def end_with_parent() -> None:
    """End this process as soon as the one that started it is gone, however it went. (The server that forks processes
    stays for as long as one of them.)"""

    def wait() -> None:
        connection.wait([multiprocessing.parent_process().sentinel])
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
