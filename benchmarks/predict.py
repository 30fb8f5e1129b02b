"""Videos per minute of the reference recipe and of this project, stage by stage, in one run.

    python -m benchmarks.predict [--videos DIR] [--models CKPT ...] [--device cpu] [--rounds 2] [--count N]

Input: 1080p videos (one is made where none are given: 10 s, 300 frames, one face) and B7 checkpoints (random weights
where none are given: as fast, but no detector). Output: a table in Markdown. A stage's figure is seconds for one video
with nothing else running; "together" is what counts: seconds a video when many are done. "score" is the largest
difference from the recipe's score of a video, "memory" the peak beyond what the loaded models take, "GPU" the most that
was allocated on one, with the models. Runs alternate, so that a machine that changes its pace does not favour one side.
On a GPU a round is 128 videos, of which the recipe, ten times slower, takes 64. Below the table: where each contender's
threads were, by looking twenty times a second. Leave the machine alone meanwhile.
"""

import argparse
import gc
import itertools
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import numpy as np
import torch

from benchmarks.machine import machine_name
from benchmarks.recipe import Recipe
from benchmarks.whereabouts import Whereabouts
from engines.choice import usable_engines
from engines.device import resolve_device
from faces.face_detector import FacenetDetector
from faces.sampling import evenly_spaced
from faces.video import iter_frames
from inference.pipeline import Pipeline
from runtime.cores import available_cores
from runtime.memory import MemoryBudget, default_budget
from systems.seferbekov.checkpoints import load_model
from systems.seferbekov.ensemble import ENGINES, Ensemble, build_ensemble
from systems.seferbekov.face_models import FaceModels
from systems.seferbekov.faces import THRESHOLDS, FaceExtractor, prepare_face
from systems.seferbekov.sampler import FaceSampler
from systems.seferbekov.strategy import confident_strategy, verdict_by

FRAMES, SIZE = 32, 380


@dataclass(kw_only=True)
class Contender:
    """One way of predicting, and what was measured of it."""

    name: str
    stages: Callable[[str], tuple[float, float, float]]
    together: Callable[[list[str]], list[float]]
    share: float = 1  # of a round's videos that it is given
    stage_seconds: tuple[float, float, float] = (0, 0, 0)
    seconds: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    megabytes: float = 0
    gpu_megabytes: float = 0
    seen: str = ""


def recipe(checkpoints: list[str], device: torch.device) -> Contender:
    runner = Recipe([load_model(path).module for path in checkpoints], device, FRAMES, SIZE)

    def stages(path: str) -> tuple[float, float, float]:
        runner.predict(path)
        return runner.times[-1]

    on_gpu = device.type == "cuda"
    return Contender(
        name=f"recipe, {'fp16' if on_gpu else 'fp32'}",
        stages=stages,
        together=runner.predict_set,
        share=0.5 if on_gpu else 1,
    )


def ours(checkpoints: list[str], device: torch.device, engine: str, precision: str) -> Contender:
    cores = available_cores()
    detector_engine = "torch" if engine == "torch" else "auto"  # as in predict_folder.py
    detector = FacenetDetector(thresholds=THRESHOLDS, device=device, engine=detector_engine, threads=cores)
    modules = [(path, load_model(path).module, SIZE) for path in checkpoints]
    ensemble = build_ensemble(modules, device=device, precision=precision, engine=engine, lanes=cores)
    extractor = FaceExtractor(
        lambda path: iter_frames(path, lambda count: evenly_spaced(count, FRAMES)),
        detector,
        memory=MemoryBudget(default_budget(on_gpu=device.type == "cuda"), cores),
    )
    pipeline = Pipeline(FaceSampler(extractor), FaceModels(ensemble), verdict_by(confident_strategy), workers=cores)

    def stages(path: str) -> tuple[float, float, float]:
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        start = time.perf_counter()
        for _ in iter_frames(path, lambda count: evenly_spaced(count, FRAMES)):
            pass
        decoded = time.perf_counter()
        found = [faces for _, _, faces in extractor.iter_frames_with_faces(path)]
        detected = time.perf_counter()
        images = [prepare_face(face.crop, SIZE) for faces in found for face in faces][: 4 * FRAMES - 1]
        prepared = time.perf_counter()
        in_lanes(ensemble, images)
        torch.set_num_threads(before)
        decode = decoded - start
        return decode, detected - decoded - decode, time.perf_counter() - prepared

    def together(paths: list[str]) -> list[float]:
        scores = {result.video: result.score for result in pipeline.run((str(i), path) for i, path in enumerate(paths))}
        return [scores[str(i)] for i in range(len(paths))]

    return Contender(name=f"ours, {engine}, {precision}", stages=stages, together=together)


