"""Where the threads of this process are, and how many cores they keep busy, while something runs.

    with Whereabouts() as seen:
        work()
    print(seen.told())

A thread is where the innermost of this project's functions in it is, whatever it has called: a library, the GPU, the
wait for Python's lock. Few busy cores beside many threads in functions that compute say that they wait for it.
"""

import os
import sys
import threading
from collections import Counter
from pathlib import Path
from types import FrameType

_ROOT = f"{Path(__file__).resolve().parents[1]}{os.sep}"
_SECONDS = 0.05  # from one look to the next: a look takes the lock
_MOST = 12  # places that are told


class Whereabouts:
    """Looks as long as its block runs. `looks`: how often it did; `places`: how many threads were at each, in all looks
    together; `cores`: user and system seconds a second."""

    def __init__(self):
        self.looks = 0
        self.places: Counter[str] = Counter()
        self.cores = 0.0, 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look_again, daemon=True)

    def __enter__(self) -> "Whereabouts":
        self._before = os.times()
        self._others = {threading.get_ident()}  # who waits for the block is of no interest
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._done.set()
        self._thread.join()
        after = os.times()
        seconds = after.elapsed - self._before.elapsed
        self.cores = tuple(
            (getattr(after, name) - getattr(self._before, name)) / seconds for name in ("user", "system")
        )

    def told(self) -> str:
        """In lines, the places with most threads first."""
        user, system = self.cores
        lines = [f"cores busy: {user:.1f}, and {system:.1f} in the system; threads, in the mean, in"]
        most = self.places.most_common(_MOST)
        return "\n".join([*lines, *(f"  {count / max(self.looks, 1):5.1f} {place}" for place, count in most)])

    def _look_again(self) -> None:
        self._others.add(threading.get_ident())
        while not self._done.wait(_SECONDS):
            self.looks += 1
            for number, frame in sys._current_frames().items():
                if number not in self._others and (place := _place_of(frame)):
                    self.places[place] += 1


def _place_of(frame: FrameType | None) -> str | None:
    """None for a thread in which nothing of this project runs."""
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(_ROOT) and "site-packages" not in code.co_filename:
            return f"{code.co_filename.removeprefix(_ROOT)} {code.co_qualname}"
        frame = frame.f_back
    return None
