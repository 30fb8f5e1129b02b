"""Cut the faces out of every tenth frame of all videos of a data root, fakes by the boxes of their originals.

    python preprocessing/extract_crops.py --root-dir DATA_ROOT --crops-dir crops

Input: DATA_ROOT/*/metadata.json and its videos, DATA_ROOT/boxes/<id>.json (detect_original_faces.py). Output:
DATA_ROOT/crops/<id>/<frame>_<actor>.png, the face with a margin of a third on every side; actor is the index of its
box. A fake that is its original at another size gets its boxes scaled; one of another shape or frame rate fails. With
torchrun the videos are shared between processes:

    torchrun --nproc-per-node 16 preprocessing/extract_crops.py --root-dir DATA_ROOT
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project, from wherever this is run

import runtime.environment  # noqa: F401  it says what to do where the others can't be imported

import cv2
import numpy as np

from faces.containers import METADATA
from faces.crop import crop_face
from faces.images import ENCODINGS, encode_image
from faces.video import READER, iter_all_frames
from preprocessing.data_root import DataRoot
from preprocessing.outputs import new_folder
from preprocessing.pairs import Match, match
from preprocessing.stage import Item, Made, Stage, add_common_flags, run_stage
from runtime import limits
from runtime.command import run_command
from runtime.errors import InputError, ItemError
from runtime.files import parse_json
from runtime.ranks import Ranks

FRAME_STEP = 10
_OTHERS = ("boxes", "landmarks", "diffs", "compressed", "jpegs")  # folders of the other stages
_MOST_SIDE = 1 << 20  # pixels

Boxes = dict[int, list[list[float]]]
Task = tuple[str, Path, str | None, Path]  # video, boxes, the video that a fake was made from, output


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Cut the faces out of all videos")
    add_common_flags(parser)
    arg = parser.add_argument
    arg("--crops-dir", default="crops", metavar="NAME", help="folder in the data root to write to (default: crops)")
    arg(
        "--image-format",
        choices=ENCODINGS,
        default="png",
        help="png (default, lossless), jpg (quality 95, an eighth of the time to write) or webp (quality 95)",
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    return run_command(extract, parse_args(argv))


def extract(args: argparse.Namespace, ranks: Ranks) -> int:
    args.crops_dir = args.crops_dir.rstrip("/")
    if "/" in args.crops_dir or args.crops_dir.startswith(".") or not args.crops_dir:
        raise InputError(f"--crops-dir {args.crops_dir}: must name a folder in the data root, such as crops")
    if args.crops_dir in _OTHERS or Path(args.root_dir, args.crops_dir, METADATA).exists():
        raise InputError(f"--crops-dir {args.crops_dir}: that folder holds something else; name another, such as crops")
    stage = Stage(
        name="crops",
        output=args.crops_dir,
        settings={"frame_step": FRAME_STEP, "image_format": args.image_format, "reader": READER},
        list_items=partial(list_items, Path(args.root_dir), args.crops_dir),
        make_work=partial(make_work, args.image_format),
    )
    return run_stage(stage, args, ranks)


def list_items(root: Path, crops_dir: str, data: DataRoot) -> list[Item]:
    items, paths = [], {video.id: video.path for video in data.videos}
    for video in data.videos:
        boxes, output = root / "boxes" / f"{video.source}.json", root / crops_dir / video.id
        original = paths[video.original] if video.original else None
        inputs = (video.path, str(boxes), *([original] if original else []))
        items.append(Item(key=video.id, inputs=inputs, output=output, task=(video.path, boxes, original, output)))
    return items


def make_work(image_format: str) -> Callable[[Task], Made]:
    def cut_faces(task: Task) -> Made:
        path, boxes_path, original, output = task
        boxes = read_boxes(boxes_path)
        matched = match_or_empty(path, original, output) if boxes and original else Match()
        pixels = 2 * np.array([*matched.scale, *matched.scale])  # of this video, for one of the boxes'
        files = 0
        with new_folder(output) as folder:
            frames = iter_all_frames(path, lambda count: boxes) if boxes else ()
            for index, frame in frames:
                for actor, box in enumerate(boxes[index]):
                    crop = crop_face(frame, np.multiply(box, pixels))
                    if crop is not None:
                        image = cv2.cvtColor(crop, cv2.COLOR_RGB2BGR)
                        (folder / f"{index}_{actor}.{image_format}").write_bytes(encode_image(image, image_format))
                        files += 1
        return Made({"files": files}, matched.warnings)

    return cut_faces


def match_or_empty(fake: str, original: str, output: Path) -> Match:
    """As `match`; crops that were made before the two were compared show any place, and go where they don't match."""
    try:
        return match(fake, original)
    except ItemError:
        if output.exists():
            with new_folder(output):
                pass  # nothing is in it
        raise


def read_boxes(path: Path) -> Boxes:
    """The boxes of every tenth frame that has some, in half-size pixels. Raises ItemError."""
    return parse_json(
        path,
        limits.BOXES,
        ItemError,
        unreadable="no boxes ({}); run detect_original_faces.py",
        damaged="is damaged ({}); delete it and run detect_original_faces.py",
        parse=_boxes,
    )


def _boxes(content: dict) -> Boxes:
    boxes = {int(index): found for index, found in content.items() if found and int(index) % FRAME_STEP == 0}
    for found in boxes.values():
        if np.shape(found)[1:] != (4,) or not (np.abs(found) < _MOST_SIDE).all():
            raise ValueError("a box is not four numbers of pixels")
        if len(found) > limits.FACES:
            raise ValueError(f"{len(found)} faces in a frame, over the limit of {limits.FACES}")
    if min(boxes, default=0) < 0:
        raise ValueError(f"frame {min(boxes)}")
    return boxes


if __name__ == "__main__":
    sys.exit(main())
