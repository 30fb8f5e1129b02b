"""A queue whose items may be as large as clips."""

import threading
import time

import pytest

from inference.byte_queue import ByteQueue
from systems.sample import Stopped


def putting(queue, sizes):
    """A thread that puts items of these sizes, and the list of those that it got rid of."""
    done = []

    def put():
        for number, size in enumerate(sizes):
            queue.put(number, size)
            done.append(number)
        queue.end()

    thread = threading.Thread(target=put, daemon=True)
    thread.start()
    return thread, done


def settled(done):
    """How many were put, when no more come."""
    before = -1
    while len(done) != before:
        before = len(done)
        time.sleep(0.05)
    return before


@pytest.mark.parametrize(
    "items, most_bytes, wanted, size, held",
    [
        (100, 100, 2, 10, 10),  # bytes bound them
        (5, 100, 2, 10, 5),  # their number does
        (100, 100, 3, 1000, 3),  # what is wanted next is let in, however large
        (100, 0, 1, 20_000_000, 1),
    ],
)
def test_bounds(items, most_bytes, wanted, size, held):
    queue = ByteQueue(items=items, most_bytes=most_bytes, wanted=wanted)
    thread, done = putting(queue, [size] * 20)
    assert settled(done) == held
    assert [queue.get() for _ in range(4)] == [0, 1, 2, 3]
    assert settled(done) == held + 4
    assert [queue.get() for _ in range(16)] == list(range(4, 20)) and queue.get() is None and queue.get() is None
    thread.join()


def test_stopping_ends_all_waiting():
    queue = ByteQueue(items=1, most_bytes=1, wanted=1)
    queue.put("a", 1)
    errors = []

    def wait(action):
        try:
            action()
        except Stopped as error:
            errors.append(error)

    threads = [threading.Thread(target=wait, args=(lambda: queue.put("b", 1),))]
    empty = ByteQueue(items=1, most_bytes=1, wanted=1)
    threads.append(threading.Thread(target=wait, args=(empty.get,)))
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    queue.stop()
    empty.stop()
    for thread in threads:
        thread.join(5)
    assert len(errors) == 2
