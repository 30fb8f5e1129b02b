"""Which videos are fake, as a metadata.json or a CSV says it. All that read labels read them here.

{"abc.mp4": {"label": "REAL" or "FAKE", "original": "xyz.mp4" or null}, ...}    as the DFDC's parts have it
{"abc.mp4": {"is_fake": 0 or 1}, ...}                                           as its test release has it
"""

import os
import reprlib
from collections import Counter

from runtime import limits
from runtime.files import read_json

_WORDS = {"real": False, "fake": True}
_NUMBERS = {0.0: False, 1.0: True}


def parse_label(text: str) -> bool | None:
    """Whether a label of a CSV says fake: real or fake in any case, or a number, 0 or 1. None where it says neither."""
    try:
        return _NUMBERS.get(float(text))
    except ValueError:
        return _WORDS.get(text.lower())


def read_metadata(path: str | os.PathLike) -> tuple[dict[str, dict], dict[str, str]]:
    """The entries of a metadata.json as they are, and what is wrong with the others, both by their keys.

    A key that is there twice makes an entry wrong: which of the two holds can't be told. Raises OSError where the file
    can't be read, and ValueError, with what is to be said after its name, where it makes no sense.
    """
    try:
        content = read_json(path, limits.METADATA, make_object=_Object)
    except ValueError as error:
        raise ValueError(f"is no JSON ({error})") from error
    if not isinstance(content, _Object):
        raise ValueError("must be an object with an entry for each video")
    entries, problems = {}, {key: _twice(key) for key in content.repeated}
    for name, entry in content.items():
        if name in problems:
            continue
        if not isinstance(entry, _Object):
            problems[name] = 'must be an object such as {"label": "REAL"}'
        elif entry.repeated:
            problems[name] = _twice(entry.repeated[0])
        else:
            entries[name] = entry
    return entries, problems


def is_fake(entry: dict) -> bool:
    """What an entry says by `label`, in any case, by `is_fake`, or by both. Raises ValueError where it says nothing."""
    label, number = entry.get("label"), entry.get("is_fake")
    by_label = _WORDS.get(label.lower()) if isinstance(label, str) else None
    by_number = _NUMBERS.get(number) if isinstance(number, int | float) else None
    if by_label is None and (label is not None or number is None):
        raise ValueError(f"label {reprlib.repr(label)} must be REAL or FAKE")
    if by_number is None and number is not None:
        raise ValueError(f"is_fake {reprlib.repr(number)} must be 0 or 1")
    if None not in (by_label, by_number) and by_label != by_number:
        raise ValueError(f"label {label} and is_fake {number} contradict each other; leave the wrong one out")
    return by_number if by_label is None else by_label


class _Object(dict):
    """An object of a JSON file, and the keys that it has more than once."""

    __slots__ = ("repeated",)

    def __init__(self, pairs: list[tuple[str, object]]):
        super().__init__(pairs)
        self.repeated = ()
        if len(self) < len(pairs):  # counting takes more time and memory than all else
            self.repeated = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]


def _twice(key: str) -> str:
    return f'the key "{key}" is there twice; leave one out'
