"""Cut 50 frames of the faces of all videos of a data root out, what The Medics' 2D network is trained on.

    python preprocessing/extract_mini_videos.py --root-dir DATA_ROOT

Input: DATA_ROOT/*/metadata.json and its videos. Output: DATA_ROOT/rois/<id>.boxes.json, faces of every tenth frame
(face_boxes.py; those that extract_face_clips.py has found are used); for the first two faces of each video
DATA_ROOT/mini-videos/<part, two digits>_<video>_<face>.mp4, at most 256 x 256, in which a square follows the face, a
fake's by the boxes of its original, and <id>.json, what is known of them; and DATA_ROOT/train_minivideos_df.csv, a row
for each: vidfile, filename, video_label, split, original, train_part, part, label (1 is fake). With torchrun the videos
are shared between processes.
"""

import argparse
import csv
import hashlib
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project, from wherever this is run

import runtime.environment  # noqa: F401  it says what to do where the others can't be imported

import numpy as np

from faces.containers import METADATA
from faces.video import READER, iter_all_frames, probe
from preprocessing.cut_videos import Place, new_videos, part_number, read_made
from preprocessing.data_root import DataRoot, Video, read_data_root
from preprocessing.face_boxes import SEARCH, BoxFinder, boxes_file, check_rows, of_one_size
from preprocessing.labels import read_metadata
from preprocessing.pairs import match
from preprocessing.stage import DETECTOR_MODULES, Item, Made, Stage, add_common_flags, add_device_flag, run_stage
from runtime.command import run_command
from runtime.errors import OutputError
from runtime.files import remove_leftovers, whole_file
from runtime.ranks import Ranks
from systems.medics.clip_files import ENCODER, MINI_VIDEOS, TABLE, write_clips
from systems.medics.mini_videos import LENGTH, MiniVideoPlan, cut_mini_videos, draw_start, plan_mini_videos

COLUMNS = ("vidfile", "filename", "video_label", "split", "original", "train_part", "part", "label")
VALIDATION_PARTS = range(45, 50)
_SEED_OF_VALIDATION = 88  # as published


