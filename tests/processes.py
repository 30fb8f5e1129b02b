"""Commands of this project as processes, by the names of `subprocess`, forked from one that has imported their
libraries: importing these anew takes each command seconds. For tests of what a process does and how it ends, not of how
Python starts: those use `subprocess`.
"""

import atexit
import functools
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import torch

from tests import process_client

PIPE, STDOUT, DEVNULL = subprocess.PIPE, subprocess.STDOUT, subprocess.DEVNULL
_HERE = Path(__file__).resolve().parent
_THREADS = torch.get_num_threads()  # before a test changes it
_CAN_FORK = hasattr(os, "pidfd_open")  # on Linux; elsewhere each process starts by itself


@functools.cache
def _server() -> Path:
    """Starts the server of this process; a folder with its `socket`, with `python`, which has it fork, and with links
    to the repository."""
    folder = Path(tempfile.mkdtemp(prefix="processes"))
    atexit.register(shutil.rmtree, folder)
    (folder / "repository").mkdir()
    for path in _HERE.parent.iterdir():
        if not path.name.startswith("."):  # the scripts would take the Python of .venv
            (folder / "repository" / path.name).symlink_to(path)
    python, lines = folder / "python", ["#!/bin/sh"]
    if _CAN_FORK:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environment.setdefault("OMP_NUM_THREADS", "1")  # or NumPy's BLAS starts threads
        command = [sys.executable, str(_HERE / "process_server.py"), str(folder / "socket"), str(_THREADS)]
        server = subprocess.Popen(command, stdin=PIPE, stdout=PIPE, env=environment)
        atexit.register(server.communicate)  # its standard input ends, and so does it
        if not server.stdout.readline():
            raise ChildProcessError(f"the server that forks the tests' processes ended with {server.wait()}")
        client = f"{_HERE / 'process_client.py'} {folder / 'socket'}"
        lines += [
            f'case "$*" in *multiprocessing.resource_tracker*) exec {sys.executable} "$@" ;; esac  # imports little',
            f'exec {sys.executable} -IS {client} "$@"',
        ]
    else:
        lines += [f'exec {sys.executable} "$@"']
    python.write_text("\n".join([*lines, ""]))
    python.chmod(0o755)
    return folder


def python() -> Path:
    """What shell scripts, torchrun and multiprocessing start as Python. It stands for the process: where it is killed,
    the process is killed a moment later."""
    return _server() / "python"


def script_environment(**more: str) -> dict[str, str]:
    """That of shell scripts: they find `python()` where the folder that they lie in has no .venv."""
    return {**os.environ, "PATH": f"{_server()}{os.pathsep}{os.environ['PATH']}", **more}


def run_script(
    name: str, *words: object, cwd: str | Path | None = None, **environment: str
) -> subprocess.CompletedProcess:
    """A shell script of the repository, with `python()`; what it prints is text."""
    command = [str(_server() / "repository" / name), *map(str, words)]
    environment = script_environment(**environment)
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment)


class Popen:
    """`python` with words, as a process: `args` begins with `sys.executable`. What torchrun starts is forked too."""

    def __init__(
        self,
        args: Sequence[str | Path],
        *,
        stdout: int | IO | None = None,
        stderr: int | IO | None = None,
        text: bool = False,
        cwd: str | Path | None = None,
        env: Mapping[str, str] | None = None,
    ):
        assert args[0] == sys.executable
        self.args = args
        self.returncode: int | None = None
        self._given: list[int] = []  # descriptors to be closed here once the process has them
        mode = "r" if text else "rb"
        self.stdout, output = self._stream(stdout, 1, mode)
        self.stderr, errors = (None, output) if stderr == STDOUT else self._stream(stderr, 2, mode)
        try:
            self._connection, self.pid = process_client.start(
                str(_server() / "socket"),
                [str(word) for word in args[1:]],
                {0: 0, 1: output, 2: errors},
                cwd=os.fspath(cwd or os.getcwd()),
                environment={"PYTHON_EXEC": str(python()), **(os.environ if env is None else env)},
            )
        finally:
            for descriptor in self._given:
                os.close(descriptor)

    def _stream(self, wanted: int | IO | None, inherited: int, mode: str) -> tuple[IO | None, int]:
        """What is read here, and the descriptor that the process writes to."""
        if wanted == PIPE:
            reading, writing = os.pipe()
            self._given.append(writing)
            return open(reading, mode), writing
        if wanted == DEVNULL:
            self._given.append(os.open(os.devnull, os.O_WRONLY))
            return None, self._given[-1]
        return None, inherited if wanted is None else wanted.fileno()

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._connection], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._connection], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout)
            self.returncode = process_client.receive(self._connection)
            self._connection.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple:
        """Read all that is still to come; (standard output, errors), None for each that is no pipe."""
        read: dict[IO | None, str | bytes | None] = {None: None}
        streams = [stream for stream in (self.stdout, self.stderr) if stream]
        readers = [
            threading.Thread(target=lambda stream=stream: read.update({stream: stream.read()}), daemon=True)
            for stream in streams
        ]
        for reader in readers:
            reader.start()
        self.wait(timeout)
        for reader, stream in zip(readers, streams, strict=True):
            reader.join()
            stream.close()
        return read[self.stdout], read[self.stderr]


def run(
    args: Sequence[str | Path],
    *,
    capture_output: bool = False,
    check: bool = False,
    timeout: float | None = None,
    **options: Any,
) -> subprocess.CompletedProcess:
    if capture_output:
        options |= {"stdout": PIPE, "stderr": PIPE}
    process = Popen(args, **options)
    try:
        output, errors = process.communicate(timeout)
    except BaseException:
        process.kill()
        raise
    finished = subprocess.CompletedProcess(args, process.returncode, output, errors)
    if check:
        finished.check_returncode()
    return finished


if not _CAN_FORK:
    Popen, run = subprocess.Popen, subprocess.run
