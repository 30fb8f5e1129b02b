"""How far reduced precision moves the scores of videos: each engine that can be had, against fp32.

    python -m benchmarks.precision --videos DIR --models CKPT ... [--device cpu]

Input: videos and checkpoints. Each video counts as a whole and in its four quarters, of 32 frames each: five make 25.
Output: a table in Markdown with the largest, the 95th percentile and the mean difference of a video's score from
that of PyTorch in fp32, of one model and of all together, and of single faces; then the video that moved most.
"""

import argparse
from datetime import date
from pathlib import Path

import numpy as np
import torch

from benchmarks.machine import processor
from benchmarks.predict import in_lanes
from inference.ensemble import Ensemble, build_ensemble
from inference.faces import THRESHOLDS, FaceExtractor, prepare_face
from inference.sampling import evenly_spaced
from inference.strategies import confident_strategy
from preprocessing.face_detector import FacenetDetector
from preprocessing.video import iter_frames
from runtime.cores import available_cores
from runtime.device import resolve_device
from runtime.engines import usable_engines
from training.zoo.checkpoints import load_model

FRAMES, MOST_FACES, SIZE = 32, 127, 380
PARTS = ((0, 1), (0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1))


def parts(path: str, device: torch.device) -> dict[str, list[np.ndarray]]:
    """The faces of each part of a video, as models see them."""
    detector = FacenetDetector(thresholds=THRESHOLDS, device=device)
    found = {}
    for start, end in PARTS:

        def frames(path: str, start: float = start, end: float = end):
            def select(count: int) -> list[int]:
                first, last = int(start * count), int(end * count)
                return [first + index for index in evenly_spaced(last - first, FRAMES)]

            return iter_frames(path, select)

        faces = [face for _, _, some in FaceExtractor(frames, detector).iter_frames_with_faces(path) for face in some]
        if faces:
            found[f"{Path(path).name} {start:.0%} to {end:.0%}"] = [prepare_face(f.crop, SIZE) for f in faces][
                :MOST_FACES
            ]
    return found


def build(checkpoints: list[str], device: torch.device, engine: str, precision: str) -> Ensemble:
    modules = ((path, load_model(path).module, SIZE) for path in checkpoints)
    return build_ensemble(modules, device=device, precision=precision, engine=engine, lanes=available_cores())


def row(name: str, differences: np.ndarray) -> str:
    largest, most, mean = differences.max(), np.percentile(differences, 95), differences.mean()
    return f"| {name} | {largest:.5f} | {most:.5f} | {mean:.5f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description="How far reduced precision moves scores")
    parser.add_argument("--videos", required=True, help="folder with *.mp4")
    parser.add_argument("--models", nargs="+", required=True, metavar="CKPT")
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    device = resolve_device(args.device)
    samples: dict[str, list[np.ndarray]] = {}
    for path in sorted(Path(args.videos).glob("*.mp4")):
        samples |= parts(str(path), device)
    reduced = "fp16" if device.type == "cuda" else "bf16"
    runs = [("torch", "fp32"), *((engine, p) for engine in usable_engines(device) for p in ("fp32", reduced))]
    scores: dict[str, dict[str, np.ndarray]] = {}
    for engine, precision in dict.fromkeys(runs):
        ensemble = build(args.models, device, engine, precision)
        scores[f"{engine}, {precision}"] = {
            name: np.concatenate(in_lanes(ensemble, images)) for name, images in samples.items()
        }
        print(f"  {engine}, {precision}: done", flush=True)
        del ensemble
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    print(f"\n{date.today()}, {name}, PyTorch {torch.__version__}: {len(samples)} videos, {len(args.models)} models\n")
    print("| | largest | 95 % below | mean |\n|---|---|---|---|")
    exact = scores["torch, fp32"]
    for run, mine in scores.items():
        if run == "torch, fp32":
            continue
        by_model = {name: np.array([confident_strategy(c) for c in mine[name].T]) for name in samples}
        expected = {name: np.array([confident_strategy(c) for c in exact[name].T]) for name in samples}
        single = np.array([np.abs(by_model[name] - expected[name]) for name in samples])
        together = np.array([abs(by_model[name].mean() - expected[name].mean()) for name in samples])
        faces = np.concatenate([np.abs(mine[name] - exact[name]).ravel() for name in samples])
        print(row(f"{run}: a video, one model", single.ravel()))
        print(row(f"{run}: a video, all models", together))
        print(row(f"{run}: a face", faces))
        print(f"<!-- moved most: {list(samples)[int(single.max(1).argmax())]} -->")


if __name__ == "__main__":
    main()
