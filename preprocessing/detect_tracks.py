"""Find the faces of all videos of a data root, real and fake, and follow them, for NtechLab's system.

    python preprocessing/detect_tracks.py --root-dir DATA_ROOT --weights-dir weights

Input: DATA_ROOT/*/metadata.json and its videos; weights/WIDERFace_DSFD_RES152.fp16.pth, without which MTCNN is used.
Output: for each video DATA_ROOT/face_tracks/<part>/<video>.mp4.json: the faces in frames 0, 6, 12, ... and the tracks
that they form (systems/ntechlab/track_files.py). With --format published also DATA_ROOT/tracks.pkl and
DATA_ROOT/detections/<part>/<video>.mp4/detections.pkl. With torchrun the videos are shared between processes:

    torchrun --nproc-per-node 8 preprocessing/detect_tracks.py --root-dir DATA_ROOT
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project, from wherever this is run

import runtime.environment  # noqa: F401  it says what to do where the others can't be imported

from faces.video import READER, VideoInfo, in_chunks, iter_all_frames, probe
from preprocessing.data_root import DataRoot, Video, read_data_root
from preprocessing.outputs import new_file
from preprocessing.stage import DETECTOR_MODULES, Item, Made, Stage, add_common_flags, add_device_flag, run_stage
from runtime.command import run_command
from runtime.errors import InputError, ItemError, OutputError
from runtime.files import make_folder, remove_leftovers
from runtime.ranks import Ranks
from systems.ntechlab.detections import RecordedDetections, find_recorded, read_recorded_detections
from systems.ntechlab.detector import (
    DETECTORS,
    DSFD_FILE,
    MTCNN_THRESHOLDS,
    DetectorChoice,
    choose_detector,
    training_detector,
)
from systems.ntechlab.published_files import write_detections, write_tracks
from systems.ntechlab.steady_frames import steady
from systems.ntechlab.track_crops import DETECT_EVERY
from systems.ntechlab.track_files import FOLDER, FORMATS, FaceTracks, face_tracks_text, read_face_tracks
from systems.ntechlab.tracking import track_faces

_SLOW = 8  # frames a second, below which the published system looks at no video when it predicts


@dataclass(frozen=True, kw_only=True)
class Task:
    """A video, where its tracks go, and what is recorded of it, if recorded detections are taken."""

    path: str
    output: Path
    root: Path
    recorded: dict[str, RecordedDetections]


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Find the faces of all videos and follow them")
    add_common_flags(parser)
    add_device_flag(parser)
    arg = parser.add_argument
    found = parser.add_mutually_exclusive_group()
    found.add_argument(
        "--detector",
        choices=DETECTORS,
        help=f"what finds faces (default: dsfd, as published, where its file {DSFD_FILE} is in --weights-dir, "
        "else mtcnn)",
    )
    found.add_argument(
        "--detections",
        metavar="FILE",
        help='JSON with the faces that another detector found, which are taken instead: {"a.mp4": {"width": w, '
        '"height": h, "frames": n, "detections": [{"frame": 0, "boxes": [[x1, y1, x2, y2]], "scores": [0.99]}, ...]}, '
        "...}, an entry for frames 0, 6, 12, ... of each video",
    )
    arg("--weights-dir", default="weights", help="folder with DSFD's weights (default: weights, in the current folder)")
    arg(
        "--format",
        choices=FORMATS,
        default="json",
        help="json (default), or published: write the published tracks.pkl and detections.pkl besides",
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    return run_command(detect, parse_args(argv))


def detect(args: argparse.Namespace, ranks: Ranks) -> int:
    choice = None if args.detections else choose_detector(args.detector, args.weights_dir)
    stage = Stage(
        name="face_tracks",
        output=FOLDER,
        settings={"detect_every": DETECT_EVERY, "reader": READER, **_detector_settings(choice)},
        list_items=partial(list_items, Path(args.root_dir), args.detections),
        make_work=partial(make_work, choice, args.device, ranks.local_rank) if choice else make_recorded_work,
        device=args.device if choice else None,
        preload=DETECTOR_MODULES if choice else ("cv2", "av"),
    )
    if ranks.rank == 0:
        print(f"face_tracks: {_told(choice, args)}")
    status = run_stage(stage, args, ranks)
    if args.format == "published" and ranks.rank == 0:
        write_published(Path(args.root_dir), read_data_root(args.root_dir), told=bool(status))
    return status


def _detector_settings(choice: DetectorChoice | None) -> dict:
    if choice is None:
        return {"detector": "recorded detections"}
    return choice.settings() | ({"thresholds": MTCNN_THRESHOLDS} if choice.name == "mtcnn" else {})


def _told(choice: DetectorChoice | None, args: argparse.Namespace) -> str:
    """What finds the faces, in words."""
    if choice is None:
        return f"faces are those recorded in {args.detections}"
    if choice.name == "dsfd":
        return "DSFD searches faces, as published"
    return "MTCNN searches faces" + ("" if args.detector else f", as there is no {choice.dsfd}")


def list_items(root: Path, detections: str | None, data: DataRoot) -> list[Item]:
    recorded = read_recorded_detections(detections) if detections else {}
    items = []
    for video in data.videos:
        output = tracks_file(root, video)
        task = Task(
            path=video.path,
            output=output,
            root=root,
            recorded={video.name: recorded[video.name]} if video.name in recorded else {},
        )
        inputs = (video.path, *([detections] if detections else []))
        items.append(Item(key=f"{video.part}/{video.name}", inputs=inputs, output=output, task=task))
    return items


def tracks_file(root: Path, video: Video) -> Path:
    return root / FOLDER / video.part / f"{video.name}.json"


def make_work(choice: DetectorChoice, device: str, local_rank: int) -> Callable[[Task], Made]:
    find, most = training_detector(choice, device, local_rank)

    def find_tracks(task: Task) -> Made:
        frames = iter_all_frames(task.path, searched)
        numbers, detections = [], []
        for chunk in in_chunks(steady(task.path, frames), most):
            numbers += [index for index, _ in chunk]
            detections += find([frame for _, frame in chunk])
        return _write(task, frames.info, numbers, detections)

    return find_tracks


def make_recorded_work() -> Callable[[Task], Made]:
    return follow_recorded


def follow_recorded(task: Task) -> Made:
    info = probe(task.path)
    numbers = searched(info.frame_count)
    return _write(task, info, numbers, find_recorded(task.recorded, task.path, (info.width, info.height), numbers))


def searched(frame_count: int) -> range:
    """The frames of a video in which faces are searched."""
    return range(0, frame_count, DETECT_EVERY)


def _write(task: Task, info: VideoInfo, numbers: list[int] | range, detections: list) -> Made:
    recorded = RecordedDetections(
        width=info.width, height=info.height, frame_count=info.frame_count, frames=numbers, detections=detections
    )
    tracks = track_faces(detections)
    with new_file(task.output, task.root) as file:
        file.write_text(face_tracks_text(FaceTracks(recorded=recorded, tracks=tracks)))
    notes = list(info.notes)
    if info.rate is not None and info.rate < _SLOW:
        notes.append(
            f"it shows {info.rate:.3g} frames a second: faces move far from one searched frame to the next, and may be "
            "lost"
        )
    faces = sum(len(each.bboxes) for each in detections)
    return Made({"frames": len(numbers), "faces": faces, "tracks": len(tracks)}, notes)


def write_published(root: Path, data: DataRoot, *, told: bool) -> None:
    """The published files of all videos whose tracks are there. Raises InputError where there is none and no error was
    `told`."""
    tracks = {}
    for video in data.videos:
        try:
            found = read_face_tracks(tracks_file(root, video))
        except ItemError:
            continue  # the stage has named this video
        folders = ("detections", video.part, video.name)
        try:
            make_folder(root, *folders)
        except OSError as error:
            raise OutputError(f"{root.joinpath(*folders)}: can't be made ({error.strerror}); mend that") from error
        write_detections(root.joinpath(*folders, "detections.pkl"), found.recorded.detections, root)
        tracks[f"{video.part}/{video.name}"] = found.tracks
    if not tracks and not told:
        raise InputError(f"--root-dir {root}: no video has tracks to write as published; mend what is named above")
    if not tracks:
        print("face_tracks: no video has tracks to write as published")
        return
    path = root / "tracks.pkl"
    remove_leftovers(path)
    write_tracks(path, tracks, root)
    print(f"face_tracks: the published files of {len(tracks)} videos: {path}, {root / 'detections'}")


if __name__ == "__main__":
    sys.exit(main())
