"""Seconds that each of The Medics' networks takes for a face: eager PyTorch as published, and ours, in one run.

    python -m benchmarks.medics [--weights-dir DIR] [--models i3d mc3_224 ...] [--frames 100] [--device cuda]

Input: nothing, or checkpoints under their published names; without them the weights are random, which is as fast, but
says little of the differences. A face is a clip of made-up pictures and its mirror image, for the 2D network 32 frames.
Output: a table in Markdown. The first row of a model is PyTorch in fp32 as it is, the others are our engines; they
take turns, and a figure is the least of all rounds. GFLOP counts a multiplication and an addition as two. The share of
peak is that of the fastest product of two large fp32 matrices there: more than 1 where reduced precision or a
kernel is faster. "p" is how far the probability is from the first row's. Leave the machine alone meanwhile.
"""

import argparse
from collections.abc import Callable, Sequence
from copy import deepcopy
from datetime import date
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.machine import fastest_product, machine_name, seconds
from engines.choice import usable_engines
from engines.device import DTYPES, resolve_device
from runtime.cores import available_cores
from runtime.memory import MemoryBudget
from systems.medics.clip_models import ClipModels
from systems.medics.models import MODELS, FaceModel, create_model, load_model
from systems.medics.settings import Settings
from systems.medics.strategy import p_fake_of_faces
from systems.medics.system import ENGINES
from systems.system import Machine
from tests import media

_PRECISIONS = {"cpu": ("fp32", "bf16"), "cuda": ("fp32", "fp16")}

Score = Callable[[np.ndarray], float]


def model_of(name: str, weights_dir: str | None) -> FaceModel:
    if weights_dir:
        return load_model(name, Path(weights_dir) / MODELS[name].file)
    torch.manual_seed(1)
    return create_model(name).eval().requires_grad_(False)


def face_of(model: FaceModel, frames: int) -> np.ndarray:
    """A face that moves, uint8 RGB (frames, 256, 256, 3)."""
    count = frames if model.spec.is_3d else Settings().frames_2d
    return np.stack(media.face_frames(count, 256, 256, 160))


def published(model: FaceModel) -> Score:
    return lambda face: float(p_fake_of_faces(model, [face])[0])


def ours(model: FaceModel, device: torch.device, engine: str, precision: str) -> Score:
    cores = available_cores()
    machine = Machine(
        device=device,
        precision=precision,
        engine=engine,
        workers=cores,
        lanes=cores,
        memory=MemoryBudget(2**30, cores),
    )
    models = ClipModels({0: model}, machine)
    return lambda face: float(models.score((0, len(face)), [face.copy()])[0, 0])  # pictures it has not seen


def engines_of_this_system(device: torch.device) -> list[str]:
    """The engines of this system that can be had, the fastest first."""
    return usable_engines(device, ENGINES)


def gflop_of(model: FaceModel, face: np.ndarray) -> float:
    """Of one call as published, by PyTorch's own count of convolutions and matrix products."""
    with FlopCounterMode(display=False) as counter:
        p_fake_of_faces(model, [face])
    return counter.get_total_flops() / 1e9


def measure(name: str, device: torch.device, args: argparse.Namespace) -> tuple[list[str], dict[str, float]]:
    """The rows of a model, and each contender's seconds."""
    model = model_of(name, args.weights_dir).to(device)
    face = face_of(model, args.frames)
    contenders = {"PyTorch, eager, fp32": published(model)}
    for engine in args.engines or engines_of_this_system(device)[:1]:
        for precision in args.precisions or _PRECISIONS[device.type]:
            contenders[f"ours, {engine}, {precision}"] = ours(deepcopy(model), device, engine, precision)
    taken: dict[str, list[float]] = {each: [] for each in contenders}
    probabilities = {each: score(face) for each, score in contenders.items()}  # and warm up
    gflop = gflop_of(model, face)
    peak = 0.0
    for _ in range(args.rounds):
        peak = max(peak, fastest_product(device))
        for each, score in contenders.items():
            taken[each].append(seconds(lambda score=score: score(face)))
    base, expected = (next(iter(each.values())) for each in (taken, probabilities))
    rows = []
    for each, times in taken.items():
        best = min(times)
        rows.append(
            f"| {name} | {gflop:.0f} | {each} | {best:.2f} | {gflop / best / peak:.2f} "
            f"| {min(base) / best:.2f} | {abs(probabilities[each] - expected):.5f} |"
        )
    return rows, {each: min(times) for each, times in taken.items()}


def totals(measured: Sequence[dict[str, float]]) -> list[str]:
    """Rows for all models together."""
    sums = {each: sum(model[each] for model in measured) for each in measured[0]}
    base = next(iter(sums.values()))
    return [
        f"| all {len(measured)} | | {each} | {taken:.2f} | | {base / taken:.2f} | |" for each, taken in sums.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the engines of The Medics' networks")
    parser.add_argument("--weights-dir", help="folder with the published files (default: random weights)")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), metavar="MODEL")
    parser.add_argument("--frames", type=int, default=100, help="of a clip")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, help="of ours (default: the fastest)")
    parser.add_argument("--precisions", nargs="+", choices=DTYPES, help="of ours (default: fp32 and the reduced one)")
    args = parser.parse_args()
    device = resolve_device(args.device)
    print(f"\n{date.today()}, {machine_name(device)}, PyTorch {torch.__version__}: {args.frames} frames")
    print("\n| model | GFLOP | | s | of peak | ratio | p |\n|---|---|---|---|---|---|---|", flush=True)
    measured = []
    for name in args.models:
        rows, taken = measure(name, device, args)
        measured.append(taken)
        print("\n".join(rows), flush=True)
    print("\n".join(totals(measured)))


if __name__ == "__main__":
    main()
