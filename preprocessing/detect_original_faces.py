"""Find the faces in the real videos of a data root.

    python preprocessing/detect_original_faces.py --root-dir DATA_ROOT

Input: the videos labelled REAL in DATA_ROOT/*/metadata.json (and fakes whose original is not known). Output: for each
DATA_ROOT/boxes/<id>.json, {"0": [[x1, y1, x2, y2], ...] or null, "1": ...}, an entry for each frame: the boxes of its
faces, largest first, in pixels of the frame at half its size. With torchrun the videos are shared between processes:

    torchrun --nproc-per-node 8 preprocessing/detect_original_faces.py --root-dir DATA_ROOT
"""

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project, from wherever this is run

import runtime.environment  # noqa: F401  it says what to do where the others can't be imported

from faces.video import READER, in_chunks, iter_all_frames
from preprocessing.data_root import DataRoot
from preprocessing.extract_crops import FRAME_STEP
from preprocessing.outputs import new_file
from preprocessing.stage import DETECTOR_MODULES, Item, Made, Stage, add_common_flags, add_device_flag, run_stage
from runtime.command import positive, run_command
from runtime.ranks import Ranks

THRESHOLDS = (0.85, 0.95, 0.95)  # the published pipeline's for training data: stricter than at inference


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Find the faces in real videos")
    add_common_flags(parser)
    add_device_flag(parser)
    arg = parser.add_argument
    arg("--detector-type", choices=["FacenetDetector"], default="FacenetDetector", help="MTCNN, the one there is")
    arg(
        "--detector-scale",
        choices=["half", "auto"],
        default="half",
        help="size at which faces are searched: half as published (default), or auto by the wider side of the video: "
        "below 300 pixels twice, to 1000 as it is, above half, above 1900 a third. Boxes are stored in half-size "
        "pixels either way",
    )
    arg(
        "--frame-step",
        type=_frame_step,
        default=1,
        metavar="N",
        help="look at frames 0, N, 2N, ... (default: 1, every frame, as published). Crops are made of every tenth "
        "frame: 10 gives the same ones for a tenth of the work",
    )
    return parser.parse_args(argv)


def _frame_step(text: str) -> int:
    step = positive(text)
    if FRAME_STEP % step and step % FRAME_STEP:
        raise argparse.ArgumentTypeError(
            f"{step}: crops are made of every tenth frame; give 1, 2, 5 or a multiple of 10"
        )
    return step


def main(argv: list[str] | None = None) -> int:
    return run_command(detect, parse_args(argv))


def detect(args: argparse.Namespace, ranks: Ranks) -> int:
    stage = Stage(
        name="boxes",
        output="boxes",
        settings={
            "thresholds": THRESHOLDS,
            "scale": args.detector_scale,
            "frame_step": args.frame_step,
            "reader": READER,
        },
        list_items=partial(list_items, Path(args.root_dir, "boxes")),
        make_work=partial(make_work, args.device, ranks.local_rank, args.detector_scale, args.frame_step),
        device=args.device,
        preload=DETECTOR_MODULES,
    )
    return run_stage(stage, args, ranks)


def list_items(boxes: Path, data: DataRoot) -> list[Item]:
    items = []
    for video in data.sources:
        output = boxes / f"{video.id}.json"
        items.append(Item(key=video.id, inputs=(video.path,), output=output, task=(video.path, output)))
    return items


def make_work(device: str, local_rank: int, scale: str, frame_step: int) -> Callable[[tuple[str, Path]], Made]:
    from faces.face_detector import FacenetDetector  # takes seconds to import: only where it is used

    detector = FacenetDetector.of_a_worker(device, local_rank, thresholds=THRESHOLDS, scale=scale)

    def find_faces(task: tuple[str, Path]) -> Made:
        path, output = task
        boxes: dict[int, list | None] = {}
        frames = iter_all_frames(path, lambda count: range(0, count, frame_step))
        for chunk in in_chunks(frames, detector.best_batch):
            for (index, _), faces in zip(chunk, detector.detect([frame for _, frame in chunk]), strict=True):
                boxes[index] = (faces.bboxes / 2).tolist() or None
        with new_file(output) as file:
            file.write_text(json.dumps(boxes))
        counts = {"frames": len(boxes), "faces": sum(len(found) for found in boxes.values() if found)}
        return Made(counts, frames.info.notes)

    return find_faces


if __name__ == "__main__":
    sys.exit(main())