@dataclass(frozen=True, kw_only=True)
class Task:
    """A video, the one that its faces are searched in, which is another file for a fake, and where its mini videos
    go."""

    video: Video
    source: str
    place: Place
    inputs: tuple[str, ...]


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Cut mini videos out of all videos for The Medics' 2D network")
    add_common_flags(parser)
    add_device_flag(parser)
    arg = parser.add_argument
    arg("--seed", type=int, default=0, help="of the frame at which the mini videos of a video begin (default: 0)")
    arg(
        "--exact",
        action="store_true",
        help="keep the square on the face: published ones come to the place of each frame searched one frame early, "
        "stand still for the next, and end ten frames before the boxes do (default: as published)",
    )
    arg(
        "--boxes",
        metavar="DIR",
        help="take faces from DIR/<id>.boxes.json, as rois/ of another data root has them, instead of searching",
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    return run_command(extract, parse_args(argv))


def extract(args: argparse.Namespace, ranks: Ranks) -> int:
    root, given = Path(args.root_dir), args.boxes and Path(args.boxes)
    settings = {
        "search": "given" if given else SEARCH,
        "seed": args.seed,
        "exact": args.exact,
        "encoder": ENCODER,
        "reader": READER,
    }
    stage = Stage(
        name="mini videos",
        output=MINI_VIDEOS,
        settings=settings,
        list_items=partial(list_items, root, given, settings),
        make_work=partial(
            make_work, partial(BoxFinder, root, given, device=args.device, local_rank=ranks.local_rank), settings
        ),
        device=None if given else args.device,
        preload=("cv2", "av", "scipy.ndimage") if given else DETECTOR_MODULES,
    )
    if not ranks.rank:
        check_table(root)
    code = run_stage(stage, args, ranks)
    if not ranks.rank:
        write_table(root, given, settings)
    return code


def list_items(root: Path, given: Path | None, settings: dict, data: DataRoot) -> list[Item]:
    paths = {video.id: video.path for video in data.videos}
    items = []
    for video in data.videos:
        source = paths[video.source]
        inputs = (video.path, *([source] if source != video.path else []))
        inputs += (str(boxes_file(given, video.source)),) if given else ()
        task = Task(video=video, source=source, place=place_of(root, video), inputs=inputs)
        items.append(Item(key=video.id, inputs=inputs, output=task.place.output(inputs, settings), task=task))
    return items


def place_of(root: Path, video: Video) -> Place:
    part, name = re.escape(video.part), re.escape(video.name.removesuffix(".mp4"))
    return Place(root=root, folder=(MINI_VIDEOS,), video_id=video.id, names=rf"([0-9]{{2,}}|{part})_{name}_[0-9]+\.mp4")


def make_work(make_finder: Callable[[], BoxFinder], settings: dict) -> Callable[[Task], Made]:
    finder = make_finder()

    def cut(task: Task) -> Made:
        path, made = task.video.path, []
        with new_videos(task.place, task.inputs, settings, made) as work:
            info, of_source = probe(path), probe(task.source)
            matched = match(path, task.source)
            boxes = finder.boxes_of(task.video.source, task.source, work)
            check_rows(task.source, boxes, of_source.frame_count)
            boxes = [row and np.multiply(row, [*matched.scale, *matched.scale]).tolist() for row in boxes]
            frame_count = min(info.frame_count, of_source.frame_count)
            start = draw_start(frame_count, generator_of(settings["seed"], task.video.id))
            size = {"width": info.width, "height": info.height}
            plans = plan_mini_videos(boxes, start=start, exact=settings["exact"], **size)
            files = [(work / name_of(plan, task.video), plan) for plan in plans]
            lengths = {}
            if plans:
                wanted = {index for plan in plans for index in plan.video_frames}
                frames = of_one_size(path, iter_all_frames(path, lambda count: wanted), (info.height, info.width, 3))
                lengths = write_clips(files, cut_mini_videos(plans, frames))
            made += [describe(file.name, plan, lengths[file.name]) for file, plan in files if lengths[file.name]]
            notes = list(matched.warnings)
            if not made:
                notes.append(f"no face is there from frame {start} on for {LENGTH} frames: no mini video is made of it")
            elif frame_count < LENGTH:
                notes.append(f"has {frame_count} frames, fewer than {LENGTH}: its mini videos are as short")
        return Made({"mini videos": len(made), "frames": sum(mini["length"] for mini in made)}, notes)

    return cut


def generator_of(seed: int, video_id: str) -> np.random.Generator:
    """A video's own: the same whatever else is in the data root, and whoever works on it."""
    return np.random.default_rng(list(hashlib.sha256(f"{seed}/{video_id}".encode(errors="surrogateescape")).digest()))


def name_of(plan: MiniVideoPlan, video: Video) -> str:
    number = part_number(video.part)
    return plan.file_name(video.part if number is None else number, video.name)


def describe(file: str, plan: MiniVideoPlan, length: int) -> dict:
    """A mini video in the record: `frames` from the video's beginning, the one after the last; `side` of its square in
    pixels of the full frame, which is shrunk to 256 where it is larger."""
    return {
        "file": file,
        "links": [],
        "face": plan.face,
        "length": length,
        "frames": [plan.start, plan.start + length],
        "side": plan.side,
    }


def check_table(root: Path) -> None:
    """Raises OutputError where a table is in the way that no run can have written."""
    table, journal = root / TABLE, root / ".preprocessing" / f"{MINI_VIDEOS}.jsonl"
    if os.path.lexists(table) and not journal.exists():
        raise OutputError(f"{table}: is there, and no run of this stage has made that; move it elsewhere")


def write_table(root: Path, given: Path | None, settings: dict) -> None:
    """The table of all mini videos that are there, made of these inputs with these settings, sorted by name."""
    data = read_data_root(root)
    rows = []
    entries: dict[str, dict] = {}
    for item in list_items(root, given, settings, data):
        task = item.task
        made = read_made(task.place, task.inputs, settings)
        if made:
            if task.video.part not in entries:
                entries[task.video.part] = read_metadata(root / task.video.part / METADATA)[0]
            split = entries[task.video.part][task.video.name].get("split", "train")
            rows += [row_of(mini["file"], task.video, split) for mini in made]
    rows = balanced(rows)
    remove_leftovers(root / TABLE)
    with (
        whole_file(root / TABLE, "the data root must be writable", root=root) as temporary,
        open(temporary, "w", encoding="utf-8", newline="", errors="surrogateescape") as file,
    ):
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"mini videos: {len(rows)} in {root / TABLE}")


def row_of(file: str, video: Video, split: str) -> dict:
    number = part_number(video.part)
    return {
        "vidfile": file,
        "filename": video.name,
        "video_label": "FAKE" if video.is_fake else "REAL",
        "split": "valid" if number in VALIDATION_PARTS else split,
        "original": video.original_name,
        "train_part": video.part,
        "part": number,
        "label": int(video.is_fake),
    }


def balanced(rows: Sequence[dict]) -> list[dict]:
    """The rows by name, without the fakes of parts for validation that are more than these parts' reals: which ones is
    drawn."""
    rows = sorted(rows, key=lambda row: row["vidfile"])
    kept = [row for row in rows if row["part"] not in VALIDATION_PARTS]
    for part in VALIDATION_PARTS:
        fakes, reals = ([row for row in rows if row["part"] == part and row["label"] == label] for label in (1, 0))
        draw = np.random.default_rng([_SEED_OF_VALIDATION, part])
        drawn = draw.permutation(len(fakes))[: len(reals)]
        kept += [*reals, *(fakes[place] for place in sorted(drawn))]
    return sorted(kept, key=lambda row: row["vidfile"])


if __name__ == "__main__":
    sys.exit(main())
