"""Tell where each fake differs from its original: one minus structural similarity, as a grey image for each crop.

    python preprocessing/generate_diffs.py --root-dir DATA_ROOT

Input: DATA_ROOT/crops/<id>/<frame>_<actor>.png of fakes and their originals, actors 0 and 1 (extract_crops.py). Output:
DATA_ROOT/diffs/<fake id>/<frame>_<actor>_diff.png for each crop of a fake whose original has one of the same name. The
original's is scaled for a fake that is its original at another size; other crops of unlike sizes can't be compared.
With torchrun the videos are shared between processes:

    torchrun --nproc-per-node 16 preprocessing/generate_diffs.py --root-dir DATA_ROOT
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

from faces.images import encode_image, list_crops, read_image
from preprocessing.data_root import DataRoot
from preprocessing.outputs import new_folder
from preprocessing.pairs import scale_of
from preprocessing.ssim import difference_mask
from preprocessing.stage import Item, Made, Stage, add_common_flags, run_stage
from runtime.command import run_command
from runtime.errors import ItemError
from runtime.ranks import Ranks

# Median SSIM of the crops' borders, where nothing is forged, below which a fake and its original may not show the same
# moments. Measured: 0.97 to 0.99 for fakes as they come, 0.88 and more for those encoded again at rate factor 40 or
# scaled to a quarter; 0.5 to 0.2 where a moving camera is 1 to 10 frames late, 0.86 and 0.81 where a still one is 30
# and 60. So what stands still tells nothing, and strong grain that was encoded away (0.2 to 0.8) is taken for
# misaligned.
LEAST_SIMILAR = 0.85
_LEAST_SIDE = 40  # pixels: on smaller crops SSIM's windows at the border reach into the face
_ROUNDED = 3  # pixels that a crop's side may lack: its ends and the margin are cut to whole numbers

Task = tuple[Path, Path, str, str, Path]  # crops of the fake and of its original, their videos, output


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Tell where fakes differ from their originals")
    add_common_flags(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    return run_command(generate_diffs, parse_args(argv))


def generate_diffs(args: argparse.Namespace, ranks: Ranks) -> int:
    stage = Stage(
        name="diffs",
        output="diffs",
        settings={},
        list_items=partial(list_items, Path(args.root_dir)),
        make_work=make_work,
    )
    return run_stage(stage, args, ranks)


def list_items(root: Path, data: DataRoot) -> list[Item]:
    items, paths = [], {video.id: video.path for video in data.videos}
    for video in data.fakes_with_original:
        fake, original = root / "crops" / video.id, root / "crops" / video.original
        videos, output = (video.path, paths[video.original]), root / "diffs" / video.id
        inputs = (str(fake), str(original), *videos)
        items.append(Item(key=video.id, inputs=inputs, output=output, task=(fake, original, *videos, output)))
    return items


def make_work() -> Callable[[Task], Made]:
    return compare


def compare(task: Task) -> Made:
    fake_dir, original_dir, *videos, output = task
    originals = {crop.stem: crop for crop in list_crops(original_dir)}
    crops = list_crops(fake_dir)
    pairs = [(crop, originals[crop.stem]) for crop in crops if crop.stem in originals]
    bad, similarities = [], []
    with new_folder(output) as folder:
        for crop, original in pairs:
            try:
                mask = difference_mask(*read_pair(fake_dir / crop.name, original_dir / original.name, *videos))
            except ItemError as error:
                bad.append(error)
                continue
            (folder / f"{crop.stem}_diff.png").write_bytes(encode_image(mask, "png"))
            if min(mask.shape) >= _LEAST_SIDE:
                similarities.append(border_similarity(mask))
    if bad:
        raise ItemError(f"{len(bad)} of {len(pairs)} pairs of crops, the others are done: {bad[0]}")
    warnings = []
    if len(pairs) < len(crops):
        warnings.append(
            f"{len(crops) - len(pairs)} of {len(crops)} crops have no counterpart in {original_dir}: no diff"
        )
    if similarities and (similarity := float(np.median(similarities))) < LEAST_SIMILAR:
        warnings.append(
            f"also the borders of its crops differ from its original's (median SSIM {similarity:.2f}, below "
            f"{LEAST_SIMILAR}): the two may not be aligned in time"
        )
    return Made({"files": len(pairs)}, warnings)


def read_pair(fake: Path, original: Path, fake_video: str, original_video: str) -> tuple[np.ndarray, np.ndarray]:
    """Two crops of one size: the original's is scaled as the fake's video was. Raises ItemError where it was not."""
    ours, theirs = read_image(fake), read_image(original)
    if ours.shape == theirs.shape:
        return ours, theirs
    scale = scale_of(fake_video, original_video)
    size = ours.shape[1::-1]
    sides = zip(size, theirs.shape[1::-1], scale, strict=True)
    fits = all(abs(side - ratio * other) <= _ROUNDED * (1 + ratio) for side, other, ratio in sides)
    if scale == (1, 1) or not fits:
        sizes = " and ".join(f"{image.shape[1]}x{image.shape[0]}" for image in (ours, theirs))
        raise ItemError(
            f"{fake}: can't be compared with its original's ({sizes} pixels); run extract_crops.py --overwrite"
        )
    return ours, cv2.resize(theirs, size, interpolation=cv2.INTER_AREA if min(scale) < 1 else cv2.INTER_CUBIC)


def border_similarity(mask: np.ndarray) -> float:
    """The median SSIM of a crop's outer tenth on every side: the face's margin, which is a third of the face."""
    height, width = mask.shape
    is_border = np.ones(mask.shape, bool)
    is_border[height // 10 : -(height // 10), width // 10 : -(width // 10)] = False
    return 1 - float(np.median(mask[is_border])) / 255


if __name__ == "__main__":
    sys.exit(main())
