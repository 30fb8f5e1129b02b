"""Deal the crops of a data root out to folds, so that every fake stays with its original.

    python preprocessing/generate_folds.py --root-dir DATA_ROOT --out folds.csv --seed 777 --n_splits 16
    python preprocessing/generate_folds.py --root-dir DATA_ROOT --out folds.csv --splits splits/

Input: DATA_ROOT/*/metadata.json and DATA_ROOT/crops/<id>/ (extract_crops.py). Output: a CSV with a row for each crop of
actors 0 and 1 at every tenth frame, `video,file,label,original,frame,fold`, in random order; label 1 is fake. Fold k
holds the part folders numbered from k * (50 // n_splits) on: with 16 splits fold 0, the hold-out, holds parts 0 to 2.
Where the folders have no numbers, or fill one fold only, originals are shuffled and dealt out one by one instead; those
that share people (people.py) stay together, the largest groups first, each to the fold that has the fewest originals.
With --splits FaceForensics++ is split as published: val.json is fold 0, the hold-out, train.json fold 1, and test.json
fold -1, which is neither trained nor validated on.
"""

import argparse
import csv
import itertools
import os
import random
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project, from wherever this is run

import runtime.environment  # noqa: F401  it says what to do where the others can't be imported

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from tqdm import tqdm

from faces.images import Crop, list_crops
from preprocessing.data_root import DataRoot, Video, read_data_root
from preprocessing.extract_crops import FRAME_STEP
from preprocessing.people import people_of
from preprocessing.stage import report_bad
from runtime import limits
from runtime.command import run_command
from runtime.errors import InputError, ItemError
from runtime.files import parse_json, whole_file
from runtime.ranks import Ranks

PARTS = 50  # of the whole DFDC
_PART_NUMBER = re.compile(r".*_(\d+)")
HELD_BACK = -1
FOLDS_OF_SPLITS = {"val": 0, "train": 1, "test": HELD_BACK}  # train_classifier.py holds out fold 0 by default
COLUMNS = ("video", "file", "label", "original", "frame", "fold")


@dataclass(frozen=True, kw_only=True)
class Cropped:
    """A video and its crops that are trained on."""

    video: Video
    crops: list[Crop]


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Deal crops out to folds")
    arg = parser.add_argument
    arg("--root-dir", required=True, metavar="DIR", help="data root: part folders with metadata.json, and crops")
    arg("--out", default="folds.csv", metavar="FILE", help="CSV to write (default: folds.csv)")
    arg("--seed", type=int, default=777, help="of the order of rows, and of dealing by original (default: 777)")
    split = parser.add_mutually_exclusive_group()
    split.add_argument(
        "--n_splits", type=_splits, default=16, metavar="N", help="number of folds, 2 to 50 (default: 16)"
    )
    split.add_argument(
        "--splits",
        nargs="+",
        metavar="PATH",
        help="split as published: train.json, val.json and test.json of FaceForensics++, or their folder. val is fold "
        "0, train fold 1, test fold -1, which is held back. A video that is in none of the three is named and makes "
        "the exit code 1; where not all three are given, such videos are only counted",
    )
    return parser.parse_args(argv)


def _splits(text: str) -> int:
    if not text.isdecimal() or not 2 <= int(text) <= PARTS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 2 to {PARTS}")
    return int(text)


def main(argv: list[str] | None = None) -> int:
    return run_command(generate_folds, parse_args(argv))


def generate_folds(args: argparse.Namespace, ranks: Ranks) -> int:
    if ranks.rank:
        return 0  # it takes seconds: one process does it

    # list the work
    data = read_data_root(args.root_dir)
    cropped, failed = list_cropped(Path(args.root_dir, "crops"), data)
    if not cropped:
        raise InputError(f"--root-dir {args.root_dir}: no video has crops; run extract_crops.py")

    # process
    if args.splits:
        folds, left_out = split_as_published(cropped, args.splits)
    else:
        folds, left_out = choose_split(data, cropped, args.n_splits, args.seed), {}
    rows = [row for each in cropped if each.video.id in folds for row in rows_of(each, folds[each.video.id])]
    random.Random(args.seed).shuffle(rows)
    write_rows(Path(args.out), rows, Path(args.root_dir))

    # summarise
    print(statistics(rows))
    tell_of_gaps(rows)
    print(f"folds: {len(rows)} crops of {len(folds)} of {len(data.videos)} videos: {args.out}")
    return report_bad("folds", failed, data.problems | left_out)


