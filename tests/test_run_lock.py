"""Two trainings of one name, and lock files that are something else."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.errors import OutputError
from training.run_lock import run_lock

ROOT = Path(__file__).resolve().parents[1]
HOLD = """
import sys, time
from pathlib import Path
from training.run_lock import run_lock
with run_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(100)
"""


def test_one_at_a_time(tmp_path):
    path = tmp_path / "lock"
    with run_lock(path):
        with pytest.raises(OutputError, match=r"another training writes.*--prefix or --output-dir"), run_lock(path):
            pass
        assert path.exists()
    assert os.listdir(tmp_path) == []
    with run_lock(path):
        pass


def test_another_process_and_its_death(tmp_path):
    path = tmp_path / "lock"
    process = subprocess.Popen([sys.executable, "-c", HOLD, path], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    with pytest.raises(OutputError, match="another training"), run_lock(path):
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert path.exists()
    with run_lock(path):
        pass
    assert not path.exists()


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="lock: is a link"), run_lock(tmp_path / "lock"):
        pass
    assert os.listdir(tmp_path) == ["lock"]


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder", "none/lock", "x" * 300):
        with pytest.raises(OutputError) as raised, run_lock(tmp_path / name):
            pass
        assert name in str(raised.value)


def test_a_file_that_was_removed_by_its_holder_is_not_taken(tmp_path, monkeypatch):
    """Between opening and locking: another one may have made and locked a new file of the name."""
    path, lock = tmp_path / "lock", fcntl.flock
    opened = []

    def remove_and_lock(descriptor, how):
        if not opened:
            path.unlink()
        opened.append(os.fstat(descriptor).st_ino)
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", remove_and_lock)
    with run_lock(path):
        assert len(opened) == 2 and path.stat().st_ino == opened[1]


def test_without_locks(tmp_path, monkeypatch, capsys):
    def refuse(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with run_lock(tmp_path / "lock"):
        pass
    assert "can't be locked (Function not implemented); see to it that no two trainings" in capsys.readouterr().err
