"""A journal: a file of JSON objects, one a line, that grows while a run goes on and tells the next one what is done.

A line counts once its newline is there, so a run killed at any moment loses at most what it was working on.

Lines are chained: each ends with "chain", the SHA-256 (hexadecimal) of the chain before it, itself as text, 64 zeros
before the first line, followed by the line's bytes without ", "chain": ...". A line that was changed, moved or taken
out breaks it. Lines of older versions have no chain: they count as they are, and the first link covers them, whole and
with their newline. After a line with a chain each one has it.
"""

import errno
import fcntl
import hashlib
import json
import os
import re
import stat
import sys
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from runtime import limits
from runtime.errors import OutputError, printable
from runtime.files import folder_of, is_link, link_error

UNCHAINED = "0" * 64  # the chain before the first line
_CHAIN = "chain"
_LINK = re.compile(rb'(?:, )?"chain": "([0-9a-f]{64})"\}\n\Z')
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)  # Lustre, some NFS and FUSE


class Journal:
    """The records of a file, and the right to add to it, which one process has at a time. Where the file system has no
    locks that is for whoever starts the runs to see to, and a warning says so.

    `records` holds what was there at the start; `chain` is the last link, and `lines` the number of lines, of what is
    there now. Raises OutputError if another process has the journal open (`busy` says what it is doing), if it is
    damaged, or if it can't be written (`remedy` says what then), also where it is a link or one of the folders between
    `root`, where that is given, and it.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        *,
        busy: str,
        remedy: str,
        overwrite: bool = False,
        root: str | os.PathLike | None = None,
    ):
        self.path = Path(path)
        try:
            self._file = _open(self.path, root)
            self._lock()
        except BlockingIOError:
            raise OutputError(f"{path}: {busy}") from None
        except OSError as error:
            raise OutputError(f"{path}: can't be written ({error.strerror}); {remedy}") from error
        if overwrite:
            self._file.truncate(0)
        self.records = self._load()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            print(
                printable(
                    f"warning: {self.path}: can't be locked ({error.strerror}); "
                    "see to it that no two runs share this output, or their results get mixed up"
                ),
                file=sys.stderr,
            )

    def _load(self) -> list[dict]:
        """Read what is there, and cut off a line that was not finished."""
        self._file.seek(0)
        records, end = [], 0
        self.chain, self.lines = UNCHAINED, 0
        with open(self._file.fileno(), "rb", closefd=False) as file:
            try:
                for line, record, self.chain in chained_lines(file):
                    end += len(line)
                    records.append(record)
                    self.lines += 1
            except ValueError as error:
                raise self.damaged(self.lines + 1) from error
        self._file.truncate(end)
        return records

    def damaged(self, number: int) -> OutputError:
        """The error for a line, counted from 1, that can't be what was written."""
        return OutputError(f"{self.path}: line {number} is damaged; delete the file to start anew")

    def add(self, record: dict) -> None:
        """Write a record down; on an error the journal is as it was before."""
        body = json.dumps(record).encode()
        chain = _link(self.chain, body)
        line = b'%s%s"%s": "%s"}\n' % (body[:-1], b", " if record else b"", _CHAIN.encode(), chain.encode())
        end = self._file.seek(0, os.SEEK_END)
        try:
            if self._file.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self._file.truncate(end)
            raise OutputError(f"{self.path}: can't be written ({error.strerror}); what was written is kept") from error
        self.chain, self.lines = chain, self.lines + 1

    def close(self) -> None:
        self._file.close()


def chained_lines(file: BinaryIO) -> Iterator[tuple[bytes, dict, str]]:
    """Each finished line of a journal, its record without the chain, and the chain after it. Raises ValueError at a
    line that can't be what was written: too long, no object of JSON, or one that the chain does not fit."""
    chain, begun = UNCHAINED, False
    while (line := file.readline(limits.JOURNAL_LINE)).endswith(b"\n"):
        try:
            record = json.loads(line)
        except RecursionError as error:
            raise ValueError("too deep") from error
        if not isinstance(record, dict):
            raise ValueError("not an object")
        link = _LINK.search(line)
        if begun and not link:
            raise ValueError("it has no chain, and the line before it has")
        begun = link is not None
        chain = _link(chain, line[: link.start()] + b"}" if link else line)
        if record.pop(_CHAIN, None) != (chain if link else None):
            raise ValueError("the chain is broken")
        yield line, record, chain
    if len(line) == limits.JOURNAL_LINE:
        raise ValueError("too long")


def _link(chain: str, line: bytes) -> str:
    return hashlib.sha256(chain.encode() + line).hexdigest()


def _open(path: Path, root: str | os.PathLike | None) -> FileIO:
    """What is written to and cut off must be this file: no link, no pipe, nothing that has another name elsewhere."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with folder_of(path, root) as folder:
        try:
            descriptor = os.open(path.name or ".", flags, 0o666, dir_fd=folder)
        except OSError as error:
            if is_link(path.name, folder):
                raise link_error(path) from error
            raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OutputError(f"{path}: is not a regular file; remove it")
        if status.st_nlink > 1:
            raise OutputError(f"{path}: is a file that has another name too (a hard link); remove this one, or copy it")
        return FileIO(descriptor, "ab+")
    except BaseException:
        os.close(descriptor)
        raise
