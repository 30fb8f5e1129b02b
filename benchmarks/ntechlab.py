"""NtechLab's system against the published way of doing it, in one run: prediction, and samples of its training.

    python -m benchmarks.ntechlab --videos DIR --models LARGE_CROP RE SEQ [--dsfd FILE] [--device cuda]
    python -m benchmarks.ntechlab --pairs DATA_ROOT

Input: videos and the three checkpoints (published names tell their roles; B7 of fixed random weights are as fast),
or a data root that SYSTEM=ntechlab preprocess_data.sh has prepared. With --dsfd its file, DSFD searches faces in both,
else MTCNN. Output: a table in Markdown; runs alternate. "score" is the largest difference from the recipe's score of a
video. On a GPU the recipe, which is slower, takes a quarter of the videos. Leave the machine alone meanwhile.
"""

import argparse
import os
import random
import shutil
import statistics
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import cv2
import torch

from benchmarks import ntechlab_recipe
from benchmarks.machine import fastest_product, machine_name
from engines.choice import usable_engines
from engines.device import DTYPES, resolve_device
from inference.pipeline import Pipeline
from runtime.cores import available_cores
from runtime.memory import MemoryBudget, default_budget
from systems.ntechlab.dataset import TrackPairDataset
from systems.ntechlab.published_files import read_track_pairs
from systems.ntechlab.system import NtechlabPredictor
from systems.ntechlab.track_crops import PAIRS_FILE, TRACKS_FOLDER
from systems.system import Machine

_PAIRS = 8  # a batch
_PRECISIONS = {"cpu": ("fp32", "bf16"), "cuda": ("fp32", "fp16")}


def ours(
    checkpoints: list[str], dsfd: str | None, device: torch.device, engine: str, precision: str
) -> Callable[[list[str]], list[float]]:
    cores = available_cores()
    machine = Machine(
        device=device,
        precision=precision,
        engine=engine,
        workers=cores,
        lanes=cores,
        memory=MemoryBudget(default_budget(on_gpu=device.type == "cuda"), cores),
    )
    folder = os.path.dirname(dsfd) if dsfd else "."
    predictor = NtechlabPredictor(folder, detector="dsfd" if dsfd else "mtcnn")
    opened = predictor.open(((path, path) for path in checkpoints), machine)
    pipeline = Pipeline(opened.sampler, opened.models, predictor.verdict(checkpoints), workers=cores)

    def predict(paths: list[str]) -> list[float]:
        scores = {each.video: each.score for each in pipeline.run((str(i), path) for i, path in enumerate(paths))}
        return [scores[str(i)] for i in range(len(paths))]

    return predict


