"""What a data root holds: its videos, by the metadata.json of each part folder.

    DATA_ROOT/<part folder>/metadata.json  {"abc.mp4": {"label": "REAL" or "FAKE", "original": "xyz.mp4" or null}, ...}
    DATA_ROOT/<part folder>/abc.mp4

A video may be of any container in containers.py. Its id is its file name without the ending: a string, also where it
looks like a number. Whatever is wrong with an entry leaves that entry out and is told in a line; the rest can be used.
"""

import os
import re
import reprlib
import stat
import unicodedata
from dataclasses import dataclass
from functools import cache

from faces.containers import METADATA, is_video_name, video_id
from preprocessing.labels import is_fake, read_metadata
from runtime.errors import InputError

_LONGEST = 230  # bytes of a name, of the 255 that file systems allow: outputs add endings


@dataclass(frozen=True, kw_only=True)
class Video:
    """One entry of a metadata.json. `original_name` is the file that it says a fake was made from, where it says so."""

    id: str
    part: str  # the folder's name
    path: str
    is_fake: bool
    original_name: str | None

    @property
    def name(self) -> str:
        """The file's name, with its ending."""
        return os.path.basename(self.path)

    @property
    def original(self) -> str | None:
        """The id of the video that a fake was made from, where it is known."""
        return None if self.original_name is None else video_id(self.original_name)

    @property
    def source(self) -> str:
        """The id of the video whose boxes and landmarks serve this one: a fake's original, else the video itself."""
        return self.original or self.id


@dataclass(frozen=True, kw_only=True)
class DataRoot:
    """The usable videos, sorted by part and name, and what was wrong with the others, by "part/name"."""

    videos: list[Video]
    problems: dict[str, str]

    @property
    def sources(self) -> list[Video]:
        """The videos that faces are searched in: the real ones, and fakes whose original is not known."""
        return [video for video in self.videos if video.original is None]

    @property
    def fakes_with_original(self) -> list[Video]:
        return [video for video in self.videos if video.original is not None]


def read_data_root(root: str | os.PathLike) -> DataRoot:
    """List a data root. Raises InputError where it can't be read or holds no metadata.json or no usable video."""
    parts = list_parts(root)
    problems: dict[str, str] = {}
    videos: list[Video] = []
    for part in parts:
        found, wrong = read_part(os.path.join(root, part))
        videos += found
        problems.update({f"{part}/{name}": reason for name, reason in wrong.items()})
    videos = _without_repeated(videos, problems)
    videos = _without_mixed_up(videos, problems)
    videos = _without_orphans(videos, problems)
    if not videos:
        first = "".join(f"; {name}: {reason}" for name, reason in list(problems.items())[:3])
        raise InputError(f"--root-dir {root}: no usable video in {len(parts)} part folder(s){first}")
    return DataRoot(videos=videos, problems=problems)


def list_parts(root: str | os.PathLike) -> list[str]:
    """Names of the folders that have a metadata.json, numbers in their order. Raises InputError where there is none."""
    try:
        with os.scandir(root) as entries:
            parts = [entry.name for entry in entries if os.path.lexists(os.path.join(entry.path, METADATA))]
    except OSError as error:
        raise InputError(f"--root-dir {root}: can't be read ({error.strerror}); name the data root") from error
    if not parts:
        above = os.path.lexists(os.path.join(root, METADATA))
        hint = "it has one itself: name the folder above it" if above else "preprocessing/make_metadata.py writes them"
        raise InputError(f"--root-dir {root}: no folder in it has a {METADATA}; {hint}")
    return sorted(parts, key=lambda name: [int(t) if t.isdecimal() else t for t in re.split(r"(\d+)", name)])


