"""Files and folders that a user wants written, looked at before the work begins."""

import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from runtime.errors import OutputError
from runtime.files import is_link, link_error, temporary_name

# names that a user has chosen: what they lead to is written
_MAY_BE_LINKS = ("--output", "--faces-csv", "--tracks-csv", "--intervals-csv")


def check_outputs(
    files: Mapping[str, str | os.PathLike | None],
    inputs: Iterable[str | os.PathLike | None],
    *,
    folders: Mapping[str, tuple[str | os.PathLike | None, Iterable[str]]] | None = None,
) -> None:
    """Fail now rather than after hours: of `files` to be written, and `folders` to write files of some names into, by
    flag.

    Makes the folders of files, and `folders`; what is None is not asked for. Raises OutputError where one can't be
    written, is something else, is an input, or is another output.
    """
    taken = {os.path.realpath(path): "is an input" for path in inputs if path}
    for flag, path in files.items():
        if path is not None:
            _check_file(flag, path, taken)
    for flag, (folder, names) in (folders or {}).items():
        if folder is None:
            continue
        _check_folder(flag, folder, taken)
        for name in names:
            _check_file(flag, os.path.join(folder, name), taken)


def _check_file(flag: str, path: str | os.PathLike, taken: dict[str, str]) -> None:
    """`taken` says by path what a file is already; this one is added."""
    target = Path(os.path.realpath(path))
    if str(target) in taken:
        raise OutputError(f"{flag} {path}: {taken[str(target)]}; choose another place")
    taken[str(target)] = f"is written by {flag} too"
    if is_link(path) and flag not in _MAY_BE_LINKS:
        raise link_error(path)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.lstat(target)  # later Pythons call a name that is too long no folder
        if target.is_dir():
            raise OutputError(f"{flag} {path}: is a folder; name a file")
        if target.exists() and not target.is_file():
            raise OutputError(f"{flag} {path}: is not a regular file; choose another place")
        target.parent.mkdir(parents=True, exist_ok=True)
        probe = temporary_name(target)
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise OutputError(f"{flag} {path}: can't be written ({error.strerror}); choose another place") from error


def _check_folder(flag: str, folder: str | os.PathLike, taken: Mapping[str, str]) -> None:
    if os.path.realpath(folder) in taken:
        raise OutputError(f"{flag} {folder}: {taken[os.path.realpath(folder)]}; choose another place")
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{flag} {folder}: can't be made ({error.strerror}); choose another place") from error
