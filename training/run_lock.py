"""One training at a time writes the checkpoints of a name: a second one would replace them by its own."""

import contextlib
import errno
import fcntl
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from runtime.errors import OutputError, printable

_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)  # Lustre, some NFS and FUSE
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextlib.contextmanager
def run_lock(path: Path) -> Iterator[None]:
    """Hold a lock file, which is removed at the end; the system releases it when the process dies, however it goes.

    Raises OutputError where another process holds it or it can't be made. Where the file system has no locks a warning
    says that it is for whoever starts the trainings to see to.
    """
    descriptor = _locked(path)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            if _is_at(path, descriptor):
                path.unlink()
        os.close(descriptor)


def _locked(path: Path) -> int:
    while True:
        try:
            descriptor = os.open(path, _FLAGS, 0o666)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise OutputError(f"{path}: is a link, and may lead anywhere; remove it") from error
            raise OutputError(f"{path}: can't be written ({error.strerror}); name another folder") from error
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OutputError(f"{path}: is not a regular file; remove it")
            _lock(path, descriptor)
            if _is_at(path, descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # whoever held it has removed it since: the file that is there now counts


def _lock(path: Path, descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OutputError(
            f"{path}: another training writes the checkpoints of this name; wait for it, or choose another --prefix or "
            "--output-dir"
        ) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise OutputError(f"{path}: can't be locked ({error.strerror}); name another folder") from error
        print(
            printable(
                f"warning: {path}: can't be locked ({error.strerror}); see to it that no two trainings share this "
                "prefix and folder, or their checkpoints get mixed up"
            ),
            file=sys.stderr,
        )


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False
