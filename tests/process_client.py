"""How the server of `process_server.py` is asked; as a script, a `python` for others than the tests to start.

    python -IS tests/process_client.py SOCKET [-B] [-u] (SCRIPT | -m MODULE | -c CODE) [arguments]

It stands for the process that the server forks: it hands on what it has open and the signals that can be caught, and
ends as that one ends.
"""

import json
import os
import signal
import socket
import sys

LONGEST = 1 << 17  # bytes of a request: arguments and environment
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def start(
    server: str,
    words: list[str],
    descriptors: dict[int, int],
    *,
    cwd: str,
    environment: dict[str, str],
    ends_with_client: bool = False,
) -> tuple[socket.socket, int]:
    """Have the server on a Unix socket fork a process that runs `python words`; `descriptors` gives those of this
    process by the numbers that they have there. Returns the connection, on which its exit code comes (negative: the
    signal that ended it), and its process ID. `ends_with_client` kills it when the connection ends."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * LONGEST)
    connection.connect(server)
    request = {"words": words, "cwd": cwd, "environment": environment, "numbers": list(descriptors)}
    message = json.dumps({**request, "ends_with_client": ends_with_client}).encode()
    socket.send_fds(connection, [message], list(descriptors.values()))
    return connection, receive(connection)


def receive(connection: socket.socket) -> int:
    """The process ID or the exit code."""
    number = connection.recv(32)
    if not number:
        raise ChildProcessError("the server that forks the tests' processes has died")
    return int(number)


def main() -> None:
    numbers = map(int, os.listdir("/proc/self/fd"))
    inherited = {number: number for number in numbers if _is_inherited(number)}
    signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED)
    connection, process = start(
        sys.argv[1], sys.argv[2:], inherited, cwd=os.getcwd(), environment=dict(os.environ), ends_with_client=True
    )
    for number in _FORWARDED:
        signal.signal(number, lambda number, _: os.kill(process, number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
    for number in inherited:
        os.close(number)  # or who waits for the end of a pipe would wait for this process too
    code = receive(connection)
    if code < 0:
        if -code in _FORWARDED:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def _is_inherited(number: int) -> bool:
    try:
        return os.get_inheritable(number)
    except OSError:  # it was open while they were listed
        return False


if __name__ == "__main__":
    main()
