"""Tell where each fake differs from its original: one minus structural similarity, as a grey image for each crop.

    python preprocessing/generate_diffs.py --root-dir DATA_ROOT

Input: DATA_ROOT/crops/<id>/<frame>_<actor>.png of fakes and their originals, actors 0 and 1 (extract_crops.py). Output:
DATA_ROOT/diffs/<fake id>/<frame>_<actor>_diff.png for each crop of a fake whose original has one of the same name and
size. With torchrun the videos are shared between processes:

    torchrun --nproc-per-node 16 preprocessing/generate_diffs.py --root-dir DATA_ROOT
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project, from wherever this is run

from preprocessing.data_root import DataRoot
from preprocessing.images import encode_image, list_crops, read_image
from preprocessing.outputs import new_folder
from preprocessing.ssim import difference_mask
from preprocessing.stage import Counts, Item, Stage, add_common_flags, run_stage
from runtime.command import run_command
from runtime.errors import ItemError
from runtime.ranks import Ranks

Task = tuple[Path, Path, Path]


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
    items = []
    for video in data.fakes_with_original:
        fake, original = root / "crops" / video.id, root / "crops" / video.original
        output = root / "diffs" / video.id
        task = (fake, original, output)
        items.append(Item(key=video.id, inputs=(str(fake), str(original)), output=output, task=task))
    return items


def make_work() -> Callable[[Task], Counts]:
    return compare


def compare(task: Task) -> Counts:
    fake_dir, original_dir, output = task
    originals = {crop.stem: crop for crop in list_crops(original_dir)}
    pairs = [(crop, originals[crop.stem]) for crop in list_crops(fake_dir) if crop.stem in originals]
    files, other_size, damaged = 0, 0, []
    with new_folder(output) as folder:
        for crop, original in pairs:
            try:
                images = read_image(fake_dir / crop.name), read_image(original_dir / original.name)
            except ItemError as error:
                damaged.append(error)
                continue
            if images[0].shape != images[1].shape:
                other_size += 1
                continue
            (folder / f"{crop.stem}_diff.png").write_bytes(encode_image(difference_mask(*images), "png"))
            files += 1
    if damaged:
        raise ItemError(f"{len(damaged)} of {len(pairs)} pairs of crops, the others are done: {damaged[0]}")
    return {"files": files, "pairs of other sizes": other_size}


if __name__ == "__main__":
    sys.exit(main())
