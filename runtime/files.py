"""Files that appear whole or not at all, and how a later run knows a file again."""

import contextlib
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

from runtime.errors import OutputError


@contextlib.contextmanager
def whole_file(path: str | os.PathLike, remedy: str, temporary: Path | None = None) -> Iterator[Path]:
    """A name to write to, beside `path` unless given: renamed to `path` if the block ends well and removed otherwise.

    An OSError in the block becomes an OutputError that names `path` and the remedy. A link stays one.
    """
    target = Path(os.path.realpath(path))
    temporary = temporary or temporary_name(target)
    try:
        yield temporary
        os.replace(temporary, target)
    except OSError as error:
        raise OutputError(f"{os.fspath(path)}: can't be written ({error.strerror or error}); {remedy}") from error
    finally:
        with contextlib.suppress(OSError):  # it has its name by now, or was never there
            temporary.unlink()


def temporary_name(path: Path) -> Path:
    """A hidden name beside `path`, of this process alone, short however long the name is."""
    return path.with_name(f".{zlib.crc32(path.name.encode(errors='surrogateescape')):08x}.{os.getpid()}.tmp")


def remove_leftovers(path: Path) -> None:
    """Remove what processes that were killed left of `path` beside it. Nothing else may be writing it."""
    start = temporary_name(path).name.partition(f".{os.getpid()}.")[0]
    for left in path.parent.glob(f"{start}.*.tmp"):
        left.unlink(missing_ok=True)


def file_identity(path: str | os.PathLike) -> tuple[int, int] | None:
    """Size and time of change of a file, by which a later run knows it again; None where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
