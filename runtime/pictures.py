"""Pictures that matplotlib draws, as files."""

import os
import warnings
from pathlib import Path

from matplotlib.figure import Figure

from runtime.errors import InputError
from runtime.files import whole_file


def format_of(out: str) -> str:
    """The format of the file that --out names, by its suffix. Raises InputError."""
    formats = set(Figure().canvas.get_supported_filetypes()) - {"pgf"}  # that one needs LaTeX
    suffix = Path(out).suffix.lower().removeprefix(".")
    if suffix not in formats:
        raise InputError(f"--out {out}: must end in .png, or one of .{', .'.join(sorted(formats - {'png'}))}")
    return suffix


def save(figure: Figure, out: str | os.PathLike, image_format: str) -> None:
    """The file appears whole or not at all. Raises OutputError."""
    with whole_file(out, "choose another --out") as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a letter that the font lacks is drawn as a box
        figure.savefig(temporary, format=image_format)
