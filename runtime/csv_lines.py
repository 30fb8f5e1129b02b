"""Lines of CSV files."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence


def csv_lines(rows: Iterable[Sequence]) -> Iterator[str]:
    """Each row as a line that ends with LF, as pandas writes it. Cells that hold CR or LF are quoted."""
    line = io.StringIO()
    writer = csv.writer(line)  # it ends lines with CR LF, and so quotes names that hold either
    for row in rows:
        writer.writerow(row)
        yield line.getvalue().removesuffix("\r\n") + "\n"
        line.seek(0)
        line.truncate()
