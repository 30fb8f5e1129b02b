"""The videos that a stage cuts out of one video: none, one or many, which are there together or are made again.

A record beside them, <id>.json, says which they are, of which inputs and settings, and what is known of each:

    {"inputs": [[bytes, time of change], ...], "settings": {...}, "videos": [{"file": name, "links": [path, ...], ...}]}

It is written before they are, so that whatever of ours lies in the folder is in a record, and only that is replaced.
"""

import contextlib
import json
import os
import re
import shutil
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from preprocessing.outputs import new_files
from runtime import limits
from runtime.errors import ItemError
from runtime.files import file_identity, open_folder, parse_json

_PART_NUMBER = re.compile(r".*_(\d+)", re.ASCII)


def part_number(folder: str) -> int | None:
    """The number of a part folder by its name, as dfdc_train_part_7 has it; None for another name."""
    match = _PART_NUMBER.fullmatch(folder)
    return int(match[1]) if match else None


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the videos that are cut out of one video go.

    `folder` is theirs, below `root`, by names. `names` is a pattern that all their names match, and nothing else's in
    the folder does. `links` are what stands before such a name where it has a second one: a folder, by names, and the
    beginning of a file's name.
    """

    root: Path
    folder: tuple[str, ...]
    video_id: str
    names: str
    links: tuple[tuple[str, ...], ...] = ()

    @property
    def record(self) -> Path:
        return Path(self.root, *self.folder, f"{self.video_id}.json")

    def output(self, inputs: Sequence[str], settings: dict) -> Path:
        """For the item of a stage: the record, if it is of these inputs and settings and all that it lists is there;
        else a path where nothing is."""
        made = read_made(self, inputs, settings)
        return self.record if made is not None else self.record.with_name(f".{self.video_id}.missing")

    def second_names(self, file: str) -> list[tuple[str, ...]]:
        """All that a file may have, each as folders below `root` and a name."""
        return [(*link[:-1], link[-1] + file) for link in self.links]


def read_made(place: Place, inputs: Sequence[str], settings: dict) -> list[dict] | None:
    """What the record says of each video, if all are there and of these inputs and settings; else None."""
    try:
        record = _read(place)
    except ItemError:  # which is told when the item is worked on
        return None
    if record is None or record["settings"] != settings or record["inputs"] != _identities(inputs):
        return None
    return record["videos"] if all(_is_file(place.root, path) for path in _paths(place, record)) else None


@contextlib.contextmanager
def new_videos(place: Place, inputs: Sequence[str], settings: dict, made: list[dict]) -> Iterator[Path]:
    """An empty folder to write videos into: if the block ends well they replace those that were cut out before.

    The block fills `made`, an entry for each video: "file", its name in the folder, "links", the second names that it
    gets (`Place.second_names`), and whatever else is known of it. Raises ItemError where something else is in the way.
    """
    before = _read(place) or {"videos": []}
    record = {"inputs": _identities(inputs), "settings": settings, "videos": made}  # of the inputs as they are read
    with new_files(Path(place.root, *place.folder), place.video_id, last="", root=place.root) as work:
        yield work
        ours, wanted = set(_paths(place, before)), _paths(place, record)
        for path in wanted:
            if path not in ours and os.path.lexists(Path(place.root, *path)):
                raise ItemError(
                    f"{Path(place.root, *path)}: is there, and no run of this stage has made that; move it elsewhere"
                )
        for path in ours.difference(wanted):
            with contextlib.suppress(FileNotFoundError), open_folder(place.root, *path[:-1]) as folder:
                os.unlink(path[-1], dir_fd=folder)
        file = work / place.record.name
        file.write_text(json.dumps(record))
        with open_folder(place.root, *place.folder) as folder:
            os.replace(file, place.record.name, dst_dir_fd=folder)
        for video in made:
            for link in map(tuple, video["links"]):
                _link(work / video["file"], place.root, link)


def _link(file: Path, root: Path, path: tuple[str, ...]) -> None:
    """Give a file a second name, or where the file system has no such thing a copy of that name."""
    second = file.with_name(f"{file.name}.link")
    try:
        os.link(file, second)
    except OSError:
        shutil.copyfile(file, second)
    with open_folder(root, *path[:-1], make=True) as folder:
        os.replace(second, path[-1], dst_dir_fd=folder)


def _paths(place: Place, record: dict) -> list[tuple[str, ...]]:
    """All files that a record lists, each as folders below the root and a name."""
    paths = []
    for video in record["videos"]:
        paths += [(*place.folder, video["file"]), *map(tuple, video["links"])]
    return paths


def _read(place: Place) -> dict | None:
    """A record, or None where there is none. Raises ItemError for one that no stage can have written: a data root comes
    from somewhere, and what a record lists is removed."""

    def checked(record: dict) -> dict:
        if record.keys() != {"inputs", "settings", "videos"}:
            raise ValueError("its keys are others")
        for video in record["videos"]:
            allowed = place.second_names(video["file"])
            if not re.fullmatch(place.names, video["file"]) or not all(
                tuple(link) in allowed for link in video["links"]
            ):
                raise ValueError(f"lists {video['file']}")
        return record

    if not os.path.lexists(place.record):
        return None
    return parse_json(
        place.record,
        limits.BOXES,
        ItemError,
        unreadable="can't be read ({}); mend or remove it",
        damaged="is no record of this stage ({}); move it elsewhere",
        parse=checked,
    )


def _is_file(root: Path, path: tuple[str, ...]) -> bool:
    try:
        return stat.S_ISREG(os.stat(Path(root, *path), follow_symlinks=False).st_mode)
    except OSError:
        return False


def _identities(inputs: Sequence[str]) -> list:
    """As they come back from JSON."""
    return [identity and list(identity) for identity in map(file_identity, inputs)]
