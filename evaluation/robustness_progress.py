"""What of a robustness test is done: a journal in the output folder, by which a run that was stopped goes on.

A video of a variant is made, or all of a variant's predictions are complete, when they came from the same files (size
and time of change) by the same settings, and what was made of them is what it was.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from evaluation.variants import Variant
from runtime.errors import InputError
from runtime.files import file_identity
from runtime.journal import Journal

_KEYS = {  # of each kind of line: what it has besides the variant's name
    "begun": {},
    "made": {"video": str, "settings": str, "source": list, "output": list},
    "scored": {"settings": str, "sources": dict, "outputs": dict, "exit_code": int},
}
Identity = tuple[int, int] | None


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Predictions of a variant: which files its videos were made of, by name, and the exit code of the prediction."""

    sources: Mapping[str, Identity]
    exit_code: int


class Progress:
    """The journal of an output folder, which one process has at a time. Raises OutputError as `Journal` does."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._journal = Journal(
            folder / "robustness.jsonl",
            busy="another run is writing to this folder; wait for it or choose another --output-dir",
            remedy="choose another --output-dir",
        )
        self._begun: set[str] = set()
        self._made: dict[tuple[str, str], dict] = {}
        self._scored: dict[str, dict] = {}
        for number, record in enumerate(self._journal.records, start=1):
            kind = next(iter(record), None)
            if not _is_record(record, kind):
                raise self._journal.damaged(number)
            self._take(kind, record)

    def _take(self, kind: str, record: dict) -> None:
        variant = record[kind]
        if kind == "begun":
            self._begun.add(variant)
        elif kind == "made":
            self._made[variant, record["video"]] = record
        else:
            self._scored[variant] = record

    def _add(self, kind: str, record: dict) -> None:
        self._journal.add(record)
        self._take(kind, record)

    def begin(self, variant: Variant, videos: Path) -> None:
        """Make the folder of a variant's videos, whose content may be replaced and deleted from now on. Raises
        InputError where it holds what no run has made, and OSError."""
        if variant.name not in self._begun:
            if videos.is_symlink() or (videos.exists() and any(videos.iterdir())):
                raise InputError(
                    f"--output-dir {self._folder}: {videos} is there, and no run has made it; "
                    "move it elsewhere, or choose another"
                )
            self._add("begun", {"begun": variant.name})
        videos.mkdir(parents=True, exist_ok=True)

    def is_made(self, variant: Variant, source: str, output: Path) -> bool:
        record = self._made.get((variant.name, output.name))
        return (
            record is not None
            and record["settings"] == variant.digest
            and record["source"] == _as_json(file_identity(source)) != []
            and record["output"] == _as_json(file_identity(output)) != []
        )

    def add_made(self, variant: Variant, source: Identity, output: Path) -> None:
        record = {"video": output.name, "settings": variant.digest, "source": _as_json(source)}
        self._add("made", {"made": variant.name, **record, "output": _as_json(file_identity(output))})

    def scored(self, variant: Variant, settings: str) -> Scored | None:
        """The complete predictions of a variant with these settings, if there are any."""
        record = self._scored.get(variant.name)
        if record is None or record["settings"] != settings:
            return None
        if any(_as_json(file_identity(self._folder / path)) != known for path, known in record["outputs"].items()):
            return None
        sources = {name: tuple(identity) for name, identity in record["sources"].items()}
        return Scored(sources=sources, exit_code=record["exit_code"])

    def add_scored(self, variant: Variant, settings: str, scored: Scored, outputs: list[Path]) -> None:
        record = {
            "settings": settings,
            "sources": {name: _as_json(identity) for name, identity in scored.sources.items()},
            "outputs": {os.fspath(path.relative_to(self._folder)): _as_json(file_identity(path)) for path in outputs},
            "exit_code": scored.exit_code,
        }
        self._add("scored", {"scored": variant.name, **record})

    def close(self) -> None:
        self._journal.close()


def _is_record(record: dict, kind: str | None) -> bool:
    """Whether a line can be one that was added."""
    if kind not in _KEYS or record.keys() != {kind, *_KEYS[kind]} or not isinstance(record[kind], str):
        return False
    if not all(isinstance(record[key], type_) for key, type_ in _KEYS[kind].items()):
        return False
    identities = [record[key] for key in ("source", "output") if key in record]
    identities += [each for key in ("sources", "outputs") for each in record.get(key, {}).values()]
    return all(_is_identity(each) for each in identities)


def _is_identity(value: object) -> bool:
    return isinstance(value, list) and len(value) in (0, 2) and all(type(each) is int for each in value)


def _as_json(identity: Identity) -> list[int]:
    """Nothing for a file that isn't there."""
    return list(identity or ())
