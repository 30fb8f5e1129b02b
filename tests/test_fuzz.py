"""A damaged file of every kind through the commands, and what the script takes for a finding."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.bounded import Outcome
from tests import fuzz_damages
from tests.data import files

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = [sys.executable, "-m", "tests.fuzz"]


@pytest.mark.slow
def test_a_case_of_each_kind():
    # in a process of its own: threads that compute here would not be in its copies
    done = subprocess.run([*SCRIPT, "--count", "28", "--seed", "0"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    table = done.stdout.splitlines()
    assert len(table) == 29 and table[0].split()[:2] == ["damaged", "cases"]
    assert all(line.split()[1] == "1" and line.split()[4] == "0" for line in table[1:])


def outcome(**changes):
    return Outcome(**{"result": 0, "exit_code": 0, "output": "done\n", "grown": 10**6, "seconds": 1.0, **changes})


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({}, None),
        ({"result": 1, "output": "error: x.json: is not JSON\n"}, None),
        ({"result": 1, "output": "  failed: 004: damaged\n"}, None),
        ({"result": 1}, "nothing says why"),
        ({"result": 2}, "returned 2"),
        ({"output": "error: x\n"}, "1 lines with an error and exit code 0"),
        ({"result": 1, "output": "error: x\nerror: y\n"}, "2 lines with an error"),
        ({"result": 1, "output": "error: " + "x" * 10**4}, "more than 5000 characters"),
        ({"output": "Traceback (most recent call last):\n"}, "a traceback"),
        ({"grown": 3 * 10**9}, "3.0 GB of memory"),
        ({"result": None, "exit_code": -signal.SIGKILL}, "killed after 1 s"),
        ({"result": None, "exit_code": -signal.SIGSEGV}, "exit code -11"),
    ],
)
def test_what_is_a_finding(changes, expected):
    from tests.fuzz import findings_of  # imports all commands

    found = findings_of(outcome(**changes))
    assert expected in found[0] if expected else found == []


BOUNDED = """
import time
from benchmarks.bounded import bounded
def write():
    print("said")
    return (b"1" * 10**8)[0]
fine = bounded(write, seconds=30, most_bytes=10**9)
assert (fine.result, fine.exit_code, fine.output) == (49, 0, "said\\n") and fine.grown > 9 * 10**7, fine
large = bounded(lambda: bytearray(2**34), seconds=30, most_bytes=10**8)
assert large.exit_code == 1 and "MemoryError" in large.output and large.grown < 10**8, large
slow = bounded(lambda: time.sleep(60), seconds=0.2, most_bytes=10**9)
assert slow.exit_code == -9 and slow.seconds < 10 and slow.result is None, slow
"""


def test_bounded():
    """In a process of its own: others' allocators keep memory, and a call that gets some of it does not grow."""
    finished = subprocess.run([sys.executable, "-c", BOUNDED], cwd=ROOT, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr


def small_files(folder):
    texts = {
        "a.json": '{"a": [1, "b", null], "c": {"d": 0.5}}',
        "a.csv": "filename,label\na.mp4,1\n",
        "a.journal": '{"a": 1}\n',
    }
    folder.mkdir(parents=True)
    for name, text in texts.items():
        (folder / name).write_text(text)
    (folder / "a.png").write_bytes(fuzz_damages._png(3, 3, 3))
    np.save(folder / "a.npy", np.zeros((5, 2), np.int16))
    return folder


@pytest.mark.parametrize("kind", ["json", "csv", "journal", "png", "npy"])
def test_damages_reach_one_file_alone(tmp_path, kind):
    """All of them; the folder beside it stays as it is, whatever leads there."""
    canary = small_files(tmp_path / "canary")
    before = files(canary)
    large = {fuzz_damages.a_large_picture, fuzz_damages.a_long_line}
    for number, damage in enumerate({*fuzz_damages.ANY, *fuzz_damages.KINDS[kind]} - large):
        copy = small_files(tmp_path / str(number) / "copy")
        damage(copy / f"a.{kind}", canary / f"a.{kind}", np.random.default_rng(number))
    assert files(canary) == before


def test_the_same_seed_draws_the_same():
    drawn = [[fuzz_damages.damage_of("json", np.random.default_rng((seed, 5))) for seed in range(9)] for _ in range(2)]
    assert drawn[0] == drawn[1] and len(set(drawn[0])) > 3
