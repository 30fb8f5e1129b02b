"""Known answers of whole systems: small networks of fixed weights, on each engine, from a made-up video to a score."""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from inference.known_answers import Tolerance, decoded, difference, encoded, middle
from inference.made_input import made_pixels
from inference.opening import open_for_one_video
from systems.registry import SYSTEMS, checkpoint_path, load_predictor
from systems.sample import Account, Sample
from systems.system import Opened, Predictor

_BOXES = Tolerance(each=1, mean=1)  # pixels: a corner that lies between two may be rounded to either
_CROPS = Tolerance(each=6, mean=0.7)  # as colours are
# of probabilities, by precision; where a box is another, each face may be as far off as its picture makes it. In fp16
# an H100 moved the winner's by 0.001, NtechLab's by 0.039 (0.0044 in the mean) and The Medics' by 0.0007.
_MODELS = {
    "fp32": Tolerance(each=0.001, mean=0.001),
    "fp16": Tolerance(each=0.08, mean=0.015),
    "bf16": Tolerance(each=0.1, mean=0.1),
}
_OTHER_BOXES = 0.2


@dataclass(frozen=True, kw_only=True)
class FixedSystem:
    """A system with models of fixed weights: `names` are its checkpoints in `folder`, `inputs` samples of made-up
    pixels that its models take as they are."""

    predictor: Predictor
    folder: Path
    names: Sequence[str]
    inputs: Sequence[Sample]

    def open(self, device: torch.device, precision: str, engine: str) -> Opened:
        """Make it ready. Raises CheckpointError, DeviceError."""
        paths = [(name, checkpoint_path(str(self.folder), name)) for name in self.names]
        return open_for_one_video(self.predictor, paths, device=device, precision=precision, engine=engine)


def fixed_system(name: str, folder: Path) -> FixedSystem:
    """Write a system's models of fixed weights into a folder, which is made."""
    known = importlib.import_module(f"{SYSTEMS[name]}.known_answer")
    folder.mkdir()
    names, options = known.write_models(folder)
    inputs = [
        Sample(
            pixels=made_pixels(shape),
            frames=tuple(range(shape[0])),
            track=0,
            bbox=(0, 0, shape[2], shape[1]),
            detector_score=1.0,
            model=place,
            role=role,
        )
        for place, role, shape in known.inputs()
    ]
    predictor = load_predictor(name, options, str(folder))
    return FixedSystem(predictor=predictor, folder=folder, names=names, inputs=inputs)


def scores_of(system: FixedSystem, opened: Opened, video: Path) -> dict[str, Any]:
    """What the system makes of the made-up video and pixels, as JSON has it: the "samples" that it finds (first frame,
    last frame, box), the middle of a picture of the first of them ("crop"), the probabilities of made-up pixels
    ("models"), those of the samples ("faces"), and the video's "score"."""
    samples = list(opened.sampler.samples(str(video), Account()))
    crop = middle(samples[0].pixels[0]) if samples else np.zeros((0, 0, 3), np.uint8)
    faces = [sample.scored(_probabilities(opened, sample)) for sample in samples]
    score = system.predictor.verdict(system.names)(faces).score if faces else np.nan
    places = [[sample.frames[0], sample.frames[-1], *sample.bbox] for sample in samples]
    numbers = {
        "samples": places,
        "models": [each for sample in system.inputs for each in _probabilities(opened, sample)],
        "faces": [each for face in faces for each in face.probabilities],
        "score": [score],
    }
    return {name: encoded(np.array(values, np.float64)) for name, values in numbers.items()} | {"crop": encoded(crop)}


def what_is_off(found: Mapping[str, Any], known: Mapping[str, Any], precision: str) -> list[str]:
    """In words, what of `scores_of` is not as it must be, in the order of the steps."""
    same_boxes = found["samples"] == known["samples"]
    model = _MODELS[precision]
    scores = model if same_boxes else Tolerance(each=_OTHER_BOXES, mean=_OTHER_BOXES)
    checks = (
        ("samples", "detection: where faces are", _BOXES),
        ("crop", "crop: the picture of a face", _CROPS),
        ("models", "normalisation or network: the scores of made-up pixels", model),
        ("faces", "the faces' scores", scores),
        ("score", "the video's score", scores),
    )
    told = []
    for name, words, tolerance in checks:
        problem = difference(decoded(found[name]), decoded(known[name]), tolerance)
        told += [f"{words} {problem}"] if problem else []
    return told


def largest_error(found: Mapping[str, Any], known: Mapping[str, Any]) -> float:
    """How far the scores of made-up pixels, faces and the video are off, at most."""
    return max(
        float(np.abs(decoded(found[name]) - decoded(known[name])).max()) for name in ("models", "faces", "score")
    )


def _probabilities(opened: Opened, sample: Sample) -> list[float]:
    row = next(iter(opened.models.score(opened.models.kind(sample), [opened.models.prepare(sample)])))
    return row.tolist()
