"""Turn FaceForensics++, Celeb-DF v2 or a CSV of labels into a data root, so that every stage works on it.

    python preprocessing/make_metadata.py --layout faceforensics --source FF --root-dir DATA_ROOT --compression c23
    python preprocessing/make_metadata.py --layout celebdf --source Celeb-DF-v2 --root-dir Celeb-DF-v2
    python preprocessing/make_metadata.py --layout csv --source VIDEOS --labels labels.csv --root-dir DATA_ROOT

Input: the dataset as its makers give it out, its videos in any container of containers.py; or videos and a CSV of two
columns, path below --source and label (REAL, FAKE, 0 or 1; 1 is fake). Output: in DATA_ROOT/<part folder>, a relative
link to each video that does not lie there already, with the video's own ending, and metadata.json, {"<id>.mp4":
{"label": "REAL" or "FAKE", "split": "train" or "test", "original": "<id>.mp4" or null}, ...}. No video is copied or
changed.
"""

import argparse
import csv
import io
import os
import re
import shlex
import stat
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project, from wherever this is run

import runtime.environment  # noqa: F401  it says what to do where the others can't be imported

from faces.containers import METADATA, SUFFIXES, is_video_name, video_id
from preprocessing.data_root import read_part
from preprocessing.labels import parse_label, read_metadata
from preprocessing.stage import report_bad
from runtime import limits
from runtime.command import run_command
from runtime.errors import InputError, OutputError, printable
from runtime.files import make_folder, open_folder, open_text, write_json
from runtime.ranks import Ranks

COMPRESSIONS = ("raw", "c23", "c40")
_TEST_LIST = "List_of_testing_videos.txt"
_SHOWN = 5  # files of a folder that are no videos
_REMEDY = "--root-dir must be writable, and on a file system that has links"

