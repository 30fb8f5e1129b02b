"""Which files of a folder are scored, and what is left out: nothing is dropped without being named."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from faces.containers import METADATA, is_video_name
from runtime.errors import InputError, OutputError, printable

_SHOWN = 20  # names; all of them are in the summary file
# after the name of an output without .csv
_BESIDE_OUTPUT = re.compile(r"\.(?:summary|case)\.json|\.[0-9a-f]{8}\.jsonl")


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Names in the folder of videos, sorted: the videos, what is left out (folders end in "/"), and hidden files."""

    videos: list[str]
    left_out: list[str]
    hidden: list[str]


def list_videos(folder: str, *, only_mp4: bool, outputs: Sequence[str]) -> Listing:
    """What a folder holds. Files that a run with these `outputs` writes are neither videos nor left out, nor is a data
    root's metadata.json. Raises InputError where there is no video."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name + "/" * _is_folder(entry) for entry in entries)
    except OSError as error:
        raise InputError(f"--test-dir {folder}: can't be read ({error.strerror}); name a folder with videos") from error
    hidden = [name for name in names if name.startswith(".")]
    ours = _written_here(folder, outputs)
    seen = [name for name in names if not name.startswith(".") and name != METADATA]
    videos = [name for name in seen if (name.endswith(".mp4") if only_mp4 else is_video_name(name))]
    left_out = [name for name in seen if name not in set(videos) and not ours.fullmatch(name)]
    if not videos:
        wanted = "*.mp4" if only_mp4 else "video, by its name"
        raise InputError(f"--test-dir {folder}: holds no {wanted}{_others(left_out, hidden)}; nothing was written")
    return Listing(videos=videos, left_out=left_out, hidden=hidden)


def check_no_videos(folder: str, outputs: Sequence[str]) -> None:
    """Raises OutputError for an output in the folder of videos whose name is a video's: the next run would read it."""
    real = os.path.realpath(folder)
    for path in outputs:
        place, name = os.path.split(os.path.realpath(path))
        if place == real and is_video_name(name):
            raise OutputError(f"{path}: would be one of the videos of --test-dir by its name; choose another name")


def tell_left_out(listing: Listing) -> None:
    """Name what the folder holds besides videos."""
    for name in listing.left_out[:_SHOWN]:
        what = "a folder, in which no videos are looked for" if name.endswith("/") else "no video, by its name"
        print(f"  left out: {printable(name)}: {what}")
    if len(listing.left_out) > _SHOWN:
        print(f"  left out: {len(listing.left_out) - _SHOWN} more, see the summary file")
    if listing.hidden:
        print(f"  left out: {len(listing.hidden)} hidden file{'s' * (len(listing.hidden) > 1)}")


def _others(left_out: list[str], hidden: list[str]) -> str:
    counts = (
        [f"{len(left_out)} other files ({', '.join(left_out[:3])}{', ...' * (len(left_out) > 3)})"] if left_out else []
    )
    counts += [f"{len(hidden)} hidden ones"] if hidden else []
    return f", only {' and '.join(counts)}" if counts else ""


def _written_here(folder: str, outputs: Sequence[str]) -> re.Pattern:
    """What matches the names of outputs in the folder, and of what stands beside them."""
    real = os.path.realpath(folder)
    here = [os.path.basename(path) for path in outputs if os.path.dirname(os.path.realpath(path)) == real]
    stems = "|".join(re.escape(name.removesuffix(".csv")) for name in here)
    names = "|".join(re.escape(name) for name in here)
    return re.compile(f"{names}|(?:{stems})(?:{_BESIDE_OUTPUT.pattern})" if here else r"(?!)")


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle: as unreadable as any other bad file
        return False
