"""Files as they are opened, written and known again: regular ones only are read, whole ones only are left behind, and
nothing is written through a link that a data root from elsewhere may hold."""

import contextlib
import errno
import io
import json
import os
import re
import secrets
import stat
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TextIO, TypeVar

from runtime.errors import OutputError, UserError

T = TypeVar("T")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# by a process that was killed: with 32 random digits, or the process's number as older versions had it
_LEFTOVER = re.compile(r"\.([0-9a-f]{8})\.(?:[0-9a-f]{32}|[0-9]+)\.tmp")

# reading


def open_file(path: str | os.PathLike, most: int) -> BinaryIO:
    """Open a regular file of at most so many bytes, a link to one too. Raises OSError, with what is to be said of it.

    A pipe, a device or a socket is refused and not waited for.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket
            raise _unfit(path, errno.EINVAL, "is not a regular file") from None
        raise
    except ValueError as error:  # a name with a NUL
        raise _unfit(path, errno.EINVAL, "is no name of a file") from error
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise _unfit(path, errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(status.st_mode):
            raise _unfit(path, errno.EINVAL, "is not a regular file")
        if status.st_size > most:
            raise _too_large(path, most)
        return open(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def open_text(path: str | os.PathLike, most: int, *, errors: str = "strict", newline: str | None = None) -> TextIO:
    """As `open_file`, for text in UTF-8, with a byte order mark or without."""
    return io.TextIOWrapper(open_file(path, most), encoding="utf-8-sig", errors=errors, newline=newline)


def read_file(path: str | os.PathLike, most: int) -> bytes:
    """The content of a regular file of at most so many bytes. Raises OSError as `open_file` does."""
    with open_file(path, most) as file:
        data = file.read(os.fstat(file.fileno()).st_size + 1)
        if more := file.read(1):  # it grows, or does not tell its size, as in /proc
            data += more + file.read(max(0, most - len(data)))
    if len(data) > most:
        raise _too_large(path, most)
    return data


def read_text(path: str | os.PathLike, most: int) -> str:
    """As `read_file`, for text in UTF-8, with a byte order mark or without. Raises UnicodeDecodeError too."""
    return read_file(path, most).decode("utf-8-sig")


def read_json(
    path: str | os.PathLike, most: int, *, make_object: Callable[[list[tuple[str, Any]]], Any] | None = None
) -> Any:
    """The content of a file of JSON, in UTF-8 with a byte order mark or without, or in UTF-16 or UTF-32. `make_object`
    gets the keys and values of each object, a dict where it is not given. Raises OSError as `read_file` does, and
    ValueError where it is no JSON, is nested too deep or is no text."""
    data = read_file(path, most)
    try:
        return json.loads(data, object_pairs_hook=make_object)
    except RecursionError as error:
        raise ValueError(str(error)) from error


def without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, for `make_object`. Raises ValueError where a key is there twice."""
    content = dict(pairs)
    if len(content) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        raise ValueError(f"key {min(name for name, count in counts.items() if count > 1)} is there twice")
    return content


def parse_json(
    path: str | os.PathLike,
    most: int,
    error: Callable[[str], UserError],
    *,
    unreadable: str,
    damaged: str,
    parse: Callable[[Any], T] = lambda content: content,
) -> T:
    """The content of a file of JSON, or what `parse` makes of it.

    Raises the caller's `error`, whose message begins with the file and goes on with one of two sentences, in which {}
    stands for the reason: `unreadable` where the file can't be read, `damaged` where it is no JSON, or where `parse`
    finds other things in it than it takes.
    """
    try:
        return parse(read_json(path, most))
    except OSError as reason:
        raise error(f"{os.fspath(path)}: {unreadable.format(reason.strerror or reason)}") from reason
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as reason:
        what = f"{reason} is missing" if isinstance(reason, KeyError) else str(reason)
        raise error(f"{os.fspath(path)}: {damaged.format(what)}") from reason


def _unfit(path: str | os.PathLike, number: int, reason: str) -> OSError:
    return OSError(number, reason, os.fspath(path))


def _too_large(path: str | os.PathLike, most: int) -> OSError:
    return _unfit(path, errno.EFBIG, f"has more than {most} bytes, the most that such a file may have")


# writing