# where a fake's original is part of its id
_FACEFORENSICS_FAKE = re.compile(r"(?P<target>\d+)_\d+")
_DEEPFAKEDETECTION_FAKE = re.compile(r"(?P<actor>\d+)_\d+__(?P<scene>.+)__[^_]+")
_CELEBDF_FAKE = re.compile(r"(?P<target>id\d+)_id\d+_(?P<clip>\d+)")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A video of the dataset and what is to be said of it. `original` is the video that a fake was made from, where it
    is known: its id, and its file name once it is found."""

    source: str  # path below --source
    part: str
    name: str
    is_fake: bool
    original: str | None = None
    split: str = "train"
    where: str = ""  # besides `source`, for messages

    @property
    def key(self) -> str:
        return self.source + self.where


Problems = dict[str, str]  # what is wrong with single videos, by their paths below --source


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Turn other datasets into a data root")
    arg = parser.add_argument
    arg("--layout", required=True, choices=["faceforensics", "celebdf", "csv"], help="what lies in --source")
    arg("--source", required=True, metavar="DIR", help="folder of the dataset")
    arg("--root-dir", required=True, metavar="DIR", help="data root to make, or to add parts to; may be --source")
    arg("--compression", choices=COMPRESSIONS, help="with --layout faceforensics: which of its videos (default: c23)")
    arg("--labels", metavar="FILE", help="with --layout csv: path and label of each video, one to a line")
    arg("--overwrite", action="store_true", help=f"replace a {METADATA} that has other content; videos never are")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    return run_command(make_metadata, parse_args(argv))


def make_metadata(args: argparse.Namespace, ranks: Ranks) -> int:
    if ranks.rank:
        return 0  # it takes seconds: one process does it

    # list the work
    check_flags(args)
    entries, problems = list_dataset(args)
    found = len(entries) + len(problems)
    entries = without_unusable(entries, Path(args.source), Path(args.root_dir), problems)
    entries = without_orphans(entries, problems)
    if not entries:
        first = "".join(f"; {key}: {reason}" for key, reason in list(problems.items())[:1])
        raise InputError(f"--source {args.source}: not one of {found} videos can be used{first}")
    parts = metadata_of(entries)
    new = [part for part in parts if is_new(Path(args.root_dir, part, METADATA), parts[part], args.overwrite)]

    # write: metadata.json comes last, so that no part is taken for whole before it is
    source, root = os.path.realpath(args.source), Path(args.root_dir)
    for part in parts:
        make_part(root / part, root)
    for entry in entries:
        make_link(Path(source, entry.source), place_of(entry, root), root)
    for part in new:
        write_metadata(root / part / METADATA, parts[part], root)

    # summarise
    code = report_bad("metadata", {}, problems)
    for line in statistics(parts):
        print(printable(line))
    print(printable(f"next: ./preprocess_data.sh {shlex.quote(args.root_dir)}"))
    return code


def check_flags(args: argparse.Namespace) -> None:
    if args.compression and args.layout != "faceforensics":
        raise InputError("--compression goes with --layout faceforensics only; leave it out")
    if args.labels and args.layout != "csv":
        raise InputError("--labels goes with --layout csv only; leave it out")
    if not args.labels and args.layout == "csv":
        raise InputError("--layout csv: --labels must name the CSV of paths and labels")
    try:
        os.listdir(args.source)
    except OSError as error:
        raise InputError(f"--source {args.source}: can't be read ({error.strerror}); name the dataset") from error


def list_dataset(args: argparse.Namespace) -> tuple[list[Entry], Problems]:
    """The videos that the dataset says it has, and what is wrong with names. Raises InputError for nothing at all."""
    source = Path(args.source)
    if args.layout == "faceforensics":
        return list_faceforensics(source, args.compression or "c23")
    if args.layout == "celebdf":
        return list_celebdf(source)
    return list_csv(Path(args.labels), Path(os.path.abspath(source)).name or "videos")


def list_faceforensics(source: Path, compression: str) -> tuple[list[Entry], Problems]:
    """Fakes of all methods have the same names: they get their method's before them. ffpp_youtube and ffpp_actors don't
    end in `_<number>`: the folds would take them for parts of the DFDC."""
    check_compression(source, compression)
    entries, problems = [], {}
    for name in ("youtube", "actors"):
        for path in list_videos(source, f"original_sequences/{name}/{compression}/videos"):
            entries.append(Entry(source=str(path), part=f"ffpp_{name}", name=path.name, is_fake=False))
    for method in sorted(folder.name for folder in source.glob("manipulated_sequences/[!.]*")):
        for path in list_videos(source, f"manipulated_sequences/{method}/{compression}/videos"):
            try:
                original = original_of_faceforensics(method, video_id(path.name))
            except ValueError as error:
                problems[str(path)] = str(error)
                continue
            name = f"{method}_{path.name}"
            entry = Entry(source=str(path), part=f"ffpp_{method}", name=name, is_fake=True, original=original)
            entries.append(entry)
    return entries, problems


def check_compression(source: Path, compression: str) -> None:
    """Name the sequences that lack the compression. Raises InputError where it is all of them."""
    there: dict[str, set[str]] = {}
    for path in sorted(source.glob("*_sequences/*/*/videos/*")):
        if is_video_name(path.name):
            sequence, one = path.parts[-4], path.parts[-3]
            there.setdefault(sequence, set()).add(one)
    if not there:
        raise InputError(
            f"--source {source}: no videos in original_sequences/youtube/{compression}/videos or any other folder of "
            "FaceForensics++; name the folder that holds original_sequences"
        )
    lacking = {sequence: sorted(found) for sequence, found in there.items() if compression not in found}
    if len(lacking) == len(there):
        found = ", ".join(sorted({one for found in there.values() for one in found}))
        raise InputError(f"--source {source}: no videos at --compression {compression}; there are some at: {found}")
    for sequence, found in lacking.items():
        print(printable(f"note: {sequence} is left out: no videos at {compression}, some at {', '.join(found)}"))


def original_of_faceforensics(method: str, fake: str) -> str:
    """The id of the video that a fake was made from, by the fake's. Raises ValueError for an id of another form."""
    if method == "DeepFakeDetection":
        match = _DEEPFAKEDETECTION_FAKE.fullmatch(fake)
        if not match:
            raise ValueError("not named <actor>_<actor>__<scene>__<code>, as fakes of DeepFakeDetection are")
        return f"{match['actor']}__{match['scene']}"
    match = _FACEFORENSICS_FAKE.fullmatch(fake)
    if not match:
        raise ValueError("not named <target>_<source>, two numbers, as fakes of FaceForensics++ are")
    return match["target"]


