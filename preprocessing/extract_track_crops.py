"""Cut faces out of originals and fakes, 50 frames each at one place, and list the pairs, for NtechLab's system.

    python preprocessing/extract_track_crops.py --root-dir DATA_ROOT

Input: DATA_ROOT/*/metadata.json and its videos, DATA_ROOT/aligned_tracks.json (align_tracks.py), or with --format
published DATA_ROOT/aligned_tracks.pkl. Output: DATA_ROOT/tracks/<part>/<video>.mp4_S_X_Y/ with 0.png to 49.png, frames
S, S + 1, ... cut at 1.5 times a face's box, whose corner is X, Y, and boxes.float32, the boxes of the whole track
relative to it; DATA_ROOT/track_pairs.txt, a line for each folder of an original and the fake's. Which frames are taken
is drawn from a fixed seed over the whole list. With torchrun the videos are shared between processes:

    torchrun --nproc-per-node 16 preprocessing/extract_track_crops.py --root-dir DATA_ROOT
"""

import argparse
import random
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project, from wherever this is run

import runtime.environment  # noqa: F401  it says what to do where the others can't be imported

import cv2

from faces.images import encode_image
from faces.video import READER, VideoError, iter_all_frames, probe
from preprocessing.data_root import DataRoot
from preprocessing.outputs import new_folder
from preprocessing.stage import Item, Made, Stage, add_common_flags, run_stage
from runtime.command import run_command
from runtime.errors import InputError, ItemError, printable
from runtime.files import remove_leftovers
from runtime.ranks import Ranks
from systems.ntechlab.alignment import AlignedTrack
from systems.ntechlab.enlarged_box import is_empty
from systems.ntechlab.published_files import read_aligned_tracks as read_published
from systems.ntechlab.published_files import write_track_pairs
from systems.ntechlab.steady_frames import steady
from systems.ntechlab.track_crops import (
    DETECTIONS,
    PAIRS_FILE,
    SEED,
    TRACKS_FOLDER,
    TrackCrops,
    pair_folders,
    plan_track_crops,
)
from systems.ntechlab.track_files import FORMATS, Size, read_aligned_tracks

_FOLDERS_AT_ONCE = 100  # of a video, written side by side: each holds some open files


@dataclass(frozen=True, kw_only=True)
class Task:
    """A video, the size of the frames in which its faces were found, and the folders to make of it."""

    path: str
    size: Size
    crops: Sequence[TrackCrops]
    root: Path


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be cut out of a data root, complete once its items are listed: folders, and (original, fake)."""

    root: Path
    published: bool
    crops: list[TrackCrops] = field(default_factory=list)
    pairs: list[tuple[str, str]] = field(default_factory=list)

    def list_items(self, data: DataRoot) -> list[Item]:
        source = self.root / ("aligned_tracks.pkl" if self.published else "aligned_tracks.json")
        aligned, sizes = (read_published(source), None) if self.published else read_aligned_tracks(source)
        paths = {f"{video.part}/{video.name}": video.path for video in data.videos}
        sizes = usable_sizes(aligned, sizes, paths, data.problems, source)
        planned = plan_track_crops(aligned, sizes, random.Random(SEED))
        self.crops.extend(crops for crops in planned if not is_empty(crops.corners))
        self.pairs.extend(dict.fromkeys((track.real, track.fake) for track in aligned))
        for crops in planned:
            if is_empty(crops.corners):
                place = f"frames {crops.first_frame} to {crops.frames[-1]}"
                print(printable(f"  note: {crops.video}: a face lies outside the picture ({place}): it is left out"))
        if not self.crops:
            raise InputError(
                f"{source}: no face of a usable video is followed for {DETECTIONS} detections in an original and its "
                "fake; there is nothing to cut out"
            )
        by_video: defaultdict[str, list[TrackCrops]] = defaultdict(list)
        for crops in self.crops:
            by_video[crops.video].append(crops)
        return [
            Item(
                key=video,
                inputs=(paths[video], str(source)),
                output=self._last(crops),
                task=Task(path=paths[video], size=sizes[video], crops=crops, root=self.root),
            )
            for video, crops in by_video.items()
        ]

    def _last(self, crops: Sequence[TrackCrops]) -> Path:
        """The folder that tells whether a video's are all there: one that is missing, or the last."""
        folders = [self.root / TRACKS_FOLDER / each.folder for each in crops]
        return next((folder for folder in folders if not folder.is_dir()), folders[-1])


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Cut faces out of originals and fakes, and list the pairs")
    add_common_flags(parser)
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="json",
        help="of the aligned tracks that are read: json (default) aligned_tracks.json, published aligned_tracks.pkl",
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    return run_command(extract, parse_args(argv))


