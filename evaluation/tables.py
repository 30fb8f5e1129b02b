"""CSVs that have a row for each video: submissions, labels, and columns by which videos are grouped."""

import csv
from collections.abc import Iterator

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
            missing = [name for name in needed if name not in header]
            if missing:
                raise InputError(f"{flag} {path}: has no column {', '.join(missing)}; its first line must name them")
            columns = {name: header.index(name) for name in header}  # of two columns of one name the first
            last = max(columns[name] for name in needed)
            empty = True
            for row in reader:
                if not row:
                    continue
                where, empty = f"{flag} {path}, line {reader.line_num}", False
                if len(row) <= last or not row[columns["filename"]]:
                    raise InputError(f"{where}: has no {' and '.join(needed)}; mend it")
                cells = {name: row[place].strip() if place < len(row) else "" for name, place in columns.items()}
                yield where, {**cells, "filename": row[columns["filename"]]}
    except OSError as error:
        raise InputError(f"{flag} {path}: can't be read ({error.strerror}); name another file") from error
    except csv.Error as error:
        raise InputError(f"{flag} {path}: is no CSV ({error}); name another file") from error
    if empty:
        raise InputError(f"{flag} {path}: has no rows; name another file")
