"""How much memory there is, and a budget that threads share."""

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

MOST_IN_FLIGHT = 2**31


def available_memory() -> int:
    """Bytes of the machine's memory, cut to a container's limit (cgroup v2)."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        if limit != "max":
            memory = min(memory, int(limit))
    except (OSError, ValueError):
        return memory  # no cgroup v2 here
    return memory


def default_budget(processes: int = 1, *, on_gpu: bool = False) -> int:
    """Bytes that one of some processes on this machine may have in flight: an eighth of its memory, at most 2 GiB.

    With a GPU there is no such limit: it wants 32 frames at a time of many videos. (With 2 GiB, 4 of 16 threads could
    read 1080p at a time, and an H100 was half idle.)
    """
    eighth = available_memory() // (8 * processes)
    return eighth if on_gpu else min(eighth, MOST_IN_FLIGHT)


class MemoryBudget:
    """Bytes that threads may hold together. What is larger than all of it is held alone."""

    def __init__(self, limit: int, holders: int = 1):
        self.share = limit // holders  # of each of them, if all hold the same
        self._limit = limit
        self._held = 0
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def hold(self, amount: int) -> Iterator[None]:
        """Wait until there is room for `amount` bytes."""
        with self._changed:
            self._changed.wait_for(lambda: not self._held or self._held + amount <= self._limit)
            self._held += amount
        try:
            yield
        finally:
            with self._changed:
                self._held -= amount
                self._changed.notify_all()
