"""Worker processes: results, errors, deaths, and that none outlives the one that started it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runtime.errors import InputError
from runtime.workers import Crash, WorkerPool


def make_square():
    return square


def square(number):
    if number == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if number == "leave":
        os._exit(3)
    if number == "wrong":
        raise InputError("x: can't be used")
    if number == "defect":
        raise ZeroDivisionError("a defect")
    return number, number * number, os.getpid()


def make_nothing():
    raise InputError("no such device")


def make_dead():
    os._exit(9)


def test_every_item_once_by_a_bounded_number_of_processes():
    results = list(WorkerPool(make_square, 2).run(range(20)))
    assert sorted(result[:2] for result in results) == [(n, n * n) for n in range(20)]
    assert len({pid for _, _, pid in results} - {os.getpid()}) <= 2


def test_no_more_processes_than_items():
    results = list(WorkerPool(make_square, 8).run([5]))
    assert [result[:2] for result in results] == [(5, 25)]
    assert list(WorkerPool(make_square, 2).run([])) == []


def test_items_are_drawn_when_they_are_wanted():
    drawn = []

    def items():
        for number in range(10):
            drawn.append(number)
            yield number

    results = WorkerPool(make_square, 2).run(items())
    next(results)
    assert len(drawn) <= 4
    results.close()


def test_death_costs_the_item_only():
    results = list(WorkerPool(make_square, 2).run([1, "die", 2, "leave", 3, 4]))
    crashes = {result.item: result.reason for result in results if isinstance(result, Crash)}
    assert crashes["die"].startswith("the process that worked on it died (SIGKILL; the system may be out of memory")
    assert crashes["leave"] == "the process that worked on it died (exit code 3)"
    assert sorted(result[0] for result in results if not isinstance(result, Crash)) == [1, 2, 3, 4]


def test_errors_end_the_run():
    with pytest.raises(InputError, match="x: can't be used"):
        list(WorkerPool(make_square, 2).run(["wrong", 1, 2]))
    with pytest.raises(Exception, match="ZeroDivisionError: a defect"):
        list(WorkerPool(make_square, 2).run(["defect", 1]))
    with pytest.raises(InputError, match="no such device"):
        list(WorkerPool(make_nothing, 2).run([1]))
    with pytest.raises(Exception, match=r"a worker process died as it started \(exit code 9\)"):
        list(WorkerPool(make_dead, 2).run([1]))


def test_workers_end_with_their_parent(tmp_path):
    """However it went: here by SIGKILL, while they work."""
    script = tmp_path / "script.py"
    script.write_text(
        f"""
import os, time
from pathlib import Path
from runtime.workers import WorkerPool
def make():
    return work
def work(number):
    Path({str(tmp_path)!r}, str(os.getpid())).touch()
    time.sleep(60)
if __name__ == "__main__":
    list(WorkerPool(make, 2).run([1, 2]))
"""
    )
    process = subprocess.Popen([sys.executable, str(script)], env={**os.environ, "PYTHONPATH": os.getcwd()})

    def workers():
        return [path.name for path in tmp_path.iterdir() if path.name.isdecimal()]

    wait_for(lambda: len(workers()) == 2)
    process.kill()
    process.wait()
    wait_for(lambda: not any(is_running(pid) for pid in workers()))


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition, seconds=30):
    deadline = time.time() + seconds
    while not condition():
        assert time.time() < deadline
        time.sleep(0.02)
