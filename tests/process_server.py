"""A process that has imported what this project's commands take seconds to import, and is forked for each command that
a test runs. Started by `processes.py`; it ends when its standard input does.

    python tests/process_server.py SOCKET THREADS

THREADS is what PyTorch takes for itself where OMP_NUM_THREADS says nothing: this process has one, and what it forks as
many as a process of its own would have, so that sums come out the same.

No thread may run in it, as a fork takes one along: it computes nothing, and leaves out OpenVINO, whose import starts
one. Where another library starts one, as was seen on a machine with a GPU, what is forked begins anew, as Python does.
Of this project it imports nothing: each command does that for itself.
"""

import atexit
import contextlib
import fcntl
import gc
import importlib
import json
import multiprocessing
import os
import runpy
import select
import signal
import socket
import sys
import threading
from pathlib import Path

from process_client import LONGEST

LIBRARIES = (
    *("albumentations", "av", "cv2", "facenet_pytorch", "matplotlib.pyplot", "numpy", "pandas", "PIL.Image"),
    *("pydantic", "pytest", "scipy.ndimage", "scipy.optimize", "skimage.metrics", "sklearn.metrics", "timm", "torch"),
    *("torch.distributed.launcher.api", "torch.utils.tensorboard", "torchvision", "tqdm"),
)
_MOST = 200  # descriptors of a request; it has lower ones of its own


def serve(path: str) -> dict:
    """Fork for each request, in which it returns; the libraries are imported for the first. Each has a keeper between,
    which waits for it and tells its exit code."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(path)
    listener.listen()
    print("ready", flush=True)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests, which end this
    keepers: set[int] = set()
    is_alone = True
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in ready:
            sys.exit()
        connection, _ = listener.accept()
        message, descriptors, _, _ = socket.recv_fds(connection, LONGEST, _MOST)
        if not keepers:
            is_alone = prepare()
        keepers = {keeper for keeper in keepers if os.waitpid(keeper, os.WNOHANG)[0] == 0}
        keeper = os.fork()
        if keeper == 0:
            listener.close()
            return keep(connection, {**json.loads(message), "begins_anew": not is_alone}, descriptors)
        keepers.add(keeper)
        connection.close()
        for descriptor in descriptors:
            os.close(descriptor)


def prepare() -> bool:
    """Import the libraries; whether there is still one thread alone."""
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # it would ask the network for a newer version
    for name in LIBRARIES:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # or a collection in a process that was forked would copy all pages
    return len(os.listdir("/proc/self/task")) == 1


def keep(connection: socket.socket, request: dict, descriptors: list[int]) -> dict:
    """Fork once more; returns the request in the process that is forked."""
    process = os.fork()
    if process == 0:
        connection.close()
        moved = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, 2 * _MOST) for descriptor in descriptors]
        for descriptor in descriptors:
            os.close(descriptor)
        for number, descriptor in zip(request["numbers"], moved, strict=True):
            os.dup2(descriptor, number)
            os.close(descriptor)
        return request
    for descriptor in (0, 1, 2, *descriptors):
        os.close(descriptor)  # or who waits for the end of a pipe would wait for this process too
    connection.send(str(process).encode())
    ended = os.pidfd_open(process)
    ready, _, _ = select.select([ended, connection], [], [])
    if ended not in ready and request["ends_with_client"]:
        os.kill(process, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    with contextlib.suppress(ConnectionError):  # nobody waits for it
        connection.send(str(code).encode())
    os._exit(0)


def open_standard_streams() -> None:
    """As Python does when it starts; those that are there know of what the server had, such as that it could seek."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        before = getattr(sys, name)
        buffering = 1 if name == "stderr" else -1  # line by line
        how = {"encoding": before.encoding, "errors": before.errors, "closefd": False}
        stream = open(number, mode, buffering, **how)  # noqa: SIM115  it stays open
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def run(words: list[str], cwd: str, environment: dict[str, str], begins_anew: bool) -> None:
    """What `python words` does in that folder and environment."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if begins_anew:
        os.chdir(cwd)
        os.execve(sys.executable, [sys.executable, *words], environment)
    multiprocessing.set_executable(str(Path(sys.argv[1]).with_name("python")))
    os.chdir(cwd)
    threads = os.environ["OMP_NUM_THREADS"]
    os.environ.clear()
    os.environ.update(environment)
    wanted = environment.get("OMP_NUM_THREADS", sys.argv[2])
    if wanted != threads:
        import torch  # which has read the other number as it was imported

        torch.set_num_threads(int(wanted))
    open_standard_streams()
    while words[0] in ("-B", "-u"):
        if words[0] == "-u":
            sys.stdout.reconfigure(write_through=True)
        words = words[1:]
    how, rest = words[0], words[1:]
    sys.argv = rest if how == "-m" else words if how != "-c" else ["-c", *rest[1:]]
    sys.path[0] = {"-m": os.getcwd(), "-c": ""}.get(how, os.path.dirname(os.path.realpath(how)))
    sys.path[1:1] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    if how == "-m":
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif how == "-c":
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    else:
        runpy.run_path(how, run_name="__main__")


def leave(code: object) -> None:
    """End this process as Python would, but do not free what it has, which takes longer than most commands."""
    if code is not None and not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()  # waits for threads
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit((code or 0) & 0xFF)


if __name__ == "__main__":
    asked = serve(sys.argv[1])
    try:
        run(asked["words"], asked["cwd"], asked["environment"], asked["begins_anew"])
    except SystemExit as stop:
        leave(stop.code)
    leave(None)
