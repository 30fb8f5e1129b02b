"""Cut the faces of all videos of a data root out as clips, what The Medics' 3D networks are trained on.

    python preprocessing/extract_face_clips.py --root-dir DATA_ROOT

Input: DATA_ROOT/*/metadata.json and its videos, real and fake. Output: DATA_ROOT/rois/<id>.boxes.json, faces of every
tenth frame (face_boxes.py); DATA_ROOT/face_videos_by_part/<part>/<video>_<chunk>_<face>.mp4, 256 x 256, for each face
that stays in place while 150 frames pass, with .short at the end of its name where it has fewer than 64 frames;
<part>/<id>.json, what is known of a video's clips; and the same clips, but for the short ones, under a second name,
DATA_ROOT/face_videos_by_real_fake/{REAL,FAKE}/<part>_<name>. With torchrun the videos are shared between processes:

    torchrun --nproc-per-node 8 preprocessing/extract_face_clips.py --root-dir DATA_ROOT
"""

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project, from wherever this is run

import runtime.environment  # noqa: F401  it says what to do where the others can't be imported

import av

from faces.video import READER, HeldFrame, VideoInfo, iter_held_frames, probe
from preprocessing.cut_videos import Place, new_videos, part_number
from preprocessing.data_root import DataRoot, Video
from preprocessing.face_boxes import (
    SEARCH,
    BoxFinder,
    Row,
    boxes_file,
    by_chunk,
    check_rows,
    of_one_size,
    searched_frames,
)
from preprocessing.stage import DETECTOR_MODULES, Item, Made, Stage, add_common_flags, add_device_flag, run_stage
from runtime.command import run_command
from runtime.ranks import Ranks
from systems.medics.clip_files import BY_LABEL, BY_PART, ENCODER, LABELS, MOST_OPEN, write_clips
from systems.medics.clips import CHUNK, SHORTEST, ClipPlan, chunks_of, cut_clips, plan_chunk, plan_clips
from systems.medics.volumes import FRAME_STEP

_MOST_HELD = 2**29  # bytes of a chunk's frames as they are decoded: 1080p in 8 bits with subsampled colours has 467 MB
_SEEN_OUTSIDE = 4  # pixels at half size, the width of a cell: boxes that leave the frame by less are usual


@dataclass(frozen=True, kw_only=True)
class Task:
    """A video, and where its clips go: each gets the second name at `link`, one of those of the place."""

    video: Video
    place: Place
    link: int
    inputs: tuple[str, ...]


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Cut the faces of all videos out as clips for The Medics' 3D networks")
    add_common_flags(parser)
    add_device_flag(parser)
    arg = parser.add_argument
    arg(
        "--exact",
        action="store_true",
        help="keep what the published script loses by one: the last frame of each clip, and up to 7 pixels at the "
        "right and lower edge of its box (default: as published)",
    )
    arg(
        "--lossless",
        action="store_true",
        help="keep every pixel, at 80 times the bytes (default: H.264 at rate factor 23, as published)",
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
        "exact": args.exact,
        "lossless": args.lossless,
        "encoder": ENCODER,
        "reader": READER,
    }
    stage = Stage(
        name="face clips",
        output=BY_PART,
        settings=settings,
        list_items=partial(list_items, root, given, settings),
        make_work=partial(
            make_work,
            partial(BoxFinder, root, given, device=args.device, local_rank=ranks.local_rank, again=args.overwrite),
            settings,
        ),
        device=None if given else args.device,
        preload=("cv2", "av", "scipy.ndimage") if given else DETECTOR_MODULES,
    )
    return run_stage(stage, args, ranks)


def list_items(root: Path, given: Path | None, settings: dict, data: DataRoot) -> list[Item]:
    items = []
    for video in data.videos:
        inputs = (video.path, *([str(boxes_file(given, video.id))] if given else []))
        task = Task(video=video, place=place_of(root, video), link=video.is_fake, inputs=inputs)
        items.append(Item(key=video.id, inputs=inputs, output=task.place.output(inputs, settings), task=task))
    return items


def place_of(root: Path, video: Video) -> Place:
    number = part_number(video.part)
    part = video.part if number is None else str(number)
    return Place(
        root=root,
        folder=(BY_PART, part),
        video_id=video.id,
        names=rf"{re.escape(video.name)}_[0-9]+_[0-9]+\.mp4(\.short)?",
        links=tuple((BY_LABEL, label, f"{part}_") for label in LABELS),
    )


def make_work(make_finder: Callable[[], BoxFinder], settings: dict) -> Callable[[Task], Made]:
    finder = make_finder()

    def cut(task: Task) -> Made:
        path, made = task.video.path, []
        with new_videos(task.place, task.inputs, settings, made) as work:
            info = probe(path)
            notes = list(info.notes)
            if info.frame_count < CHUNK:
                notes.append(f"has {info.frame_count} frames, fewer than {CHUNK}: no clip is made of it")
                return Made({"clips": 0}, notes)
            clips = Clips(task, info, work, settings)
            boxes = finder.known(task.video.id, path)
            if boxes is None and clips.fit_in_memory:
                boxes, plans = clips.search_and_write(finder)
                finder.keep(task.video.id, path, boxes, work)
            else:
                boxes = finder.boxes_of(task.video.id, path, work) if boxes is None else boxes
                check_rows(path, boxes, info.frame_count)
                plans = clips.write(boxes)
            made += [describe(plan, task) for plan in plans]
            notes += told(boxes, plans, width=info.width, height=info.height)
        short = sum(not clip["links"] for clip in made)
        frames = sum(clip["length"] for clip in made)
        return Made({"clips": len(made) - short, "short clips": short, "frames": frames}, notes)

    return cut


