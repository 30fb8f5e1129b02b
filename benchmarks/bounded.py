"""A call in a forked process that can't take the machine with it: its memory and time are limited and measured."""

import os
import pickle
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_ROOM = 2 * 2**30  # of addresses beyond the limit of memory: what is only reserved costs nothing


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a call: `result` is what it returned, None where it did not; `exit_code` is 0 then, 1 after an
    exception, whose traceback is part of `output`, or minus a signal's number. `grown` is the most memory, in bytes,
    that the process took beyond its first."""

    result: object
    exit_code: int
    output: str
    grown: int
    seconds: float


def bounded(work: Callable[[], object], *, seconds: float, most_bytes: int) -> Outcome:
    """Call `work` in a copy of this process, which is killed after so many seconds, with all that it started. Beyond
    `most_bytes`, and some room, its allocations fail."""
    reader, writer = os.pipe()
    started = time.monotonic()
    with tempfile.TemporaryFile() as output:
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if not child:
            _work(work, writer, output.fileno(), most_bytes)
        os.close(writer)
        answer = b""
        with open(reader, "rb", buffering=0) as pipe:
            while (left := started + seconds - time.monotonic()) > 0 and select.select([pipe], [], [], left)[0]:
                part = pipe.read(1 << 16)
                if not part:
                    break
                answer += part
            else:
                os.killpg(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        output.seek(0)
        text = output.read().decode(errors="replace")
    result, grown = pickle.loads(answer) if answer else (None, 0)
    return Outcome(
        result=result,
        exit_code=os.waitstatus_to_exitcode(status),
        output=text,
        grown=grown,
        seconds=time.monotonic() - started,
    )


def _work(work: Callable[[], object], writer: int, output: int, most_bytes: int) -> None:
    """In the child, which never returns."""
    exit_code, result = 1, None
    try:
        os.setpgid(0, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        first = _resident()
        limit = _addresses() + most_bytes + _ROOM
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        result = work()
        exit_code = 0
    except BaseException:  # noqa: BLE001  whatever it is, the caller sees it
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        os.write(writer, pickle.dumps((result, max(most - first, 0))))
        os._exit(exit_code)


def _addresses() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