def extract(args: argparse.Namespace, ranks: Ranks) -> int:
    plan = Plan(root=Path(args.root_dir), published=args.format == "published")
    stage = Stage(
        name="track_crops",
        output=TRACKS_FOLDER,
        settings={"seed": SEED, "reader": READER},
        list_items=plan.list_items,
        make_work=make_work,
    )
    status = run_stage(stage, args, ranks)
    if ranks.rank == 0:
        write_pairs(plan, told=bool(status))
    return status


def usable_sizes(
    aligned: Sequence[AlignedTrack],
    sizes: dict[str, Size] | None,
    paths: dict[str, str],
    problems: dict[str, str],
    source: Path,
) -> dict[str, Size]:
    """The sizes of the videos of aligned tracks, which are looked at where `sizes` is None. Those that are not in the
    data root, or can't be read, are left out and added to `problems`."""
    usable = {}
    for video in dict.fromkeys(video for track in aligned for video in (track.real, track.fake)):
        if video not in paths:
            problems.setdefault(video, f"is in {source} and not among the usable videos here; its faces are left out")
        elif sizes is not None:
            usable[video] = sizes[video]
        else:
            try:
                info = probe(paths[video])
            except VideoError as error:
                problems[video] = str(error)
                continue
            usable[video] = info.width, info.height
    return usable


def make_work() -> Callable[[Task], Made]:
    return cut_tracks


def cut_tracks(task: Task) -> Made:
    images = 0
    for start in range(0, len(task.crops), _FOLDERS_AT_ONCE):
        images += _cut(task, task.crops[start : start + _FOLDERS_AT_ONCE])
    return Made({"folders": len(task.crops), "images": images})


def _cut(task: Task, crops: Sequence[TrackCrops]) -> int:
    """Make some folders, all or none, and return the number of images."""

    def wanted(count: int) -> list[int]:
        last = max(each.first_frame for each in crops)
        if last >= count:
            raise _other_video(task.path, f"has {count} frames, and a face is to be cut out from frame {last} on")
        return sorted({frame for each in crops for frame in each.frames})

    images = 0
    with ExitStack() as stack:
        tracks = task.root / TRACKS_FOLDER
        folders = [stack.enter_context(new_folder(tracks / each.folder, task.root)) for each in crops]
        frames = iter_all_frames(task.path, wanted)
        for index, frame in steady(task.path, frames):
            height, width = frame.shape[:2]
            if (width, height) != task.size:
                found = "{}x{}".format(*task.size)
                raise _other_video(task.path, f"has frames of {width}x{height} pixels, and faces found in {found}")
            for each, folder in zip(crops, folders, strict=True):
                if index in each.frames:
                    x1, y1, x2, y2 = each.corners
                    image = cv2.cvtColor(frame[y1:y2, x1:x2], cv2.COLOR_RGB2BGR)
                    (folder / f"{index - each.first_frame}.png").write_bytes(encode_image(image, "png"))
                    images += 1
        for each, folder in zip(crops, folders, strict=True):
            (folder / "boxes.float32").write_bytes(each.bboxes.astype("<f4").tobytes())
    return images


def _other_video(path: str, what: str) -> ItemError:
    return ItemError(f"{path}: {what}: its tracks are of another video; run detect_tracks.py and align_tracks.py")


def write_pairs(plan: Plan, *, told: bool) -> None:
    """List the pairs of folders that are there. Raises InputError where there is none and no error was `told`."""
    there = [each.folder for each in plan.crops if (plan.root / TRACKS_FOLDER / each.folder / "0.png").is_file()]
    pairs = pair_folders(there, plan.pairs)
    path = plan.root / PAIRS_FILE
    if not pairs and not told:
        raise InputError(f"{path}: there is no pair to list; mend what is named above")
    if not pairs:
        print(f"track_pairs: there is no pair to list: {printable(str(path))}")
        return
    remove_leftovers(path)
    write_track_pairs(path, pairs, plan.root)
    print(f"track_pairs: {len(pairs)} pairs: {printable(str(path))}")


if __name__ == "__main__":
    sys.exit(main())
