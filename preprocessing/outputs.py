"""Where a stage writes: output folders, in which files and folders appear whole or not at all.

What is being written lies in the output folder's `.partial`, so whatever a killed run leaves behind is in one place,
which the next run empties.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from runtime.errors import ItemError, OutputError
from runtime.files import whole_file

PARTIAL = ".partial"
_OLD = ".old"  # in PARTIAL: what is about to be replaced
_MADE = (".png", ".jpg", ".webp", ".npy", ".DS_Store")  # what stages, and file managers, put in folders
_REMEDY = "mend that and run the same command again: it goes on where it stopped"


def prepare(folder: Path) -> None:
    """Make an output folder and empty it of what a killed run left half-written."""
    partial = folder / PARTIAL
    if partial.is_symlink() or (partial.exists() and not partial.is_dir()):
        raise OutputError(f"{partial}: is no folder of ours; remove it and run the same command again")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise _not_written(folder, error) from error


def tidy(folder: Path) -> None:
    """After a run: remove what is half-written."""
    shutil.rmtree(folder / PARTIAL, ignore_errors=True)


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A name to write to: it becomes `path` if the block ends well. An OSError in the block is an OutputError."""
    partial = _partial(path)
    if path.is_symlink():
        raise ItemError(f"{path}: is a link, and may lead anywhere; remove it")
    if path.is_dir():
        raise ItemError(f"{path}: is a folder; remove it")
    with whole_file(path, _REMEDY, partial):
        yield partial


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """An empty folder to write into: it replaces `path` if the block ends well. An OSError is an OutputError.

    Raises ItemError where `path` holds anything else than what a stage makes.
    """
    partial = _partial(path)
    old = partial.parent / _OLD / path.name
    _check_replaceable(path)
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        yield partial
        if path.exists():
            old.parent.mkdir(exist_ok=True)
            os.rename(path, old)
        os.rename(partial, path)
    except OSError as error:
        raise _not_written(path, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def new_files(folder: Path, name: str, last: str) -> Iterator[Path]:
    """An empty folder to write into: its files move to `folder` if the block ends well, the one named `last` after all
    others, so that it tells that they are all there. An OSError is an OutputError."""
    partial = _partial(folder / name)
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        yield partial
        for file in sorted(os.listdir(partial), key=lambda file: file == last):
            os.replace(partial / file, folder / file)
    except OSError as error:
        raise _not_written(folder / name, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _check_replaceable(path: Path) -> None:
    """A data root comes from somewhere: what no stage has made is not ours to remove."""
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise ItemError(f"{path}: is in the way, and no folder that a stage made; remove it")
    try:
        with os.scandir(path) as entries:
            foreign = next((e.name for e in entries if not (e.name.endswith(_MADE) and e.is_file())), None)
    except FileNotFoundError:
        return
    except OSError as error:
        raise _not_written(path, error) from error
    if foreign is not None:
        raise ItemError(f"{path}: holds {foreign}, which no stage made; move it elsewhere")


def _partial(path: Path) -> Path:
    folder = path.parent / PARTIAL
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _not_written(path, error) from error
    return folder / path.name


def _not_written(path: Path, error: OSError) -> OutputError:
    return OutputError(f"{path}: can't be written ({error.strerror or error}); {_REMEDY}")