class Clips:
    """The clips of one video, on their way to files in the folder `work`."""

    def __init__(self, task: Task, info: VideoInfo, work: Path, settings: dict):
        self._video, self._info, self._work = task.video, info, work
        self._lossless = settings["lossless"]
        self._how = {"width": info.width, "height": info.height, "exact": settings["exact"]}
        self._shape = (info.height, info.width, 3)
        bits = av.VideoFormat(info.stream["pixel_format"]).padded_bits_per_pixel
        self.fit_in_memory = CHUNK * info.width * info.height * bits // 8 <= _MOST_HELD  # of a chunk, as decoded

    def search_and_write(self, finder: BoxFinder) -> tuple[list[Row], list[ClipPlan]]:
        """In one pass over the video: a chunk's frames are kept until its faces are known. Returns the rows of boxes
        and the plans of the clips."""
        searched, chunks = searched_frames(self._info.frame_count), chunks_of(self._info.frame_count)
        boxes: list[Row] = []
        plans: list[ClipPlan] = []
        for chunk, part in by_chunk(self._read()):
            held = list(part)
            rows = finder.search((index, frame.rgb()) for index, frame in held if index in searched)
            boxes += rows
            if chunk < chunks:
                of_chunk = plan_chunk(chunk, rows, **self._how)
                plans += of_chunk
                for group in groups(of_chunk):
                    needed = frames_of(group)
                    self._write(group, ((index, frame) for index, frame in held if index in needed))
            held.clear()  # before the next chunk's are read
        return boxes, plans

    def write(self, boxes: Sequence[Row]) -> list[ClipPlan]:
        """By boxes that are known; reads the video once for each MOST_OPEN faces of a chunk. Returns the plans."""
        plans = plan_clips(boxes, frame_count=self._info.frame_count, **self._how)
        for group in groups(plans):
            needed = frames_of(group)
            self._write(group, (frame for frame in self._read() if frame[0] in needed))
        return plans

    def _read(self) -> Iterator[tuple[int, HeldFrame]]:
        """All frames that may be needed, always the same: those of a damaged file depend on which are asked for."""
        count = self._info.frame_count
        wanted = {*range(chunks_of(count) * CHUNK), *searched_frames(count)}
        frames = iter_held_frames(self._video.path, lambda count: wanted)
        return of_one_size(self._video.path, frames, self._shape)

    def _write(self, plans: Sequence[ClipPlan], frames: Iterable[tuple[int, HeldFrame]]) -> None:
        files = [(self._work / name_of(plan, self._video), plan) for plan in plans]
        write_clips(files, cut_clips(plans, frames), lossless=self._lossless)


def frames_of(plans: Sequence[ClipPlan]) -> set[int]:
    return {index for plan in plans for index in plan.video_frames}


def groups(plans: Sequence[ClipPlan]) -> Iterator[list[ClipPlan]]:
    """All plans, as many at a time as may be encoded at once: nearly always all, but some videos show a crowd."""
    chunks = [list(plans_of_chunk) for _, plans_of_chunk in groupby(plans, lambda plan: plan.chunk)]
    for start in range(0, max(map(len, chunks), default=0), MOST_OPEN):
        yield [plan for chunk in chunks for plan in chunk[start : start + MOST_OPEN]]


def name_of(plan: ClipPlan, video: Video) -> str:
    """The published name. The published script renamed what is too short to train on; it failed to find it."""
    return plan.file_name(video.name) + ".short" * (len(plan.video_frames) < SHORTEST)


def describe(plan: ClipPlan, task: Task) -> dict:
    """A clip in the record: `frames` from the video's beginning, the one after the last; `rows` and `cols` of the full
    frame, the last one included."""
    file, length = name_of(plan, task.video), len(plan.video_frames)
    return {
        "file": file,
        "links": [list(task.place.second_names(file)[task.link])] if length >= SHORTEST else [],
        "chunk": plan.chunk,
        "face": plan.face,
        "length": length,
        "frames": [plan.video_frames.start, plan.video_frames.stop],
        "rows": list(plan.rows),
        "cols": list(plan.cols),
    }


def told(boxes: Sequence[Row], plans: Sequence[ClipPlan], *, width: int, height: int) -> list[str]:
    """What a person should look at, in lines: where a face is missing, merged with another, or outside the frame."""
    lines = []
    gaps = [rows for rows in runs_without_face(boxes) if len(rows) > 1]  # one is filled by its neighbours
    if gaps:
        shown = ", ".join(f"{FRAME_STEP * rows[0]} to {FRAME_STEP * (rows[-1] + 1) - 1}" for rows in gaps)
        lines.append(f"no face in frames {shown}: a face before and after these is two clips")
    lines += [
        f"face {plan.face} of chunk {plan.chunk} has up to {plan.merged} boxes at once, which touch: one clip shows all"
        for plan in plans
        if plan.merged > 1
    ]
    outside = sum(_is_outside(row, width / 2, height / 2) for row in boxes if row)
    if outside:
        lines.append(f"a face leaves the frame in {outside} of {len(boxes)} frames searched: clips show what is in it")
    if not plans:
        lines.append("no face is in one place for 4 frames searched in sequence: no clip is made of it")
    return lines


def runs_without_face(boxes: Sequence[Row]) -> list[list[int]]:
    by_face = groupby(range(len(boxes)), lambda row: bool(boxes[row]))
    return [list(rows) for has_face, rows in by_face if not has_face]


def _is_outside(row: Row, width: float, height: float) -> bool:
    return any(min(x1, y1, width - x2, height - y2) < -_SEEN_OUTSIDE for x1, y1, x2, y2 in row)


if __name__ == "__main__":
    sys.exit(main())