def in_lanes(ensemble: Ensemble, images: list[np.ndarray]) -> list[np.ndarray]:
    """The scores of each batch; as many are computed at a time as the ensemble has lanes."""
    scores: dict[int, np.ndarray] = {}
    batches = [images[i : i + ensemble.batch_size] for i in range(0, len(images), ensemble.batch_size)]

    def lane(number: int) -> None:
        torch.set_num_threads(1)
        for i in range(number, len(batches), ensemble.lanes):
            scores[i] = ensemble.score({SIZE: batches[i]})

    threads = [threading.Thread(target=lane, args=(number,)) for number in range(ensemble.lanes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [scores[i] for i in range(len(batches))]


def measure(contenders: list[Contender], paths: list[str], rounds: int) -> None:
    for contender in contenders:
        contender.stages(paths[0])  # warm up
        contender.stage_seconds = contender.stages(paths[0])
    for _ in range(rounds):
        for contender in contenders:
            gc.collect()
            mine = paths[: max(1, int(len(paths) * contender.share))]
            resting = reset_peak()
            start = time.perf_counter()
            with Whereabouts() as seen:
                contender.scores = contender.together(mine)
            contender.seconds.append((time.perf_counter() - start) / len(mine))
            contender.seen = seen.told()
            contender.megabytes = max(contender.megabytes, peak() - resting)
            if torch.cuda.is_initialized():
                contender.gpu_megabytes = torch.cuda.max_memory_allocated() / 2**20
            print(f"  {contender.name}: {contender.seconds[-1]:.2f} s a video", flush=True)


def reset_peak() -> float:
    """Begin a new measurement of the process's peak memory (Linux); MB it takes now."""
    Path("/proc/self/clear_refs").write_text("5")
    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()
    return peak()


def peak() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def table(contenders: list[Contender]) -> str:
    base = contenders[0]
    lines = [
        "| | decode s | detect s | classify s | together s | videos a minute | ratio | score | memory MB | GPU MB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for contender in contenders:
        seconds = statistics.median(contender.seconds)
        ratio = statistics.median(a / b for a, b in zip(base.seconds, contender.seconds, strict=True))
        difference = max(abs(a - b) for a, b in zip(base.scores, contender.scores, strict=False))
        stages = " | ".join(f"{value:.2f}" for value in contender.stage_seconds)
        lines.append(
            f"| {contender.name} | {stages} | {seconds:.3f} | {60 / seconds:.1f} | {ratio:.1f} | {difference:.4f} "
            f"| {contender.megabytes:.0f} | {contender.gpu_megabytes:.0f} |"
        )
    return "\n".join(lines)


def make_video(folder: str) -> str:
    from tests import media

    frames = media.face_frames(300, 1920, 1080, 420)
    return str(media.write_video(Path(folder) / "made.mp4", frames, options={"crf": "23", "preset": "fast"}))


def make_checkpoint(folder: str) -> str:
    from tests import media

    return str(media.write_checkpoint(Path(folder) / "b7", encoder="tf_efficientnet_b7_ns", size=SIZE))


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare with the reference recipe")
    parser.add_argument("--videos", help="folder with *.mp4 (default: one is made)")
    parser.add_argument("--models", nargs="+", metavar="CKPT", help="B7 checkpoints (default: one of random weights)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--count", type=int, help="videos in a round; files are used again (default: 6; on a GPU 128)")
    parser.add_argument("--engines", nargs="+", help="of ours (default: all that can be had)")
    parser.add_argument("--precisions", nargs="+", help="of ours (default: fp32 and bf16; on a GPU fp16)")
    args = parser.parse_args()
    device = resolve_device(args.device)
    with tempfile.TemporaryDirectory() as folder:
        files = sorted(map(str, Path(args.videos).glob("*.mp4"))) if args.videos else [make_video(folder)]
        checkpoints = args.models or [make_checkpoint(folder)]
        contenders = [recipe(checkpoints, device)]
        precisions = ("fp16", "fp32") if device.type == "cuda" else ("bf16", "fp32")
        chosen = itertools.product(args.engines or usable_engines(device, ENGINES), args.precisions or precisions)
        contenders += [ours(checkpoints, device, engine, precision) for engine, precision in chosen]
        count = args.count or (128 if device.type == "cuda" else 6)
        paths = [files[i % len(files)] for i in range(count)]
        measure(contenders, paths, args.rounds)
    machine = f"{machine_name(device)}, PyTorch {torch.__version__}"
    print(f"\n{date.today()}, {machine}: {len(checkpoints)} B7, {len(paths)} videos, {args.rounds} rounds\n")
    print(table(contenders))
    for contender in contenders:
        print(f"\n{contender.name}, last round: {contender.seen}")


if __name__ == "__main__":
    main()