def read_part(folder: str | os.PathLike) -> tuple[list[Video], dict[str, str]]:
    """The usable videos of one part folder and what is wrong with the other entries, both by the name in metadata.json.

    Whether originals exist is not looked at: they may lie in other parts.
    """
    folder = os.fspath(folder)
    try:
        entries, problems = read_metadata(os.path.join(folder, METADATA))
    except OSError as error:
        return [], {METADATA: f"can't be opened ({error.strerror})"}
    except ValueError as error:
        return [], {METADATA: f"{error}; its videos are left out"}
    videos = []
    for name in sorted(entries):
        try:
            videos.append(_read_entry(folder, name, entries[name]))
        except ValueError as error:
            problems[name] = str(error)
    return videos, problems


def _read_entry(folder: str, name: str, entry: dict) -> Video:
    _check_name(name)
    fake, original = is_fake(entry), entry.get("original")
    if original is not None:
        if not isinstance(original, str):
            raise ValueError(f"original {reprlib.repr(original)}: must be a file name or null")
        try:
            _check_name(original)
        except ValueError as error:
            raise ValueError(f"original {original!r}: {error}") from error
    path = os.path.join(folder, name)
    try:
        status = os.stat(path)
    except OSError as error:
        raise ValueError(f"there is no such video ({error.strerror})") from error
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("is not a regular file")
    return Video(
        id=video_id(name),
        part=os.path.basename(folder),
        path=path,
        is_fake=fake,
        original_name=original if fake else None,
    )


def _check_name(name: str) -> None:
    """Ids become names of files and folders: nothing that leads elsewhere or hides."""
    if not is_video_name(name) or any(c in name for c in "/\\\0") or not name.isprintable():
        raise ValueError("not the name of a video beside the metadata.json")
    if len(os.fsencode(name)) > _LONGEST:
        raise ValueError(f"its name is longer than {_LONGEST} bytes; rename it, here and in its fakes' entries")


def _without_repeated(videos: list[Video], problems: dict[str, str]) -> list[Video]:
    """The first of each id, without the fakes of one that is there again: which it was made from can't be told."""
    first: dict[str, Video] = {}
    again: dict[str, Video] = {}
    for video in videos:
        other = first.setdefault(video.id, video)
        if other is not video:
            again[video.id] = video
            problems[_place(video)] = f"{_place(other)} has the same id, {video.id}; rename or remove one"
    kept = []
    for video in first.values():
        if video.original in again:
            originals = f"{_place(first[video.original])} or {_place(again[video.original])}"
            problems[_place(video)] = f"its original may be {originals}; rename or remove one"
        else:
            kept.append(video)
    return kept


def _without_mixed_up(videos: list[Video], problems: dict[str, str]) -> list[Video]:
    """Without those whose id differs from an earlier one's only in case or Unicode form, where the file system takes
    the two for one: their outputs would be the same files."""
    names = cache(lambda folder: frozenset(os.listdir(folder)))

    def is_found_as(video: Video, id_: str) -> bool:
        """Whether the video's file is found by a name that its folder does not list."""
        folder, name = os.path.dirname(video.path), id_ + video.name[len(video.id) :]
        return name not in names(folder) and os.path.lexists(os.path.join(folder, name))

    first: dict[tuple[str, str], Video] = {}
    kept = []
    for video in videos:
        form = unicodedata.normalize("NFC", video.id)
        others = [first.setdefault(key, video) for key in (("form", form), ("case", form.casefold()))]
        for other in others:
            if other is not video and any(
                is_found_as(one, id_) for one in (video, other) for id_ in (video.id, other.id)
            ):
                problems[_place(video)] = (
                    f"its id differs from that of {_place(other)} only in case or in the form of its letters, which "
                    "this file system does not tell apart; rename one"
                )
                break
        else:
            kept.append(video)
    return kept


def _without_orphans(videos: list[Video], problems: dict[str, str]) -> list[Video]:
    real = {video.id for video in videos if not video.is_fake}
    kept = []
    for video in videos:
        if video.original is None or video.original in real:
            kept.append(video)
        else:
            problems[_place(video)] = f"its original {video.original_name} is not among the real videos"
    return kept


def _place(video: Video) -> str:
    return f"{video.part}/{video.name}"
