"""Write every frame of all videos of a data root as a JPEG.

    python preprocessing/extract_images.py --root-dir DATA_ROOT

Input: DATA_ROOT/*/metadata.json and its videos. Output: DATA_ROOT/jpegs/<id>_<frame>.jpg, quality 100: about 100 MB a
video of ten seconds at 1080p. With torchrun the videos are shared between processes.
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project, from wherever this is run

import runtime.environment  # noqa: F401  it says what to do where the others can't be imported

import cv2

from faces.video import READER, iter_all_frames
from preprocessing.data_root import DataRoot
from preprocessing.outputs import new_files
from preprocessing.stage import Item, Made, Stage, add_common_flags, run_stage
from runtime.command import run_command
from runtime.ranks import Ranks

QUALITY = 100


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Write every frame of all videos as a JPEG")
    add_common_flags(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    return run_command(extract, parse_args(argv))


def extract(args: argparse.Namespace, ranks: Ranks) -> int:
    stage = Stage(
        name="images",
        output="jpegs",
        settings={"quality": QUALITY, "reader": READER},
        list_items=partial(list_items, Path(args.root_dir, "jpegs")),
        make_work=make_work,
        key_of=lambda name: name.rpartition("_")[0],
    )
    return run_stage(stage, args, ranks)


def list_items(jpegs: Path, data: DataRoot) -> list[Item]:
    return [
        Item(key=video.id, inputs=(video.path,), output=jpegs / f"{video.id}_0.jpg", task=(video.path, video.id, jpegs))
        for video in data.videos
    ]


def make_work() -> Callable[[tuple[str, str, Path]], Made]:
    return write_frames


def write_frames(task: tuple[str, str, Path]) -> Made:
    path, video_id, jpegs = task
    files = 0
    with new_files(jpegs, video_id, last=f"{video_id}_0.jpg") as folder:
        for index, frame in iter_all_frames(path, range):
            image = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
            data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
            (folder / f"{video_id}_{index}.jpg").write_bytes(data)
            files += 1
    return Made({"files": files})


if __name__ == "__main__":
    sys.exit(main())
