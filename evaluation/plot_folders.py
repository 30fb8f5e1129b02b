"""Folders of plots: which files --plots writes, and whether a page that is there may be replaced.

A page says by what it was written, so that one command does not replace the page of another, or one that is somebody's.
"""

import os
from pathlib import Path

from runtime.errors import OutputError
from runtime.files import read_file

PAGE = "index.html"
OF_SCORES = ("roc", "roc_log", "det", "reliability", "histogram")  # the pictures of evaluate.py
OF_RATIOS = ("tippett", "calibration", "curve")  # and of calibrate.py
_MOST = 1 << 28  # bytes of a page


def written_to(folder: str | None, pictures: tuple[str, ...]) -> tuple[str | None, list[str]]:
    """The folder, and the names of the files, for `runtime.output_check.check_outputs`."""
    return folder, [*(f"{name}.png" for name in pictures), PAGE]


def check_page(folder: str | None, command: str) -> None:
    """Raises OutputError where the folder has a page that `command`, such as evaluate.py, has not written."""
    if folder is None or not os.path.lexists(page := Path(folder, PAGE)):
        return
    try:
        is_ours = generator(command).encode() in read_file(page, _MOST)
    except OSError as error:
        raise OutputError(f"--plots {page}: can't be read ({error.strerror}); name another folder") from error
    if not is_ours:
        raise OutputError(f"--plots {page}: is there already, and not {command}'s; name another folder")


def generator(command: str) -> str:
    """The tag by which a page says what wrote it."""
    return f'<meta name="generator" content="{command}">'
