"""Where a stage writes: output folders, in which files and folders appear whole or not at all.

What is being written lies in the output folder's `.partial`, so whatever a killed run leaves behind is in one place,
which the next run empties. A file in it tells that we have made it: what else is called so stays.

A data root comes from somewhere: nothing is written or removed through a link below it. Each function takes the `root`,
which may be a link itself, by default the folder that holds the output folder.
"""

import contextlib
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from runtime.errors import ItemError, OutputError
from runtime.files import create, open_folder

PARTIAL = ".partial"
_MARK = ".stage"  # in PARTIAL: no item is called so, as no video is hidden
_OLD = ".old"  # beside what is being written: what is about to be replaced
# what stages, and file managers, put in the folders that are replaced
_MADE = re.compile(
    r"[0-9]+_[0-9]+\.(?:png|jpg|webp|npy)|[0-9]+_[0-9]+_diff\.png|[0-9]{1,2}\.png|boxes\.float32|\.DS_Store"
)
_REMEDY = "mend that and run the same command again: it goes on where it stopped"


def prepare(folder: Path, root: Path | None = None) -> None:
    """Make an output folder and empty it of what a killed run left half-written."""
    try:
        with _opened(folder, root or folder.parent, make=True) as descriptor:
            _remove_partial(folder, descriptor)
    except OSError as error:
        raise _not_written(folder, error) from error


def tidy(folder: Path, root: Path | None = None) -> None:
    """After a run: remove what is half-written."""
    with contextlib.suppress(OSError, OutputError), _opened(folder, root or folder.parent) as descriptor:
        _remove_partial(folder, descriptor)


def tidy_if_unused(folder: Path) -> None:
    """As `tidy`, of the data root itself, unless another process is writing there."""
    with (
        contextlib.suppress(OSError, OutputError),
        open_folder(folder) as descriptor,
        open_folder(folder, PARTIAL) as partial,
    ):
        if os.listdir(partial) == [_MARK]:
            os.unlink(_MARK, dir_fd=partial)
            try:
                os.rmdir(PARTIAL, dir_fd=descriptor)
            except OSError:  # by now it is
                _mark(partial)


@contextlib.contextmanager
def new_file(path: Path, root: Path | None = None) -> Iterator[Path]:
    """An empty file to write to: it becomes `path` if the block ends well. An OSError is an OutputError.

    Raises ItemError where `path` is no regular file.
    """
    try:
        with _place_for(path, root or path.parents[1]) as (folder, work, partial):
            status = _status(path.name, folder)
            if status and stat.S_ISLNK(status.st_mode):
                raise ItemError(f"{path}: is a link, and may lead anywhere; remove it")
            if status and not stat.S_ISREG(status.st_mode):
                what = "a folder" if stat.S_ISDIR(status.st_mode) else "no regular file"
                raise ItemError(f"{path}: is {what}; remove it")
            os.close(create(partial.name, work))
            yield partial
            os.replace(partial.name, path.name, src_dir_fd=work, dst_dir_fd=folder)
    except OSError as error:
        raise _not_written(path, error) from error


@contextlib.contextmanager
def new_folder(path: Path, root: Path | None = None) -> Iterator[Path]:
    """An empty folder to write into: it replaces `path` if the block ends well. An OSError is an OutputError.

    Raises ItemError where `path` holds anything else than what a stage makes.
    """
    try:
        with _place_for(path, root or path.parents[1]) as (folder, work, partial):
            _check_replaceable(path, root or path.parents[1], folder)
            os.mkdir(partial.name, dir_fd=work)
            yield partial
            with contextlib.suppress(FileNotFoundError):
                os.rename(path.name, _OLD, src_dir_fd=folder, dst_dir_fd=work)
            os.rename(partial.name, path.name, src_dir_fd=work, dst_dir_fd=folder)
    except OSError as error:
        raise _not_written(path, error) from error


@contextlib.contextmanager
def new_files(folder: Path, name: str, last: str, root: Path | None = None) -> Iterator[Path]:
    """An empty folder to write into: its files move to `folder` if the block ends well, the one named `last` after all
    others, so that it tells that they are all there. An OSError is an OutputError."""
    path = folder / name
    try:
        with _place_for(path, root or folder.parent) as (target, work, partial):
            os.mkdir(partial.name, dir_fd=work)
            yield partial
            with _opened(partial, root or folder.parent) as source:
                for file in sorted(os.listdir(source), key=lambda file: file == last):
                    os.replace(file, file, src_dir_fd=source, dst_dir_fd=target)
    except OSError as error:
        raise _not_written(path, error) from error


def _opened(folder: Path, root: Path, make: bool = False) -> contextlib.AbstractContextManager[int]:
    return open_folder(root, *folder.relative_to(root).parts, make=make)


@contextlib.contextmanager
def _place_for(path: Path, root: Path) -> Iterator[tuple[int, int, Path]]:
    """Descriptors of the folder that `path` is in and of one to work in, and a path in that, which is still free.

    Its name can't be guessed. What is in the folder to work in goes at the end.
    """
    place = path.parent / PARTIAL / path.name
    with _opened(path.parent, root, make=True) as folder:
        _make_partial(path.parent, folder)
        with _opened(place.parent, root) as partial:
            shutil.rmtree(path.name, ignore_errors=True, dir_fd=partial)
            os.mkdir(path.name, dir_fd=partial)
            try:
                with _opened(place, root) as work:
                    yield folder, work, place / secrets.token_hex(16)
            finally:
                shutil.rmtree(path.name, ignore_errors=True, dir_fd=partial)


def _check_replaceable(path: Path, root: Path, folder: int) -> None:
    """What no stage has made is not ours to remove."""
    status = _status(path.name, folder)
    if status is None:
        return
    if not stat.S_ISDIR(status.st_mode):
        raise ItemError(f"{path}: is in the way, and no folder that a stage made; remove it")
    with _opened(path, root) as there, os.scandir(there) as entries:
        foreign = next(
            (e.name for e in entries if not (_MADE.fullmatch(e.name) and e.is_file(follow_symlinks=False))), None
        )
    if foreign is not None:
        raise ItemError(f"{path}: holds {foreign}, which no stage made; move it elsewhere")


def _make_partial(folder: Path, descriptor: int) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkdir(PARTIAL, dir_fd=descriptor)
    if not _is_ours(descriptor):
        raise _foreign(folder)


def _remove_partial(folder: Path, descriptor: int) -> None:
    if _status(PARTIAL, descriptor) is None:
        return
    if not _is_ours(descriptor):
        raise _foreign(folder)
    shutil.rmtree(PARTIAL, ignore_errors=True, dir_fd=descriptor)


def _is_ours(folder: int) -> bool:
    """Whether a folder's PARTIAL has our mark; an empty one gets it."""
    status = _status(PARTIAL, folder)
    if status is None or not stat.S_ISDIR(status.st_mode):
        return False
    partial = os.open(PARTIAL, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        if _status(_MARK, partial) is None and not os.listdir(partial):
            _mark(partial)
        return _status(_MARK, partial) is not None
    finally:
        os.close(partial)


def _mark(partial: int) -> None:
    with contextlib.suppress(FileExistsError):  # by another process
        os.close(create(_MARK, partial))


def _status(name: str, folder: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _foreign(folder: Path) -> OutputError:
    return OutputError(f"{folder / PARTIAL}: is no folder of ours; remove it and run the same command again")


def _not_written(path: Path, error: OSError) -> OutputError:
    return OutputError(f"{path}: can't be written ({error.strerror or error}); {_REMEDY}")
