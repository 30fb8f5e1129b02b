"""Parts of HTML pages: text from outside, tables, pictures; and the files of a folder of plots.

What comes from outside (names of files, columns and models) goes through `html_text`. Pages run no script, and need
nothing beside themselves.
"""

import base64
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from evaluation.plot_folders import PAGE
from runtime.errors import OutputError
from runtime.files import whole_file
from runtime.html_text import html_text

_REMEDY = "choose another --plots"


def table(rows: Sequence[Sequence[str]]) -> str:
    """The first row is the head, the first cell of the others what the row is of."""
    head, *others = rows
    columns = "".join(f'<th scope="col">{html_text(cell)}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{html_text(first)}</th>{"".join(f"<td>{html_text(cell)}</td>" for cell in cells)}</tr>\n'
        for first, *cells in others
    )
    whole = f"<table>\n<thead><tr>{columns}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>"
    return f'<div class="table" tabindex="0">{whole}</div>\n'  # keys scroll it where it is wider than the page


def terms(pairs: Mapping[str, str]) -> str:
    """Terms and what is said of them, for a list of definitions."""
    return "".join(f"<dt>{html_text(term)}</dt><dd>{html_text(said)}</dd>\n" for term, said in pairs.items())


def picture(png: bytes, alternative: str) -> str:
    """`alternative` is for those who don't see it."""
    return f'<img alt="{html_text(alternative)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">\n'


def png_of(figure: Figure) -> bytes:
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    return drawn.getvalue()


def write_folder(folder: str, page: str, pictures: Mapping[str, bytes]) -> None:
    """Write <name>.png and index.html to a folder, which is made where it is missing, each whole or not at all. Raises
    OutputError."""
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise OutputError(f"--plots {folder}: can't be made ({error.strerror}); {_REMEDY}") from error
    for name, data in {**{f"{name}.png": png for name, png in pictures.items()}, PAGE: page.encode()}.items():
        with whole_file(Path(folder, name), _REMEDY) as temporary:
            temporary.write_bytes(data)
