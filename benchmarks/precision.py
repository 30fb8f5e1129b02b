"""How far reduced precision moves the scores of videos: each engine that can be had, against the fastest in fp32.

    python -m benchmarks.precision --videos DIR --models CKPT ... [--device cpu]

Input: videos and checkpoints. Each video counts as a whole and in its four quarters, of 32 frames each: five make 25.
Output: a table in Markdown with the largest, the 95th percentile and the mean difference of a video's score, by one
model and by all together, and of a face's. In fp32 engines differ by rounding.
"""

import argparse
import itertools
from datetime import date
from pathlib import Path

import numpy as np
import torch

from benchmarks.machine import processor
from benchmarks.predict import in_lanes
from engines.choice import usable_engines
from engines.device import resolve_device
from faces.face_detector import FacenetDetector
from faces.sampling import evenly_spaced
from faces.video import iter_frames
from runtime.cores import available_cores
from systems.seferbekov.checkpoints import load_model
from systems.seferbekov.ensemble import ENGINES, Ensemble, build_ensemble
from systems.seferbekov.faces import THRESHOLDS, FaceExtractor, prepare_face
from systems.seferbekov.strategy import confident_strategy

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
    parser.add_argument("--engines", nargs="+", help="the first one's fp32 is what the others are held against")
    parser.add_argument("--precision", default="bf16", help="the reduced one (default: bf16; on a GPU also fp16)")
    args = parser.parse_args()
    device = resolve_device(args.device)
    samples: dict[str, list[np.ndarray]] = {}
    for path in sorted(Path(args.videos).glob("*.mp4")):
        samples |= parts(str(path), device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    print(f"\n{date.today()}, {name}, PyTorch {torch.__version__}: {len(samples)} videos, {len(args.models)} models")
    exact: dict[str, np.ndarray] = {}
    for engine, precision in itertools.product(
        args.engines or usable_engines(device, ENGINES), ("fp32", args.precision)
    ):
        ensemble = build(args.models, device, engine, precision)
        scores = {name: np.concatenate(in_lanes(ensemble, images)) for name, images in samples.items()}
        if exact:
            print("\n".join(rows(f"{engine}, {precision}", scores, exact)), flush=True)
        else:
            print(f"\n| against {engine}, {precision} | largest | 95 % below | mean |\n|---|---|---|---|", flush=True)
            exact = scores
        del ensemble


def rows(run: str, scores: dict[str, np.ndarray], exact: dict[str, np.ndarray]) -> list[str]:
    """Lines of the table: how far a video's score moved by each model and by all, and a face's."""
    by_model, expected = (
        np.array([[confident_strategy(column) for column in each[name].T] for name in exact])
        for each in (scores, exact)
    )
    moved = np.abs(by_model - expected)
    most = list(exact)[int(moved.max(1).argmax())]
    faces = np.concatenate([np.abs(scores[name] - exact[name]).ravel() for name in exact])
    return [
        row(f"{run}: a video, one model (most: {most})", moved.ravel()),
        row(f"{run}: a video, all models", np.abs(by_model.mean(1) - expected.mean(1))),
        row(f"{run}: a face, one model", faces),
    ]


if __name__ == "__main__":
    main()