def list_cropped(crops_dir: Path, data: DataRoot) -> tuple[list[Cropped], dict[str, str]]:
    """The videos that have crops, and those whose folder of crops is missing."""
    cropped, failed = [], {}
    for video in tqdm(data.videos, desc="folds", unit="video"):
        try:
            crops = [crop for crop in list_crops(crops_dir / video.id) if crop.frame % FRAME_STEP == 0]
        except ItemError as error:
            failed[video.id] = str(error)
            continue
        if crops:
            cropped.append(Cropped(video=video, crops=crops))
    return cropped, failed


def choose_split(data: DataRoot, cropped: Sequence[Cropped], n_splits: int, seed: int) -> dict[str, int]:
    """Folds by id: by part number where every part folder has one and at least two folds get rows; otherwise by groups
    of originals."""
    by_part = _split_by_part(data, n_splits)
    if by_part is None:
        reason = "not every part folder ends in a number"
    else:
        folds = {each.video.id: by_part(each.video) for each in cropped}
        filled = set(folds.values())
        if len(filled) > 1:
            return folds
        reason = f"the part folders fill only fold {filled.pop()} of {n_splits}"
    groups = group_originals(cropped)
    count, largest = sum(map(len, groups)), max(map(len, groups))
    print(f"folds: {reason}: {count} originals are shuffled (seed {seed}) and dealt out from fold 0 on instead")
    if largest > 1:
        print(f"folds: originals that share people stay together: {len(groups)} groups, the largest of {largest}")
    if len(groups) == 1:
        what = "original" if count == 1 else "group"
        print(f"folds: there is one {what}: everything is in fold 0, and nothing is left to train on")
    places = deal_out(groups, n_splits, seed)
    return {each.video.id: places[each.video.source] for each in cropped}


def group_originals(cropped: Sequence[Cropped]) -> list[list[str]]:
    """Originals that share people, directly or by way of others, sorted; each is in one group."""
    links = [
        (("original", each.video.source), ("person", person)) for each in cropped for person in people_of(each.video)
    ]
    originals = sorted({("original", each.video.source) for each in cropped})
    nodes = {node: number for number, node in enumerate([*originals, *sorted({person for _, person in links})])}
    ends = np.array([(nodes[original], nodes[person]) for original, person in links], int).reshape(-1, 2)
    graph = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(len(nodes), len(nodes)))
    groups: dict[int, list[str]] = {}
    for (_, name), group in zip(originals, connected_components(graph, directed=False)[1].tolist(), strict=False):
        groups.setdefault(group, []).append(name)
    return sorted(groups.values())


def deal_out(groups: Sequence[list[str]], n_splits: int, seed: int) -> dict[str, int]:
    """The fold of each original: of the shuffled groups the largest first, each to the fold with the fewest so far."""
    shuffled = list(groups)
    random.Random(seed).shuffle(shuffled)
    sizes = [0] * n_splits
    places = {}
    for group in sorted(shuffled, key=len, reverse=True):
        fold = sizes.index(min(sizes))
        sizes[fold] += len(group)
        places.update(dict.fromkeys(group, fold))
    return places


