"""Milliseconds for a training sample: the published recipe and this project, in one run, on one core.

    python -m benchmarks.loader [--root-dir DATA_ROOT --folds-csv folds.csv] [--samples 400] [--rounds 5]

Input: a data root after preprocess_data.sh; without one, 300x400 crops of a face that scikit-image ships are written,
half of them fakes. The recipe reads the same crops in OpenCV's own encoding. Output: tables in Markdown. Rounds
alternate, so that a machine that changes its pace does not favour one side. Leave the machine alone meanwhile.
"""

import argparse
import os
import random
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import date
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # NumPy reads it when it is imported

import cv2
import numpy as np
import skimage.data
import torch

from benchmarks.loader_recipe import Recipe
from benchmarks.machine import processor
from faces.images import encode_image, read_image
from systems.seferbekov.dataset import ClassifierDataset
from systems.seferbekov.folds import Row, read_folds, training_rows
from systems.seferbekov.transforms import split

SIZE = 380
CROPS, HEIGHT, WIDTH = 64, 400, 300
LANDMARKS = np.array([[108, 200], [192, 200], [150, 248], [118, 300], [186, 300]], np.int16)
# step of the profile: transforms that belong to it
STEPS = {
    "compress, noise, blur": ("ImageCompression", "Noise", "Blur"),
    "flip, resize, pad": ("HorizontalFlip", "OneOf of resizes", "PadIfNeeded"),
    "colours": ("OneOf", "Gray"),
    "warp": ("ShiftScaleRotate",),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Time training samples against the published recipe")
    parser.add_argument("--root-dir", help="data root with crops, landmarks and diffs (default: one is made)")
    parser.add_argument("--folds-csv", help="its folds.csv; fold 0 is left out")
    parser.add_argument("--samples", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.root_dir:
            root = Path(args.root_dir)
            rows = training_rows(read_folds(args.folds_csv or root / "folds.csv"), fold=0, epoch=0, seed=777)
        else:
            root, rows = folder / "root", make_root(folder / "root")
        rows = rows[: args.samples]
        write_recipe_root(folder / "recipe", root, rows)
        dataset = ClassifierDataset(rows, data_dir=root, size=SIZE, training=True)
        recipe = Recipe(str(folder / "recipe"), SIZE)
        seconds = measure(dataset, recipe, args.samples, args.rounds)
        shares = profile(dataset, args.samples)
    setting = f"one core, {args.rounds} rounds of {args.samples} samples of {SIZE} pixels"
    print(f"\n{date.today()}, {processor()}, {setting}\n")
    print(table(seconds))
    print(profile_table(shares))


def make_root(root: Path) -> list[Row]:
    """Crops of one face with noise of its own each, and half of them with another mouth."""
    face = cv2.cvtColor(skimage.data.astronaut()[:200, 150:300], cv2.COLOR_RGB2BGR)
    face = cv2.resize(face, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    draw = np.random.default_rng(0)
    rows = []
    for kind in ("crops/real", "crops/fake", "landmarks/real", "diffs/fake"):
        (root / kind).mkdir(parents=True)
    for number in range(CROPS):
        real = cv2.add(face, draw.normal(0, 3, face.shape), dtype=cv2.CV_8U)  # what a camera leaves after compression
        real = cv2.GaussianBlur(real, (5, 5), 0)
        fake = real.copy()
        fake[240:310, 90:210] = cv2.GaussianBlur(fake[240:310, 90:210], (9, 9), 0)
        diff = cv2.absdiff(real, fake).max(axis=2) * 8
        np.save(root / "landmarks" / "real" / f"{number}_0.npy", LANDMARKS)
        (root / "diffs" / "fake" / f"{number}_0_diff.png").write_bytes(encode_image(diff, "png"))
        for label, (video, image) in enumerate((("real", real), ("fake", fake))):
            (root / "crops" / video / f"{number}_0.png").write_bytes(encode_image(image, "png"))
            rows.append(Row(video=video, file=f"{number}_0.png", label=label, original="real", frame=number, fold=1))
    return rows


def write_recipe_root(root: Path, source: Path, rows: list[Row]) -> None:
    """The rows' files as the published scripts write them."""
    for row in rows:
        stem = row.file.rpartition(".")[0]
        diff = source / "diffs" / row.video / f"{stem}_diff.png"
        landmarks = source / "landmarks" / (row.original or row.video) / f"{stem}.npy"
        image = read_image(source / "crops" / row.video / row.file)
        files = {f"crops/{row.video}/{stem}.png": cv2.imencode(".png", image)[1].tobytes()}
        if diff.exists():
            grey = cv2.extractChannel(read_image(diff), 0)
            files[f"diffs/{row.video}/{diff.name}"] = cv2.imencode(".png", grey)[1].tobytes()
        if landmarks.exists():
            files[f"landmarks/{row.original or row.video}/{stem}.npy"] = landmarks.read_bytes()
        for name, data in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(data)


def measure(dataset: ClassifierDataset, recipe: Recipe, samples: int, rounds: int) -> dict[str, list[float]]:
    """Seconds a sample of each round, without the first, which warms up."""
    rows = [dataset.rows[index % len(dataset)] for index in range(samples)]
    jobs: dict[str, Callable[[int], object]] = {
        "recipe": lambda index: recipe.sample(
            rows[index].video, f"{rows[index].file.rpartition('.')[0]}.png", rows[index].original, rows[index].label
        ),
        "ours": lambda index: dataset[index % len(dataset)],
    }
    seconds: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds + 1):
        for who, job in jobs.items():
            started = time.perf_counter()
            for index in range(samples):
                job(index)
            seconds[who].append((time.perf_counter() - started) / samples)
    return {who: each[1:] for who, each in seconds.items()}


def profile(dataset: ClassifierDataset, samples: int) -> dict[str, float]:
    """Seconds a sample of each step."""
    spent: dict[str, float] = defaultdict(float)

    def timed(step: str, job: Callable, *args, **kwargs):
        started = time.perf_counter()
        result = job(*args, **kwargs)
        spent[step] += (time.perf_counter() - started) / samples
        return result

    started = time.perf_counter()
    for index in range(samples):
        row = dataset.rows[index % len(dataset)]
        files = timed("read and decode", dataset.read, row)
        draw = np.random.default_rng((0, 0, index))
        image, _ = timed("dropout", dataset.drop, files, row.label, draw)
        timed("channels first", split, apply_transforms(dataset, image, draw, timed))
    spent["rest"] = (time.perf_counter() - started) / samples - sum(spent.values())
    return dict(spent)


def apply_transforms(
    dataset: ClassifierDataset, image: np.ndarray, draw: np.random.Generator, timed: Callable
) -> np.ndarray:
    dataset.transforms.set_random_state(draw, random.Random(int(draw.integers(2**63))))
    for transform in dataset.transforms.transforms:
        image = timed(step_of(transform), transform, image=image)["image"]
    return image


def step_of(transform: object) -> str:
    name = type(transform).__name__
    if name == "OneOf" and type(transform[0]).__name__ == "IsotropicResize":
        name = "OneOf of resizes"
    return next(step for step, names in STEPS.items() if name in names)


def table(seconds: dict[str, list[float]]) -> str:
    recipe, ours = (statistics.median(seconds[who]) * 1000 for who in ("recipe", "ours"))
    ratio = statistics.median(a / b for a, b in zip(seconds["recipe"], seconds["ours"], strict=True))
    return f"| recipe, ms | ours, ms | ratio |\n|---|---|---|\n| {recipe:.2f} | {ours:.2f} | {ratio:.2f} |\n"


def profile_table(shares: dict[str, float]) -> str:
    lines = ["| step of ours | ms |", "|---|---|"]
    lines += [f"| {step} | {seconds * 1000:.2f} |" for step, seconds in shares.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
