"""Which clips and mini videos a data root has, and their labels, as extract_face_clips.py and extract_mini_videos.py
leave them:

    face_videos_by_part/<part>/<video>_<chunk>_<face>.mp4               clips; short ones end with .mp4.short
    face_videos_by_real_fake/{REAL,FAKE}/<part>_<the same name>         the same files, by label
    mini-videos/<part, two digits>_<video>_<face>.mp4
    train_minivideos_df.csv                                             a row for each of them
"""

import os
import re
from typing import NamedTuple

import pandas as pd

from faces.containers import video_id
from runtime import limits
from runtime.errors import InputError
from runtime.files import open_file
from systems.medics.clip_files import BY_LABEL, BY_PART, LABELS, MINI_VIDEOS, TABLE

_CLIP_NAME = re.compile(r"(.+)_[0-9]+_[0-9]+\.mp4")  # what comes first is a video's name, of any container
_COLUMNS = ("vidfile", "filename", "part", "label")


class Clip(NamedTuple):
    """A clip or mini video: its `file` below the data root, the `video` and `part` that it is of; `label` 1 is fake."""

    video: str
    label: int
    part: str
    file: str


def read_clips(root: str | os.PathLike) -> list[Clip]:
    """The clips of a data root, by part and name. Raises InputError where there are none, or one has no label or
    both."""
    names_of = {label: set(_listed(os.path.join(root, BY_LABEL, folder))) for label, folder in enumerate(LABELS)}
    clips = []
    for part in sorted(name for name in _listed(os.path.join(root, BY_PART)) if not name.startswith(".")):
        for name in sorted(_listed(os.path.join(root, BY_PART, part))):
            match = _CLIP_NAME.fullmatch(name)
            if not match:
                continue  # a short clip, or what is known of a video
            labels = [label for label, names in names_of.items() if f"{part}_{name}" in names]
            if len(labels) != 1:
                where = "both in REAL and in FAKE" if labels else "neither in REAL nor in FAKE"
                raise InputError(
                    f"{os.path.join(root, BY_PART, part, name)}: is {where} of {BY_LABEL}; run extract_face_clips.py "
                    "again"
                )
            file = os.path.join(BY_PART, part, name)
            clips.append(Clip(video=video_id(match[1]), label=labels[0], part=part, file=file))
    if not clips:
        raise InputError(f"{os.fspath(root)}: has no clips in {BY_PART}; run extract_face_clips.py")
    return clips


def read_mini_videos(root: str | os.PathLike) -> list[Clip]:
    """The mini videos of a data root, in the table's order. Raises InputError where the table can't be used."""
    path = os.path.join(root, TABLE)
    try:
        with open_file(path, limits.FOLDS) as file:
            table = pd.read_csv(file, dtype=str, keep_default_na=False, na_filter=False, index_col=False)
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror}); run extract_mini_videos.py") from error
    except (ValueError, pd.errors.ParserError) as error:
        raise InputError(f"{path}: is no table ({' '.join(str(error).split())}); run extract_mini_videos.py") from error
    missing = [column for column in _COLUMNS if column not in table.columns]
    if missing or table.empty:
        what = f"has no column {', '.join(missing)}" if missing else "has no rows"
        raise InputError(f"{path}: {what}; run extract_mini_videos.py")
    return [
        _mini_video(path, line, *values)
        for line, values in enumerate(zip(*(table[column] for column in _COLUMNS), strict=True), start=2)
    ]


def _mini_video(path: str, line: int, vidfile: str, filename: str, part: str, label: str) -> Clip:
    name = os.path.basename(vidfile.replace("\\", "/"))
    if label not in ("0", "1") or not name.endswith(".mp4") or not filename:
        raise InputError(
            f"{path}, line {line}: label {label!r}, vidfile {vidfile!r}: a label is 0 or 1, a file ends with .mp4; "
            "run extract_mini_videos.py"
        )
    return Clip(video=video_id(filename), label=int(label), part=part, file=os.path.join(MINI_VIDEOS, name))


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"{folder}: can't be read ({error.strerror}); run extract_face_clips.py") from error
