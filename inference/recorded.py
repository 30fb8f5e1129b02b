"""Results that tell of the file which was scored: its SHA-256, taken while it is read.

results = recorded(pipeline.run, videos, machine_facts(device))
"""

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from inference.pipeline import VideoResult
from runtime.digests import Digest, digest_of
from runtime.files import file_identity

_HASHING = 2  # threads, beside those that read: they wait for the disk more than they compute

Run = Callable[[Iterable[tuple[str, str]]], Iterator[VideoResult]]


class _Cancelled(Exception):
    """Nobody waits for the hash any more."""


def recorded(run: Run, videos: Iterable[tuple[str, str]], environment: dict[str, Any]) -> Iterator[VideoResult]:
    """As `run`, and each result tells of its file ("file": "bytes" and "sha256") and of the environment. Files are
    hashed by threads of their own while they are read. "file" is None, and a note says so, where it can't be read, or
    was changed meanwhile."""
    begun: dict[str, tuple[str, Future[Digest]]] = {}
    stopping = threading.Event()

    def go_on(count: int) -> None:
        if stopping.is_set():
            raise _Cancelled

    def drawn() -> Iterator[tuple[str, str]]:
        for name, path in videos:
            begun[name] = path, pool.submit(digest_of, path, passing=go_on)
            yield name, path

    pool = ThreadPoolExecutor(_HASHING, thread_name_prefix="hash")
    try:
        with contextlib.closing(run(drawn())) as results:
            for result in results:
                result.source = {**result.source, "file": _file_of(result, *begun.pop(result.video))}
                result.environment = environment
                yield result
    finally:
        stopping.set()
        pool.shutdown(cancel_futures=True)


def _file_of(result: VideoResult, path: str, hashed: Future[Digest]) -> dict[str, Any] | None:
    try:
        digest = hashed.result()
    except OSError:
        return None  # as the result says
    if result.identity is None or result.identity != file_identity(path) or result.identity[0] != digest.bytes:
        result.notes = [*result.notes, "its file was changed while it was read: no SHA-256 is known of what was scored"]
        return None
    return {"bytes": digest.bytes, "sha256": digest.sha256}
