"""What tests/fuzz.py damages: folders of files that belong together, and the commands that read each of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

Command = Callable[[Path], int]  # on a folder that holds all the files; returns the exit code


@dataclass(frozen=True, kw_only=True)
class Target:
    """A file to damage: where it may be in the copy (patterns), of what kind it is, and the commands that read it.
    `result` is what must come out as it did before where the exit code is 0."""

    files: tuple[str, ...]
    kind: str
    commands: tuple[Command, ...]
    result: str | None = None


@dataclass(frozen=True, kw_only=True)
class Files:
    """The files of a system: `make` writes all of them into an empty folder, as the commands do; `targets` by name."""

    make: Callable[[Path], None]
    targets: Mapping[str, Target]


def run_all(commands: tuple[Command, ...], folder: Path) -> None:
    """What `make` ends with. Raises RuntimeError where one fails."""
    for command in commands:
        if command(folder):
            raise RuntimeError(f"{command.__name__} fails on whole files")
