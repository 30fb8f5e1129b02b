"""Processes that are forked do and end as those that Python starts."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import process_client, processes

HERE = Path(__file__).resolve().parent

TOLD = """
import json, os, sys
print(json.dumps([__name__, sys.argv, os.getcwd(), sys.path[0], os.environ.get("TOLD"), os.environ.get("HOME")]))
print("as an error", file=sys.stderr)
sys.stdout.flush()
os.system("echo by a shell")
"""
WAITS = "import time; print('ready', flush=True); time.sleep(60)"


@pytest.fixture(autouse=True)
def can_fork():
    if not hasattr(os, "pidfd_open"):
        pytest.skip("processes are not forked here")


def both(*words, **options):
    """What a started and a forked process of the same words gave."""
    command = [sys.executable, *map(str, words)]
    return [module.run(command, capture_output=True, text=True, **options) for module in (subprocess, processes)]


@pytest.mark.parametrize("how", ["script", "module", "code"])
def test_what_a_process_is_told(tmp_path, how):
    (tmp_path / "told.py").write_text(TOLD)
    words = {"script": ("-u", tmp_path / "told.py"), "module": ("-m", "told"), "code": ("-c", TOLD)}[how]
    environment = {"TOLD": "x", "PATH": os.environ["PATH"]}
    started, forked = both(*words, "a b", "--flag", cwd=tmp_path, env=environment)
    assert (forked.returncode, forked.stdout, forked.stderr) == (started.returncode, started.stdout, started.stderr)
    assert forked.stdout.startswith('["__main__", ["') and forked.stdout.endswith('"x", null]\nby a shell\n')


@pytest.mark.parametrize(
    "code",
    [
        "import sys; sys.exit(3)",
        "import sys; sys.exit('bad')",
        "1 / 0",
        "import os; os.kill(os.getpid(), 9)",
        "import threading, time; threading.Thread(target=lambda: (time.sleep(0.2), print('late'))).start()",
        "import atexit; atexit.register(print, 'left')",
    ],
)
def test_how_a_process_ends(code):
    started, forked = both("-c", code)
    assert (forked.returncode, forked.stdout) == (started.returncode, started.stdout)
    assert forked.stderr.splitlines()[-1:] == started.stderr.splitlines()[-1:]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_signals(number):
    process = processes.Popen([sys.executable, "-c", WAITS], stdout=processes.PIPE, stderr=processes.PIPE, text=True)
    assert process.stdout.readline() == "ready\n" and process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    process.send_signal(number)
    _, errors = process.communicate(30)
    assert process.returncode == process.poll() == -number and not os.path.exists(f"/proc/{process.pid}")
    assert ("KeyboardInterrupt" in errors) == (number == signal.SIGINT)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_signals_to_what_stands_for_a_process(number):
    """As a shell script or torchrun would send them."""
    code = f"import os; print(os.getpid(), flush=True); {WAITS}"
    process = subprocess.Popen([processes.python(), "-c", code], stdout=subprocess.PIPE, text=True)
    forked = int(process.stdout.readline())
    process.send_signal(number)
    assert process.wait(30) == -number
    process.stdout.close()
    deadline = time.monotonic() + 30
    while os.path.exists(f"/proc/{forked}"):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_threads_of_openmp():
    command = [sys.executable, "-c", "import torch; print(torch.get_num_threads())"]
    for threads in ("1", "2"):
        environment = {**os.environ, "OMP_NUM_THREADS": threads}
        assert processes.run(command, capture_output=True, text=True, env=environment).stdout == f"{threads}\n"


@pytest.mark.parametrize("has_thread", [False, True])
def test_a_library_that_starts_a_thread(tmp_path, has_thread):
    """What is forked does not go on without the thread, but begins anew."""
    thread = "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()\n" * has_thread
    code = (
        f"{thread}import importlib, runpy, sys\n"
        "importlib.import_module = lambda name: sys.modules.setdefault('library', sys)\n"  # which takes no time
        "sys.argv = sys.argv[1:]\nrunpy.run_path(sys.argv[0], run_name='__main__')"
    )
    words = [sys.executable, "-c", code, HERE / "process_server.py", tmp_path / "socket", "1"]
    environment = {**os.environ, "PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"}
    told = "import os, sys; print('library' in sys.modules, os.getcwd(), os.environ['TOLD'])"
    with (
        subprocess.Popen([*map(str, words)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as server,
        open(tmp_path / "output", "w+") as output,
    ):
        assert server.stdout.readline() == b"ready\n"
        connection, _ = process_client.start(
            str(tmp_path / "socket"),
            ["-c", told],
            {0: 0, 1: output.fileno(), 2: 2},
            cwd=str(tmp_path),
            environment={**os.environ, "TOLD": "x"},
        )
        assert process_client.receive(connection) == 0
        connection.close()
        server.stdin.close()
        output.seek(0)
        assert output.read() == f"{not has_thread} {tmp_path} x\n"