def list_celebdf(source: Path) -> tuple[list[Entry], Problems]:
    test, problems = read_test_list(source / _TEST_LIST)
    listed = {video_id(path): is_fake for path, is_fake in test.items()}  # whatever its ending, it is that video
    entries, there = [], set()
    for part in ("Celeb-real", "YouTube-real", "Celeb-synthesis"):
        is_fake = part == "Celeb-synthesis"
        for path in list_videos(source, part):
            there.add(video_id(str(path)))
            listed_as_fake = listed.get(video_id(str(path)))
            match = _CELEBDF_FAKE.fullmatch(video_id(path.name))
            if is_fake and not match:
                problems[str(path)] = "not named id<target>_id<source>_<clip>, as fakes of Celeb-DF are"
            elif listed_as_fake not in (None, is_fake):
                problems[str(path)] = f"{_TEST_LIST} says {'fake' if listed_as_fake else 'real'} of it"
            else:
                original = f"{match['target']}_{match['clip']}" if is_fake else None
                split = "train" if listed_as_fake is None else "test"
                entry = Entry(
                    source=str(path), part=part, name=path.name, is_fake=is_fake, original=original, split=split
                )
                entries.append(entry)
    if not entries and not problems:
        raise InputError(
            f"--source {source}: no videos in Celeb-real, YouTube-real or Celeb-synthesis; name the folder of Celeb-DF "
            "that holds them"
        )
    gone = (path for path in test if video_id(path) not in there)
    problems.update(dict.fromkeys(gone, f"{_TEST_LIST} names it, but it is not there"))
    return entries, problems


def read_test_list(path: Path) -> tuple[dict[str, bool], Problems]:
    """Which videos are for testing, and whether each is fake; from lines such as `1 YouTube-real/00170.mp4`, 1 real."""
    if not path.exists():
        return {}, {}
    test, problems = {}, {}
    for number, line in enumerate(read_text("--source", path).splitlines(), start=1):
        label, *path_of_video = line.split(maxsplit=1) or [""]
        if label in ("0", "1") and path_of_video:
            test[path_of_video[0].rstrip()] = label == "0"
        elif label:
            problems[f"{path.name} line {number}"] = f"{line.strip()[:60]!r} is not 0 or 1 and a path"
    return test, problems


def list_csv(labels: Path, source_name: str) -> tuple[list[Entry], Problems]:
    lines: dict[str, list[tuple[int, Entry]]] = {}  # by path
    problems = {}
    for number, row in read_rows(labels):
        try:
            entry = entry_of_row(row, source_name, where_of(labels, number))
        except ValueError as error:
            problems[(row[0] or "''") + where_of(labels, number)] = str(error)
        else:
            lines.setdefault(entry.source, []).append((number, entry))
    entries = []
    for path, found in lines.items():
        first, entry = found[0]
        if len({each.is_fake for _, each in found}) > 1:
            said = " and ".join(f"{label_of(each)} in line {number}" for number, each in found)
            problems[f"{path} ({labels.name})"] = f"is {said}; leave the wrong one out"
            continue
        entries.append(entry)
        problems.update({each.key: f"line {first} says the same; leave one out" for _, each in found[1:]})
    if not entries and not problems:
        raise InputError(f"--labels {labels}: holds no line of a path and a label")
    return entries, problems


