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
    folders: Mapping[str, str | os.PathLike | None] | None = None,
) -> None:
    """Fail now rather than after hours: of `files` to be written, and `folders` to write others into, by flag.

    Makes the folders of files, and `folders`; what is None is not asked for. Raises OutputError where one can't be
    written, is something else, is an input, or is another output.
    """
    taken = {os.path.realpath(path): "is an input" for path in inputs if path}
    for flag, path in files.items():
        if path is None:
            continue
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
    for flag, path in (folders or {}).items():
        if path is None:
            continue
        if os.path.realpath(path) in taken:
            raise OutputError(f"{flag} {path}: {taken[os.path.realpath(path)]}; choose another place")
        try:
            os.makedirs(path, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{flag} {path}: can't be made ({error.strerror}); choose another place") from error
