"""CSVs that have a row for each video: submissions, labels, and columns by which videos are grouped."""

import csv
from collections import Counter
from collections.abc import Iterator, Mapping

from runtime import limits
from runtime.errors import InputError
from runtime.files import open_text


def read_rows(flag: str, path: str, needed: tuple[str, ...]) -> Iterator[tuple[str, dict[str, str]]]:
    """The place of each row, for messages, and its cells by column; cells that a short line lacks are empty.

    `flag` is what named the file. `needed` are the columns that every row must have, `filename` among them. Cells are
    stripped, but for the file's name. Raises InputError, also where there is no row.
    """
    try:
        # as predict_folder.py writes it: names that are no UTF-8 are the bytes they are
        with open_text(path, limits.LABELS, errors="surrogateescape", newline="") as file:
            reader = csv.reader(file)
            header = [name.strip() for name in next(reader, [])]
            columns = {name: place for place, name in enumerate(header)}
            _check_header(f"{flag} {path}", header, columns, needed)
            last = max(columns[name] for name in needed)
            empty = True
            for row in reader:
                if not row:
                    continue
                where, empty = f"{flag} {path}, line {reader.line_num}", False
                if len(row) <= last or not row[columns["filename"]]:
                    raise InputError(f"{where}: has no {' and '.join(needed)}; mend it")
                if any(row[len(header) :]):  # such as of a decimal comma
                    raise InputError(f"{where}: has more cells than the first line names; mend it")
                cells = {name: row[place].strip() if place < len(row) else "" for name, place in columns.items()}
                yield where, {**cells, "filename": row[columns["filename"]]}
    except OSError as error:
        raise InputError(f"{flag} {path}: can't be read ({error.strerror}); name another file") from error
    except csv.Error as error:
        raise InputError(f"{flag} {path}: is no CSV ({error}); name another file") from error
    if empty:
        raise InputError(f"{flag} {path}: has no rows; name another file")


def _check_header(where: str, header: list[str], columns: Mapping[str, int], needed: tuple[str, ...]) -> None:
    """Raises InputError unless the first line names each of the columns once."""
    missing = [name for name in needed if name not in columns]
    if missing and "\0" in "".join(header):
        raise InputError(f"{where}: is no text in UTF-8; save it as that")
    if missing and len(header) == 1 and (mark := next((mark for mark in ";\t" if mark in header[0]), None)):
        word = {";": "semicolons", "\t": "tabs"}[mark]
        raise InputError(f"{where}: has {word} between its cells; write commas, and points in numbers")
    if missing:
        raise InputError(f"{where}: has no column {', '.join(missing)}; its first line must name them")
    if len(columns) < len(header):
        counts = Counter(header)
        twice = next((name for name in header if name and counts[name] > 1), None)
        if twice is not None:
            raise InputError(f"{where}: has the column {twice} twice; leave one out")
