"""The user's folder of compiled libraries. What lies there is run: only this user may have put it there.

A library ends in the SHA-256 of what comes before, which loaders pass over: one that is empty, cut or damaged is known
before it is loaded.
"""

import hashlib
import os
import stat
from pathlib import Path

_MOST_BYTES = 2**26  # ours have some hundred kilobytes
_DIGEST_BYTES = hashlib.sha256().digest_size
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_REMEDY = "remove it, or set XDG_CACHE_HOME to a folder of your own"


class NativeError(Exception):
    """A library can't be had here; the message says why, to follow a colon."""


def cache_folder() -> Path:
    """The folder, made where there is none. Raises NativeError where someone else may have put things there."""
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "dfdc-deepfake-challenge")
    except RuntimeError as error:  # a container may run as a user that nobody has heard of
        raise NativeError("there is no home directory for what is compiled; set XDG_CACHE_HOME") from error
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        parent, status = folder.parent.stat(), folder.lstat()
    except OSError as error:
        raise NativeError(f"{folder} can't be written ({error.strerror or error}); set XDG_CACHE_HOME") from error
    if not stat.S_ISDIR(status.st_mode):
        raise NativeError(f"{folder} is a link; {_REMEDY}")
    if status.st_uid != os.geteuid():
        raise NativeError(f"{folder} belongs to another user; {_REMEDY}")
    if status.st_mode & _WRITABLE_BY_OTHERS:
        raise NativeError(f"{folder} can be written by other users; {_REMEDY}")
    is_open = parent.st_mode & stat.S_IWOTH and not parent.st_mode & stat.S_ISVTX  # a group may be the user's own
    if is_open or parent.st_uid not in (0, os.geteuid()):
        raise NativeError(f"{folder.parent} lets other users put a folder in place of ours; {_REMEDY}")
    return folder


def is_ours(path: Path) -> bool:
    """Whether a library is there, is whole, and nobody else can have written it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or not _DIGEST_BYTES < status.st_size <= _MOST_BYTES:
            return False
        if status.st_uid != os.geteuid() or status.st_mode & _WRITABLE_BY_OTHERS:
            return False
        data = file.read(_MOST_BYTES)
    return hashlib.sha256(data[:-_DIGEST_BYTES]).digest() == data[-_DIGEST_BYTES:]


def finish(library: Path) -> None:
    """Make what a compiler wrote a library that `is_ours` takes. Raises OSError."""
    data = library.read_bytes()
    with open(library, "ab") as file:
        file.write(hashlib.sha256(data).digest())
    library.chmod(0o600)  # whatever the umask