@contextlib.contextmanager
def open_folder(root: str | os.PathLike, *names: str, make: bool = False) -> Iterator[int]:
    """A descriptor of ROOT/<names>..., for `dir_fd`. `root` may be a link, none of `names` may: they may come with a
    data root, and lead anywhere. Raises OutputError for a link, OSError for what else is wrong.

    `make` makes the folders that are missing, but for `root`.
    """
    descriptor = os.open(root, _FOLDER)
    try:
        for number, name in enumerate(names, start=1):
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, dir_fd=descriptor)
            try:
                inner = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=descriptor)
            except OSError as error:
                if is_link(name, descriptor):
                    raise link_error(Path(root, *names[:number])) from error
                raise
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


def make_folder(root: str | os.PathLike, *names: str) -> None:
    """Make the folder ROOT/<names>... where it is missing. Raises as `open_folder` does."""
    with open_folder(root, *names, make=True):
        return


@contextlib.contextmanager
def folder_of(path: Path, root: str | os.PathLike | None) -> Iterator[int]:
    """A descriptor of the folder that a file is in, by `open_folder`; without `root` the folder is the user's own."""
    if root is None:
        with open_folder(path.parent) as folder:
            yield folder
    else:
        with open_folder(root, *path.parent.relative_to(root).parts) as folder:
            yield folder


def is_link(name: str | os.PathLike, folder: int | None = None) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError:
        return False


def link_error(path: str | os.PathLike) -> OutputError:
    return OutputError(f"{os.fspath(path)}: is a link, and may lead anywhere; remove it, or put what it leads to there")


@contextlib.contextmanager
def whole_file(
    path: str | os.PathLike, remedy: str, *, root: str | os.PathLike | None = None, follow: bool = False
) -> Iterator[Path]:
    """An empty file to write to, beside `path`: it becomes `path` if the block ends well and is removed otherwise.

    An OSError in the block becomes an OutputError that names `path` and the remedy. A link at `path` is refused, and so
    is one at any folder between `root` and it; with `follow`, which is for files that a user has named, a link stays
    one, and the file that it leads to is written.
    """
    target = Path(path)
    if follow or not target.name:  # "" and "/" name folders, as os.replace will say
        target = Path(os.path.realpath(path))
    try:
        with folder_of(target, root) as folder:
            _check_replaceable(target, folder, path)
            temporary = temporary_name(target)
            os.close(create(temporary.name, folder))
            try:
                yield temporary
                os.replace(temporary.name, target.name, src_dir_fd=folder, dst_dir_fd=folder)
            finally:
                with contextlib.suppress(OSError):  # it has its name by now
                    os.unlink(temporary.name, dir_fd=folder)
    except OSError as error:
        raise OutputError(f"{os.fspath(path)}: can't be written ({error.strerror or error}); {remedy}") from error


def write_json(
    path: str | os.PathLike,
    content: Any,
    remedy: str,
    *,
    root: str | os.PathLike | None = None,
    follow: bool = False,
    end: str = "",
    **layout: Any,
) -> None:
    """Write JSON by `whole_file`; `layout` is json.dump's. Names of files that are no UTF-8 stay what they are."""
    with (
        whole_file(path, remedy, root=root, follow=follow) as temporary,
        open(temporary, "w", encoding="utf-8", errors="surrogateescape") as file,
    ):
        json.dump(content, file, **layout)
        file.write(end)


def _check_replaceable(target: Path, folder: int, path: str | os.PathLike) -> None:
    try:
        mode = os.stat(target.name or ".", dir_fd=folder, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISLNK(mode):
        raise link_error(path)
    if stat.S_ISDIR(mode):
        raise _unfit(path, errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):  # /dev/null would be gone for all
        raise _unfit(path, errno.EINVAL, "is not a regular file")


def create(name: str, folder: int) -> int:
    """Make an empty file that was not there, and return its descriptor."""
    return os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666, dir_fd=folder)


def temporary_name(path: Path) -> Path:
    """A hidden name beside `path` that nobody can guess, another one at each call, short however long the name is."""
    return path.with_name(f".{_digest(path)}.{secrets.token_hex(16)}.tmp")


def remove_leftovers(path: Path) -> None:
    """Remove what processes that were killed left of `path` beside it. Nothing else may be writing it."""
    for left in path.parent.glob(f".{_digest(path)}.*.tmp"):
        if _LEFTOVER.fullmatch(left.name) and left.is_file() and not left.is_symlink():
            left.unlink(missing_ok=True)


def _digest(path: Path) -> str:
    return f"{zlib.crc32(path.name.encode(errors='surrogateescape')):08x}"


def file_identity(path: str | os.PathLike) -> tuple[int, int] | None:
    """Size and time of change of a file, by which a later run knows it again; None where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