def where_of(labels: Path, number: int) -> str:
    return f" (line {number} of {labels.name})"


def read_rows(labels: Path) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and fields, without empty lines and without a header. Raises InputError."""
    reader = csv.reader(io.StringIO(read_text("--labels", labels), newline=""), skipinitialspace=True, strict=True)
    try:
        is_first = True
        for row in reader:
            fields = [field.strip() for field in row]
            if not any(fields):
                continue
            if not (is_first and is_header(fields)):
                yield reader.line_num, fields
            is_first = False
    except csv.Error as error:
        raise InputError(f"--labels {labels}: line {reader.line_num} is no CSV ({error})") from error


def is_header(fields: list[str]) -> bool:
    """A first line whose second field is no label; the line of a video whose label is wrong is to be told instead."""
    return len(fields) > 1 and parse_label(fields[1]) is None and not fields[0].lower().endswith(SUFFIXES)


def entry_of_row(fields: list[str], source_name: str, where: str) -> Entry:
    """Videos that lie in --source itself get its name as their part. Raises ValueError."""
    if len(fields) != 2:
        raise ValueError(f"must have two fields, a path and a label, not {len(fields)}")
    path, label = PurePosixPath(fields[0]), fields[1]
    if path.is_absolute() or ".." in path.parts:
        raise ValueError("must be a path below --source, without ..")
    if not is_video_name(path.name):
        raise ValueError("not the name of a video, which ends in .mp4, .mov, .avi, .mkv or the like")
    is_fake = parse_label(label)
    if is_fake is None:
        raise ValueError(f"label {label[:60]!r}: must be REAL, FAKE, 0 or 1 (1 is fake)")
    part = "_".join(path.parts[:-1]) or source_name
    return Entry(source=str(path), part=part, name=path.name, is_fake=is_fake, where=where)


def read_text(flag: str, path: Path) -> str:
    try:
        with open_text(path, limits.LABELS) as file:
            return file.read()
    except OSError as error:
        raise InputError(f"{flag} {path}: can't be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{flag} {path}: is no text in UTF-8; save it as that") from error


def list_videos(source: Path, folder: str) -> list[PurePosixPath]:
    """Paths below `source` of the videos in one of its folders, by name; none where there is no such folder. What else
    is in it is named."""
    try:
        names = os.listdir(source / folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise InputError(f"--source {source}: {folder} can't be read ({error.strerror})") from error
    videos = sorted(filter(is_video_name, names))
    others = sorted({*names} - {*videos, METADATA})
    if others:
        more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        print(printable(f"note: {folder}: no videos by their names, left out: {', '.join(others[:_SHOWN])}{more}"))
    return [PurePosixPath(folder, name) for name in videos]


def without_unusable(entries: list[Entry], source: Path, root: Path, problems: Problems) -> list[Entry]:
    """Leave out what is no video, or would not be the only one of its id in the data root."""
    places = places_in_other_parts(root, {entry.part for entry in entries})
    kept = []
    for entry in entries:
        id_ = video_id(entry.name)
        try:
            check_video(entry, source, root)
            if id_ in places:
                raise ValueError(f"{places[id_]} has the same id, {id_}; rename or remove one")
        except ValueError as error:
            problems[entry.key] = str(error)
            continue
        places[id_] = f"{entry.part}/{entry.name}"
        kept.append(entry)
    return kept


def places_in_other_parts(root: Path, parts: set[str]) -> dict[str, str]:
    """The videos of parts that the data root has besides those that are to be written: part and file name, by id."""
    others = (file.parent for file in sorted(root.glob(f"*/{METADATA}")) if file.parent.name not in parts)
    return {video.id: f"{video.part}/{video.name}" for folder in others for video in read_part(folder)[0]}


def check_video(entry: Entry, source: Path, root: Path) -> None:
    """Raises ValueError where the video can't be used, or something else lies at its place in the data root."""
    if "\\" in entry.name:
        raise ValueError("its name has a backslash; rename it")
    if not (entry.part + entry.name).isprintable():
        raise ValueError("its name can't be printed; rename it")
    try:
        status = os.stat(source / entry.source)
    except OSError as error:
        raise ValueError(f"there is no such video ({error.strerror})") from error
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("is not a regular file")
    place = place_of(entry, root)
    if os.path.lexists(place) and not is_same_file(place, source / entry.source):
        raise ValueError(f"something else is at {place}; remove that")


