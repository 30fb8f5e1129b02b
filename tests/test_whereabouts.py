"""Where threads are while something runs."""

import threading
import time

from benchmarks.whereabouts import Whereabouts


def wait_for(event):
    event.wait()


def count_until(event):
    while not event.is_set():
        sum(range(1000))


def test_threads_and_cores():
    """Two wait in a library, of which the function that called it is told; one computes. The one that looks on, and who
    began it all, are not told."""
    done = threading.Event()
    threads = [threading.Thread(target=target, args=(done,)) for target in (wait_for, wait_for, count_until)]
    for thread in threads:
        thread.start()
    with Whereabouts() as seen:
        while seen.looks < 10:
            time.sleep(0.01)
    done.set()
    for thread in threads:
        thread.join()
    waiting, counting = (f"tests/test_whereabouts.py {each.__name__}" for each in (wait_for, count_until))
    assert seen.places[waiting] == 2 * seen.looks and seen.places[counting] == seen.looks
    assert not any("test_threads_and_cores" in place or "Whereabouts" in place for place in seen.places)
    assert seen.cores[0] > 0
    lines = seen.told().splitlines()
    assert lines[0].startswith("cores busy: ") and f"    2.0 {waiting}" in lines and f"    1.0 {counting}" in lines