def prediction(args: argparse.Namespace) -> None:
    device = resolve_device(args.device)
    files = sorted(map(str, Path(args.videos).glob("*.mp4")))
    paths = [files[number % len(files)] for number in range(args.count or len(files))]
    recipe = ntechlab_recipe.Recipe(args.models, args.dsfd, device)
    ways = {"recipe, fp32": lambda paths: [recipe.predict(path) for path in paths]}
    predictor = NtechlabPredictor(".", detector="mtcnn")
    engines = usable_engines(device, predictor.engines_on(device))
    for engine in args.engines or engines[:1]:
        for precision in args.precisions or _PRECISIONS[device.type]:
            ways[f"ours, {engine}, {precision}"] = ours(args.models, args.dsfd, device, engine, precision)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    scores: dict[str, list[float]] = {}
    if device.type == "cuda":
        for predict in ways.values():
            predict(paths[:1])  # what is prepared at the first call counts for nothing
        recipe.images = dict.fromkeys(recipe.images, 0)
    for _ in range(args.rounds):
        for name, predict in ways.items():
            mine = paths[: -(-len(paths) // 4)] if name.startswith("recipe") and device.type == "cuda" else paths
            start = time.perf_counter()
            scores[name] = predict(mine)
            seconds[name].append((time.perf_counter() - start) / len(mine))
            print(f"  {name}: {seconds[name][-1]:.2f} s a video", flush=True)
    base, exact = seconds["recipe, fp32"], scores["recipe, fp32"]
    detector = "DSFD" if args.dsfd else "MTCNN"
    print(f"\n{heading(device)}: prediction, {detector}, {len(paths)} videos, {args.rounds} rounds\n")
    print("| | s a video | ratio | score |\n|---|---|---|---|")
    for name, each in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(base, each, strict=True))
        moved = max(abs(a - b) for a, b in zip(scores[name], exact, strict=False))
        print(f"| {name} | {statistics.median(each):.2f} | {ratio:.1f} | {moved:.5f} |")
    scored = {role: count / len(exact) / args.rounds for role, count in recipe.images.items()}
    gflop = sum(recipe.gflop(role) * count for role, count in scored.items())
    counts = ", ".join(f"{count:.0f} for {role}" for role, count in scored.items())
    peak = fastest_product(device)
    print(f"\nA video has {counts}: {gflop:.0f} GFLOP, {gflop / peak:.1f} s at the {peak:.0f} GFLOP a second")
    print("of the fastest product of two large fp32 matrices here.")


def samples(args: argparse.Namespace) -> None:
    """Batches of eight pairs on one core, made in turns."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # ffmpeg and x264 too
    root = Path(args.pairs, TRACKS_FOLDER)
    pairs = read_track_pairs(Path(args.pairs, PAIRS_FILE))
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    codec = "ffmpeg" if shutil.which("ffmpeg") else "PyAV for ffmpeg"
    title = f"samples of training, {codec}, one core, s a batch of {_PAIRS} pairs, {args.rounds} rounds"
    print(f"\n{heading(torch.device('cpu'))}: {title}\n")
    print("| role | recipe s | ours s | ratio |\n|---|---|---|---|")
    for role in ("large_crop", "seq"):
        seconds: dict[str, list[float]] = {"recipe": [], "ours": []}
        for epoch in range(args.rounds):
            chosen = [pairs[(epoch * _PAIRS + index) % len(pairs)] for index in range(_PAIRS)]
            data = TrackPairDataset(chosen, root=root, role=role, seed=1, epoch=epoch)
            start = time.perf_counter()
            for index in range(_PAIRS):
                data[index]
            seconds["ours"].append(time.perf_counter() - start)
            start = time.perf_counter()
            for index, pair in enumerate(chosen):
                draw = random.Random(f"1 {epoch} {index}")
                draw.getrandbits(63)  # the data set's noise: the draws after it are the same
                ntechlab_recipe.sample(root, pair, role, draw)
            seconds["recipe"].append(time.perf_counter() - start)
        recipe, mine = (statistics.median(seconds[name]) for name in ("recipe", "ours"))
        ratio = sum(seconds["recipe"]) / sum(seconds["ours"])
        print(f"| {role} | {recipe:.2f} | {mine:.2f} | {ratio:.1f} |")


def heading(device: torch.device) -> str:
    return f"{date.today()}, {machine_name(device)}, PyTorch {torch.__version__}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare NtechLab's system with the published way of doing it")
    parser.add_argument("--videos", metavar="DIR", help="folder with *.mp4, with --models")
    parser.add_argument("--models", nargs=3, metavar="CKPT", help="large_crop, re and seq")
    parser.add_argument("--dsfd", metavar="FILE", help="DSFD's weights; without them MTCNN searches faces")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--count", type=int, help="videos of a round; files are used again (default: each once)")
    parser.add_argument("--engines", nargs="+", help="of ours (default: the fastest)")
    parser.add_argument("--precisions", nargs="+", choices=DTYPES, help="of ours (default: fp32 and the reduced one)")
    parser.add_argument("--pairs", metavar="DIR", help="prepared data root: time samples of training")
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    if not args.pairs and not (args.videos and args.models):
        parser.error("give --videos and --models, or --pairs")
    if args.videos:
        prediction(args)
    if args.pairs:
        samples(args)


if __name__ == "__main__":
    main()
