"""How often explanations pass the deletion test, and whether their heat lies in what was swapped, on a demo's videos.

    python -m benchmarks.explanations --demo demo [--methods gradcam occlusion] [--faces 1] [--draws 20]

Input: the folder of `demo.sh`: its made-up fakes of held-out people (holdout/), its data and weights, and the models
that its submission.summary.json names. Output: a table in Markdown, a row for each method. The swapped region of a face
are the pixels in which the fake differs from its original, by more than compression makes; its holes are filled.
`centre inside`: of how many faces the heat's centre lies in the region; `heat inside`: the mean share of the heat that
does, beside the region's share of the picture. Faces with the highest scores are taken.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from scipy import ndimage
from tqdm import tqdm

from benchmarks.machine import processor
from faces.crop import crop_face
from faces.video import iter_frames
from inference.explained_faces import ExplainedFace, score_of
from inference.explaining import heats_by_gradients, heats_by_occlusion, highest_faces, score_video
from inference.explanation_page import GRADCAM, METHODS
from inference.heat import centre_of, deletion
from inference.opening import engine_of, open_for_one_video
from preprocessing.labels import read_metadata
from systems.heat import weigh_alike
from systems.medics.clips import cut_face
from systems.ntechlab.face_images import IMAGES
from systems.registry import DEFAULT, checkpoint_path, heat_module, load_predictor
from systems.sample import Sample

CPU = torch.device("cpu")
_DIFFERENT = 8  # levels, of the mean over a clip's frames, after blurring; compression alone makes 1 to 3
_BLUR = 0.01  # of a face's longer side


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One face: whether the deletion test held, whether the heat's centre is in the swapped region, which share of the
    heat is, and which share of the picture the region is."""

    holds: bool
    centre_inside: bool
    heat_inside: float
    region: float


def held_out_fakes(demo: Path) -> Iterator[tuple[Path, Path]]:
    """The path of each made-up fake of the held-out people, and of its original."""
    for link in sorted((demo / "holdout").glob("*.mp4")):
        fake = link.resolve()
        entries, _ = read_metadata(fake.parent / "metadata.json")
        if entries[fake.name]["label"] == "FAKE":
            yield fake, fake.parent / entries[fake.name]["original"]


def cut_by(system: str) -> Callable[[Sample, np.ndarray], np.ndarray]:
    """What cuts a sample's pixels of a frame out of it, uint8 (h, w, 3)."""

    def of_winner(sample: Sample, frame: np.ndarray) -> np.ndarray:
        return crop_face(frame, sample.bbox)

    def of_ntechlab(sample: Sample, frame: np.ndarray) -> np.ndarray:
        x1, y1, x2, y2 = sample.bbox
        image = IMAGES[sample.role](frame[y1:y2, x1:x2])
        return image[:, ::-1] if sample.flipped else image

    def of_medics(sample: Sample, frame: np.ndarray) -> np.ndarray:
        x1, y1, x2, y2 = sample.bbox
        return cut_face(frame, (y1, y2 - 1), (x1, x2 - 1))

    return {"seferbekov": of_winner, "ntechlab": of_ntechlab, "medics": of_medics}[system]


def swapped_region(face: ExplainedFace, original: Path, cut: Callable[[Sample, np.ndarray], np.ndarray]) -> np.ndarray:
    """Where a face differs from the original's, bool (h, w) in its pixels."""
    sample = face.samples[0]
    frames = iter_frames(original, lambda count: list(face.frames))
    original_pixels = np.stack([cut(sample, frame) for _, frame in frames])
    difference = np.abs(face.pixels.astype(np.int16) - original_pixels).max(axis=3).mean(axis=0).astype(np.float32)
    blurred = cv2.GaussianBlur(difference, (0, 0), _BLUR * max(difference.shape))
    return ndimage.binary_fill_holes(blurred > _DIFFERENT)


def measured(heat: np.ndarray, holds: bool, region: np.ndarray) -> Measured:
    by_place = heat.sum(axis=0, dtype=np.float64)
    column, row = centre_of(heat) if by_place.any() else (0, 0)
    height, width = region.shape
    return Measured(
        holds=holds,
        centre_inside=bool(by_place.any() and region[int(row * height), int(column * width)]),
        heat_inside=float(by_place[region].sum() / max(by_place.sum(), 1e-12)),
        region=float(region.mean()),
    )


def measure(
    demo: Path, methods: Sequence[str], *, fakes: int | None, faces: int, draws: int
) -> dict[str, list[Measured]]:
    """By method, each of the `faces` highest faces of each fake, or of the first `fakes`."""
    settings = json.loads((demo / "submission.summary.json").read_text())["settings"]
    system, names = settings.get("system", DEFAULT), [name for name, _ in settings["models"]]
    folder = str(demo / "weights")
    checkpoints = [(name, checkpoint_path(folder, name)) for name in names]
    predictor = load_predictor(system, {}, folder)
    engine = engine_of(predictor, "auto", CPU)
    opened = open_for_one_video(predictor, checkpoints, device=CPU, precision="fp32", engine=engine)
    networks = list(heat_module(system).open_models({}, checkpoints, CPU))
    cut = cut_by(system)
    found: dict[str, list[Measured]] = {method: [] for method in methods}
    for fake, original in tqdm(list(held_out_fakes(demo))[:fakes], unit="fake"):
        result = score_video(str(fake), opened, predictor.verdict(names))
        chosen, _ = highest_faces(str(fake), opened, result, weigh_alike, faces)
        regions = [swapped_region(face, original, cut) for face in chosen]
        for method in methods:
            if method == GRADCAM:
                heats = heats_by_gradients(chosen, networks, quiet=True)
            else:
                heats = heats_by_occlusion(chosen, opened, quiet=True)
            for number, (face, heat, region) in enumerate(zip(chosen, heats, regions, strict=True)):
                test = deletion(score_of(opened.models, face), face.pixels, heat, draws=draws, seed=(0, number))
                found[method].append(measured(heat, test is not None and test.holds, region))
    return found


def table(found: dict[str, list[Measured]]) -> str:
    lines = [
        "| method | faces | deletion test passed | centre inside | heat inside | the region's share |",
        "|---|---|---|---|---|---|",
    ]
    for method, faces in found.items():
        held, centres = (sum(getattr(each, name) for each in faces) for name in ("holds", "centre_inside"))
        inside, region = (np.mean([getattr(each, name) for each in faces]) for name in ("heat_inside", "region"))
        lines.append(
            f"| {method} | {len(faces)} | {held} ({held / len(faces):.0%}) | {centres} ({centres / len(faces):.0%}) "
            f"| {inside:.2f} | {region:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure explanations on a demo's held-out fakes")
    parser.add_argument("--demo", type=Path, default=Path("demo"), help="folder of demo.sh (default: demo)")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--fakes", type=int, metavar="N", help="the first ones (default: all)")
    parser.add_argument("--faces", type=int, default=1, metavar="N", help="of each fake (default: 1)")
    parser.add_argument("--draws", type=int, default=20, metavar="N", help="of the deletion test (default: 20)")
    args = parser.parse_args()
    found = measure(args.demo, args.methods, fakes=args.fakes, faces=args.faces, draws=args.draws)
    print(f"\n{processor()}, {args.demo}: {args.faces} face(s) of each held-out fake, {args.draws} draws\n")
    print(table(found))


if __name__ == "__main__":
    main()
