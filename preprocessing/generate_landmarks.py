"""Find eyes, nose and mouth in the crops of the real videos.

    python preprocessing/generate_landmarks.py --root-dir DATA_ROOT

Input: DATA_ROOT/crops/<id>/<frame>_<actor>.png, actors 0 and 1 (extract_crops.py). Output: for each crop with a face
DATA_ROOT/landmarks/<id>/<frame>_<actor>.npy, int16 (5, 2): x and y of left eye, right eye, nose, left and right corner
of the mouth, in pixels of the crop. With torchrun the videos are shared between processes:

    torchrun --nproc-per-node 8 preprocessing/generate_landmarks.py --root-dir DATA_ROOT
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

from faces.images import list_crops, read_image
from preprocessing.data_root import DataRoot
from preprocessing.outputs import new_folder
from preprocessing.stage import DETECTOR_MODULES, Item, Made, Stage, add_common_flags, add_device_flag, run_stage
from runtime.command import run_command
from runtime.errors import ItemError
from runtime.ranks import Ranks

THRESHOLDS = (0.65, 0.75, 0.75)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Find eyes, nose and mouth in the crops of real videos")
    add_common_flags(parser)
    add_device_flag(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    return run_command(find_landmarks, parse_args(argv))


def find_landmarks(args: argparse.Namespace, ranks: Ranks) -> int:
    stage = Stage(
        name="landmarks",
        output="landmarks",
        settings={"thresholds": THRESHOLDS},
        list_items=partial(list_items, Path(args.root_dir)),
        make_work=partial(make_work, args.device, ranks.local_rank),
        device=args.device,
        preload=DETECTOR_MODULES,
    )
    return run_stage(stage, args, ranks)


def list_items(root: Path, data: DataRoot) -> list[Item]:
    items = []
    for video in data.sources:
        crops, output = root / "crops" / video.id, root / "landmarks" / video.id
        items.append(Item(key=video.id, inputs=(str(crops),), output=output, task=(crops, output)))
    return items


def make_work(device: str, local_rank: int) -> Callable[[tuple[Path, Path]], Made]:
    from faces.face_detector import FacenetDetector  # takes seconds to import: only where it is used

    detector = FacenetDetector.of_a_worker(device, local_rank, thresholds=THRESHOLDS, scale="full", any_size=True)

    def find(task: tuple[Path, Path]) -> Made:
        crops_dir, output = task
        crops = list_crops(crops_dir)
        files, damaged = 0, []
        with new_folder(output) as folder:
            for start in range(0, len(crops), detector.best_batch):
                images = {}
                for crop in crops[start : start + detector.best_batch]:
                    try:
                        images[crop.stem] = cv2.cvtColor(read_image(crops_dir / crop.name), cv2.COLOR_BGR2RGB)
                    except ItemError as error:
                        damaged.append(error)
                for stem, faces in zip(images, detector.detect_largest(list(images.values())), strict=True):
                    if len(faces.landmarks):
                        np.save(folder / f"{stem}.npy", np.around(faces.landmarks[0]).astype(np.int16))
                        files += 1
        if damaged:
            raise ItemError(f"{len(damaged)} of {len(crops)} crops, the others are done: {damaged[0]}")
        return Made({"files": files, "crops": len(crops)})

    return find


if __name__ == "__main__":
    sys.exit(main())