def place_of(entry: Entry, root: Path) -> Path:
    return root / entry.part / entry.name


def is_same_file(first: Path, second: Path) -> bool:
    try:
        return os.path.samefile(first, second)
    except OSError:  # a link that leads nowhere
        return False


def without_orphans(entries: list[Entry], problems: Problems) -> list[Entry]:
    """Leave out fakes whose original is not there, and let the others name its file."""
    real = {video_id(entry.name): entry.name for entry in entries if not entry.is_fake}
    kept = []
    for entry in entries:
        if entry.original is None:
            kept.append(entry)
        elif entry.original in real:
            kept.append(replace(entry, original=real[entry.original]))
        else:
            problems[entry.key] = f"its original {entry.original} is not among the real videos"
    return kept


def metadata_of(entries: list[Entry]) -> dict[str, dict]:
    """What each part's metadata.json is to hold."""
    parts: dict[str, dict] = {}
    for entry in entries:
        content = {"label": label_of(entry), "split": entry.split, "original": entry.original}
        parts.setdefault(entry.part, {})[entry.name] = content
    return parts


def label_of(entry: Entry) -> str:
    return "FAKE" if entry.is_fake else "REAL"


def is_new(path: Path, content: dict, overwrite: bool) -> bool:
    """Whether a metadata.json is to be written. Raises InputError where another one must not be replaced."""
    if not os.path.lexists(path):
        return True
    try:
        if read_metadata(path) == (content, {}):
            return False
    except (OSError, ValueError):
        pass  # whatever it is, it is something else
    if not overwrite:
        raise InputError(f"{path}: is there with other content; --overwrite replaces it")
    return True


def make_part(folder: Path, root: Path) -> None:
    try:
        if not os.path.lexists(root):
            root.mkdir(parents=True, exist_ok=True)
        make_folder(root, folder.name)
    except OSError as error:
        raise OutputError(f"{folder}: can't be made ({error.strerror}); --root-dir must be writable") from error


def make_link(video: Path, place: Path, root: Path) -> None:
    """Link to an absolute path by a relative one, which stays right when both are moved together."""
    if os.path.lexists(place):
        return  # it is this video: `check_video` has looked
    # `..` leads out of the folder itself, not out of a link to the data root
    target = os.path.relpath(video, os.path.realpath(place.parent))
    try:
        with open_folder(root, place.parent.name) as folder:
            os.symlink(target, place.name, dir_fd=folder)
    except OSError as error:
        raise OutputError(f"{place}: can't be written ({error.strerror}); {_REMEDY}") from error


def write_metadata(path: Path, content: dict, root: Path) -> None:
    write_json(path, content, "--root-dir must be writable", root=root, indent=1, sort_keys=True)


def statistics(parts: dict[str, dict]) -> list[str]:
    """A table: videos, real and fake, of each part and in all."""
    counts = {part: Counter(entry["label"] for entry in content.values()) for part, content in parts.items()}
    width = max(map(len, counts))
    lines = [f"{'part':<{width}}  videos   real   fake"]
    for part, count in [*counts.items(), ("all", sum(counts.values(), Counter()))]:
        lines.append(f"{part:<{width}}  {count.total():>6}  {count['REAL']:>5}  {count['FAKE']:>5}")
    return lines


if __name__ == "__main__":
    sys.exit(main())
