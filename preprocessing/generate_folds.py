"""Deal the crops of a data root out to folds, so that every fake stays with its original.

    python preprocessing/generate_folds.py --root-dir DATA_ROOT --out folds.csv --seed 777 --n_splits 16

Input: DATA_ROOT/*/metadata.json and DATA_ROOT/crops/<id>/ (extract_crops.py). Output: a CSV with a row for each crop of
actors 0 and 1 at every tenth frame, `video,file,label,original,frame,fold`, in random order; label 1 is fake. Fold k
holds the part folders numbered from k * (50 // n_splits) on: with 16 splits fold 0, the hold-out, holds parts 0 to 2.
Where the folders have no numbers, or fill one fold only, originals are shuffled and dealt out one by one instead.
"""

import argparse
import csv
import random
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project, from wherever this is run

from preprocessing.data_root import DataRoot, Video, read_data_root
from preprocessing.extract_crops import FRAME_STEP
from preprocessing.images import Crop, list_crops
from preprocessing.stage import report_bad
from runtime.command import run_command
from runtime.errors import InputError, ItemError
from runtime.files import whole_file
from runtime.ranks import Ranks

PARTS = 50  # of the whole DFDC
_PART_NUMBER = re.compile(r".*_(\d+)")
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
    arg("--n_splits", type=_splits, default=16, metavar="N", help="number of folds, 2 to 50 (default: 16)")
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
    fold_of = choose_split(data, cropped, args.n_splits, args.seed)
    rows = [row for each in cropped for row in rows_of(each, fold_of(each.video))]
    random.Random(args.seed).shuffle(rows)
    write_rows(Path(args.out), rows)

    # summarise
    print(statistics(rows))
    print(f"folds: {len(rows)} crops of {len(cropped)} of {len(data.videos)} videos: {args.out}")
    return report_bad("folds", failed, data.problems)


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


def choose_split(data: DataRoot, cropped: Sequence[Cropped], n_splits: int, seed: int) -> Callable[[Video], int]:
    """By part number where every part folder has one and at least two folds get rows; otherwise by original."""
    by_part = _split_by_part(data, n_splits)
    if by_part is None:
        reason = "not every part folder ends in a number"
    else:
        folds = {by_part(each.video) for each in cropped}
        if len(folds) > 1:
            return by_part
        reason = f"the part folders fill only fold {folds.pop()} of {n_splits}"
    originals = sorted({each.video.source for each in cropped})
    print(
        f"folds: {reason}: {len(originals)} originals are shuffled (seed {seed}) and dealt out from fold 0 on instead"
    )
    if len(originals) == 1:
        print("folds: there is one original: everything is in fold 0, and nothing is left to train on")
    random.Random(seed).shuffle(originals)
    places = {original: place % n_splits for place, original in enumerate(originals)}
    return lambda video: places[video.source]


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
                f"{video.part}/{video.id}.mp4: this fake is in fold {folds[video.part]}, its original in "
                f"{part_of[video.original]} is in fold {folds[part_of[video.original]]}; put both into one part folder"
            )
    return lambda video: folds[video.part]


def rows_of(cropped: Cropped, fold: int) -> list[tuple]:
    video = cropped.video
    label = int(video.is_fake)
    return [(video.id, crop.name, label, video.source, crop.frame, fold) for crop in cropped.crops]


def write_rows(path: Path, rows: list[tuple]) -> None:
    with (
        whole_file(path, "choose another --out") as temporary,
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


def _line(fold: object, *numbers: int) -> str:
    return f"{fold!s:>4}  {numbers[0]:>11}  {numbers[1]:>11}  {numbers[2]:>10}  {numbers[3]:>10}"


if __name__ == "__main__":
    sys.exit(main())
