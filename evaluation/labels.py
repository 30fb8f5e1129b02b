"""What videos are: labels, originals and other columns, as a CSV, metadata.json files or a data root tell them."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from evaluation.tables import read_rows
from faces.containers import METADATA
from preprocessing.labels import is_fake, parse_label, read_metadata
from runtime.errors import InputError

_NEEDED = ("filename", "label")
_KNOWN = {*_NEEDED, "is_fake", "original"}  # what a Truth has besides its columns


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What a video is.

    `part` is the part folder whose metadata.json says so; None for a CSV. `original` is the name or id of the video
    that it was made from, where that is told. `columns` are the other columns of a CSV's row, or the other plain values
    of a metadata.json's entry, as text.
    """

    is_fake: bool
    part: str | None = None
    original: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)


def label_files(paths: Sequence[str]) -> list[str]:
    """The files that labels are read from: a data root's metadata.json, others as they are. Raises InputError."""
    files = []
    for path in paths:
        if not os.path.isdir(path):
            files.append(path)
            continue
        found = sorted(str(file) for file in Path(path).glob(f"*/{METADATA}"))
        if not found:
            raise InputError(f"--labels {path}: no folder in it has a {METADATA}; name a data root, or the file itself")
        files += found
    return files


def read_labels(files: Sequence[str]) -> dict[str, Truth]:
    """What each video is, by its file's name. Raises InputError, also for a video that is there twice."""
    truth: dict[str, Truth] = {}
    for path in files:
        for where, filename, video in read_label_json(path) if path.endswith(".json") else read_label_csv(path):
            if filename in truth:
                raise InputError(f"{where}: {filename} is there twice; leave one out")
            truth[filename] = video
    return truth


def read_label_json(path: str) -> Iterator[tuple[str, str, Truth]]:
    """Place, file name and truth of each video; the files themselves need not be there. Raises InputError."""
    where = f"--labels {path}"
    try:
        entries, problems = read_metadata(path)
    except OSError as error:
        raise InputError(f"{where}: can't be read ({error.strerror}); name another") from error
    except ValueError as error:
        raise InputError(f"{where}: {error}; get it again") from error
    for filename, reason in problems.items():
        raise InputError(f"{where}: {filename}: {reason}")
    if not entries:
        raise InputError(f"{where}: must be an object with an entry for each video; get it again")
    part = Path(os.path.abspath(path)).parent.name
    for filename, entry in entries.items():
        try:
            fake = is_fake(entry)
        except ValueError as error:
            raise InputError(f"{where}: {filename}: {error}; mend it") from error
        original = entry.get("original")
        columns = {
            key: value if isinstance(value, str) else json.dumps(value)
            for key, value in entry.items()
            if key not in _KNOWN and isinstance(value, str | int | float)
        }
        original = original if isinstance(original, str) and original else None
        yield where, filename, Truth(is_fake=fake, part=part, original=original, columns=columns)


def read_label_csv(path: str) -> Iterator[tuple[str, str, Truth]]:
    """Place, file name and truth of each video; the column `original` need not be there. Raises InputError."""
    for where, row in read_rows("--labels", path, _NEEDED):
        filename, text = row["filename"], row["label"]
        fake = parse_label(text)
        if fake is None:
            raise InputError(f"{where}: label {text!r} of {filename} must be 0, 1, REAL or FAKE; mend it")
        columns = {name: cell for name, cell in row.items() if name not in _KNOWN}
        yield where, filename, Truth(is_fake=fake, original=row.get("original") or None, columns=columns)