def _split_by_part(data: DataRoot, n_splits: int) -> Callable[[Video], int] | None:
    """The published split: fold k has parts [k * size, (k + 1) * size), the last one the rest. Raises InputError where
    a fake would be in another fold than its original."""
    size = PARTS // n_splits
    matches = {video.part: _PART_NUMBER.fullmatch(video.part) for video in data.videos}
    if None in matches.values():
        return None
    folds = {part: min(int(match[1]) // size, n_splits - 1) for part, match in matches.items()}
    part_of = {video.id: video.part for video in data.videos}
    for video in data.fakes_with_original:
        if folds[video.part] != folds[part_of[video.original]]:
            raise InputError(
                f"{video.part}/{video.name}: this fake is in fold {folds[video.part]}, its original in "
                f"{part_of[video.original]} is in fold {folds[part_of[video.original]]}; put both into one part folder"
            )
    return lambda video: folds[video.part]


def split_as_published(cropped: Sequence[Cropped], paths: Sequence[str]) -> tuple[dict[str, int], dict[str, str]]:
    """Folds by id, and why others are left out, by "part/name". Raises InputError for files that make no sense."""
    files = split_files(paths)
    split_of = read_splits(files)
    folds: dict[str, int] = {}
    left_out: dict[str, str] = {}
    unnamed: dict[str, str] = {}
    for each in cropped:
        video = each.video
        splits = {split_of.get(person) for person in people_of(video)}
        place = f"{video.part}/{video.name}"
        if not splits or None in splits:
            unnamed[place] = "it, or someone in it, is in no file of --splits"
        elif len(splits) > 1:
            left_out[place] = f"its people are in different splits, {' and '.join(sorted(splits))}"
        else:
            folds[video.id] = FOLDS_OF_SPLITS[splits.pop()]
    if not folds:
        raise InputError(
            f"--splits {' '.join(paths)}: not one of {len(cropped)} videos with crops is in these files; name those of "
            "this dataset, or leave --splits out"
        )
    if unnamed and len(files) < len(FOLDS_OF_SPLITS):
        print(f"folds: {len(unnamed)} videos are not in the split(s) {', '.join(files)} and left out")
        unnamed = {}
    for split in ("val", "train"):
        if FOLDS_OF_SPLITS[split] not in folds.values():
            print(f"folds: no video is in {split}.json, fold {FOLDS_OF_SPLITS[split]}: training needs train and val")
    return folds, left_out | unnamed


def split_files(paths: Sequence[str]) -> dict[str, Path]:
    """The file of each split that is given. Raises InputError for a file whose name does not tell which it is."""
    files: dict[str, Path] = {}
    for path in paths:
        for file in [Path(path, f"{split}.json") for split in FOLDS_OF_SPLITS] if os.path.isdir(path) else [Path(path)]:
            splits = [split for split in FOLDS_OF_SPLITS if split in file.stem.lower()]
            if len(splits) != 1:
                raise InputError(f"--splits {file}: its name must have one of train, val and test in it; rename it")
            other = files.setdefault(splits[0], file)
            if other is not file:
                raise InputError(f"--splits {file}: {other} is of {splits[0]} too; leave one out")
    return files


def read_splits(files: dict[str, Path]) -> dict[str, str]:
    """The split of each real video that the files name. Raises InputError."""
    split_of: dict[str, str] = {}
    for split, path in files.items():
        for video in itertools.chain.from_iterable(read_pairs(path)):
            if split_of.setdefault(video, split) != split:
                raise InputError(f"--splits {path}: {video} is in {files[split_of[video]]} too; get both again")
    return split_of


def read_pairs(path: Path) -> list[list[str]]:
    """Raises InputError unless the file holds a list of pairs."""
    pairs = parse_json(
        path,
        limits.SPLITS,
        lambda line: InputError(f"--splits {line}"),
        unreadable="can't be read ({}); name the dataset's files",
        damaged="is no JSON ({}); get it again",
    )
    if not isinstance(pairs, list) or not pairs or not all(map(_is_pair, pairs)):
        raise InputError(f'--splits {path}: must be a list of pairs such as ["720", "672"]; get it again')
    return pairs


def _is_pair(pair: object) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and all(isinstance(video, str) for video in pair)


def rows_of(cropped: Cropped, fold: int) -> list[tuple]:
    video = cropped.video
    label = int(video.is_fake)
    return [(video.id, crop.name, label, video.source, crop.frame, fold) for crop in cropped.crops]


def write_rows(path: Path, rows: list[tuple], root: Path) -> None:
    root = root if path.is_relative_to(root) else None  # else the folder is its user's own
    with (
        whole_file(path, "choose another --out", root=root) as temporary,
        open(temporary, "w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows)


def statistics(rows: list[tuple]) -> str:
    """A table: videos and crops, real and fake, of each fold and in all."""
    crops = Counter((fold, label) for _, _, label, _, _, fold in rows)
    videos = Counter((fold, label) for fold, label in {row[0]: (row[5], row[2]) for row in rows}.values())
    lines = ["fold  real videos  fake videos  real crops  fake crops"]
    for fold in sorted({fold for fold, _ in crops}):
        lines.append(_line(fold, videos[fold, 0], videos[fold, 1], crops[fold, 0], crops[fold, 1]))
    totals = [sum(n for (_, label), n in counts.items() if label == k) for counts in (videos, crops) for k in (0, 1)]
    return "\n".join([*lines, _line("all", *totals)])


def tell_of_gaps(rows: list[tuple]) -> None:
    """Where one fold has all of a kind, holding it out leaves none of it to train on."""
    folds = {row[5] for row in rows} - {HELD_BACK}
    for label, what in ((0, "real videos"), (1, "fakes")):
        filled = {row[5] for row in rows if row[2] == label} - {HELD_BACK}
        if len(filled) == 1 < len(folds):
            print(f"folds: all {what} are in fold {filled.pop()}: no other has any to train on")


def _line(fold: object, *numbers: int) -> str:
    return f"{fold!s:>4}  {numbers[0]:>11}  {numbers[1]:>11}  {numbers[2]:>10}  {numbers[3]:>10}"


if __name__ == "__main__":
    sys.exit(main())
