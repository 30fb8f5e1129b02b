"""A queue between threads that is bounded in bytes."""

import threading
from collections import deque
from typing import Generic, TypeVar

from systems.sample import Stopped

Item = TypeVar("Item")


class ByteQueue(Generic[Item]):
    """Items in their order, at most `items`. `put` waits where they would have more than `most_bytes` together, unless
    they are fewer than `wanted`, as many as who takes them wants next. `stop` ends all waiting, by Stopped.
    """

    def __init__(self, *, items: int, most_bytes: int, wanted: int):
        self.stopping = threading.Event()
        self._most, self._most_bytes, self._wanted = items, most_bytes, wanted
        self._items: deque[tuple[Item, int]] = deque()
        self._bytes = 0
        self._ended = False
        self._changed = threading.Condition()

    def put(self, item: Item, size: int) -> None:
        """Raises Stopped."""
        with self._changed:
            self._wait_until(lambda: self._has_room(size))
            self._items.append((item, size))
            self._bytes += size
            self._changed.notify_all()

    def get(self) -> Item | None:
        """The next item; None when nothing is left and nothing will come."""
        with self._changed:
            self._wait_until(lambda: self._items or self._ended)
            if not self._items:
                return None
            item, size = self._items.popleft()
            self._bytes -= size
            self._changed.notify_all()
            return item

    def end(self) -> None:
        """Nothing more will be put."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def stop(self) -> None:
        """Whoever waits, or will, has waited long enough."""
        with self._changed:
            self.stopping.set()
            self._changed.notify_all()

    def _has_room(self, size: int) -> bool:
        count = len(self._items)
        return count < self._wanted or (count < self._most and self._bytes + size <= self._most_bytes)

    def _wait_until(self, predicate) -> None:
        self._changed.wait_for(lambda: self.stopping.is_set() or predicate())
        if self.stopping.is_set():
            raise Stopped
