"""The Medics' system for a prediction: clips of faces in a video's first frames, seven 3D networks and a 2D one."""

import argparse
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, asdict, fields
from typing import Any

import numpy as np
import torch

from faces.face_detector import FacenetDetector
from runtime import limits
from runtime.command import positive
from runtime.errors import InputError
from runtime.files import parse_json
from systems.checkpoints import CheckpointError, read_checkpoint
from systems.medics.clip_models import ClipModels, default_batch_size
from systems.medics.models import MODELS, load_model, name_of
from systems.medics.sampler import ClipSampler
from systems.medics.sampling import Detections
from systems.medics.settings import MTCNN_FACTOR, Attempt, Settings
from systems.medics.strategy import score_video
from systems.sample import FacesTable, GiveVerdict, HowScored, ScoredFace, Verdict
from systems.sample import Settings as Recorded
from systems.system import Machine, Opened
from systems.tracks import tracks_of

OPTIONS = ("frame_limit", "whole_video", "clip_settings")
ENGINES = ("avx512", "openvino", "onnxruntime", "torch")  # those that run the networks


def add_flags(group: argparse._ArgumentGroup) -> None:
    """As `systems.registry` says."""
    arg = group.add_argument
    arg("--frame-limit", type=positive, metavar="N", help="frames of a video that are looked at (default: 100)")
    arg(
        "--whole-video",
        action="store_true",
        default=None,
        help="look at all frames, --frame-limit of them at a time; a person then counts as a face in each part",
    )
    arg(
        "--clip-settings",
        metavar="FILE",
        help="JSON with the other settings of systems/medics/settings.py: frame_step, least_rows, attempts,\n"
        "frames_2d, model_weights, clamp",
    )


class MedicsPredictor:
    """As `systems.system.Predictor`. The options are predict_folder.py's."""

    frames_per_video = None
    follows_faces = True

    def __init__(self, *, frame_limit: int | None = None, whole_video: bool = False, clip_settings: str | None = None):
        given = {"frame_limit": frame_limit, "whole_video": whole_video or None}
        given = {name: value for name, value in given.items() if value is not None}
        self._settings = settings_of({**(_read(clip_settings) if clip_settings else {}), **given}, clip_settings)
        part = "all, in parts of" if self._settings.whole_video else "the first"
        self.how = HowScored(
            strategy="mean",
            verdict="the mean over the faces of each model, then over the models",
            frames=f"{part} {self._settings.frame_limit}; faces are searched in every {self._settings.frame_step}th",
        )

    def settings(self) -> Recorded:
        return {"settings": json.loads(json.dumps(asdict(self._settings)))}

    def engines_on(self, device: torch.device) -> Sequence[str]:
        return ENGINES

    def default_batch_size(self, device: torch.device) -> int:
        return default_batch_size(device)

    def open(self, checkpoints: Iterable[tuple[str, str]], machine: Machine) -> Opened:
        models = {place: load_model(model_of(name, path), path) for place, (name, path) in enumerate(checkpoints)}
        specs = {place: model.spec for place, model in models.items()}
        detect, engine = _detector(machine, self._settings)
        sampler = ClipSampler(models=specs, detect=detect, settings=self._settings)
        return Opened(sampler=sampler, models=ClipModels(models, machine), detector=f"mtcnn on {engine}")

    def verdict(self, models: Sequence[str]) -> GiveVerdict:
        places = range(len(models))

        def verdict(faces: Sequence[ScoredFace]) -> Verdict:
            p_fake: dict[int, list[float]] = {place: [] for place in places}
            for face in faces:
                p_fake[face.model] += face.probabilities
            given = score_video(p_fake, self._settings, {face.model: face.role for face in faces})
            unknown = self._settings.no_face
            return Verdict(score=given.score, model_scores=[given.model_scores.get(place, unknown) for place in places])

        return verdict

    def faces_table(self, models: Sequence[str]) -> FacesTable:
        """A row for each face: the first face of those that were joined through the parts of a video, its frames from
        first to last, the box that its clip was cut from, the mean of the detector's scores, and each model's
        probability."""
        columns = ["face", "first_frame", "last_frame", "x1", "y1", "x2", "y2", "detector_score", *models, "track"]

        def rows(faces: Sequence[ScoredFace]) -> list[list]:
            by_face: dict[int, dict[int, ScoredFace]] = {}
            for face in faces:
                by_face.setdefault(face.face, {})[face.model] = face
            tracks = {face.face: track for face, track in zip(faces, tracks_of(faces, followed=True), strict=True)}
            table = []
            for number, of_model in by_face.items():
                longest = max(of_model.values(), key=lambda face: len(face.frames))
                scores = [of_model[place].probabilities[0] if place in of_model else "" for place in range(len(models))]
                last = longest.frames[-1] if longest.frames else longest.frame
                table.append(
                    [number, longest.frame, last, *longest.bbox, longest.detector_score, *scores, tracks[number]]
                )
            return table

        return FacesTable(columns=columns, rows=rows)


def model_of(name: str, path: str) -> str:
    """Which model a checkpoint is: what it says, or what its published name tells. Raises CheckpointError."""
    told = name_of(path, read_checkpoint(path, weights=False))
    if told is not None:
        return told
    for spec in MODELS.values():
        if os.path.basename(name) == spec.file:
            return spec.name
    known = ", ".join(spec.file for spec in MODELS.values())
    raise CheckpointError(name, f"its name tells no model of The Medics; give the file the name of its like: {known}")


def settings_of(content: Mapping[str, Any], file: str | None) -> Settings:
    """The settings that JSON has. Raises InputError, which names the file and what is wrong."""
    try:
        values = _values(content, Settings)
        if "attempts" in values:
            attempts = values["attempts"] if isinstance(values["attempts"], tuple) else ()
            values["attempts"] = tuple(Attempt(**_values(each, Attempt)) for each in attempts)
        return Settings(**values)
    except ValueError as error:
        raise InputError(f"{file or '--frame-limit'}: {error}") from error


def _values(content: object, kind: type) -> dict[str, Any]:
    """An object of JSON as what the dataclass `kind` takes, its lists as tuples. Raises ValueError where keys are
    unknown or missing."""
    known = fields(kind)
    allowed = ", ".join(each.name for each in known)
    if not isinstance(content, dict):
        raise ValueError(f"{content!r:.80}: must be an object with some of the keys {allowed}")
    for name in content:
        if name not in {each.name for each in known}:
            raise ValueError(f"{name}: unknown key; allowed: {allowed}")
    for each in known:
        if each.default is each.default_factory is MISSING and each.name not in content:
            raise ValueError(f"{each.name} is missing in {content!r:.80}")
    return {name: tuple(value) if isinstance(value, list) else value for name, value in content.items()}


def _read(file: str) -> dict:
    content = parse_json(
        file,
        limits.CONFIG,
        lambda line: InputError(f"--clip-settings {line}"),
        unreadable="can't be read ({}); name another file",
        damaged="is not JSON ({})",
    )
    if not isinstance(content, dict):
        raise InputError(f"--clip-settings {file}: must be an object of keys and values")
    return content


def _detector(machine: Machine, settings: Settings) -> tuple[Callable, str]:
    """MTCNN with the thresholds of each attempt, its faces in the order in which the network gives them, and its
    engine."""
    detectors = {
        attempt.thresholds: FacenetDetector(
            thresholds=attempt.thresholds,
            scale="full",
            factor=MTCNN_FACTOR,
            largest_first=False,
            device=machine.device,
            engine="auto",
            threads=machine.workers,
        )
        for attempt in settings.attempts
    }

    def detect(images: Sequence[np.ndarray], thresholds: tuple[float, float, float], factor: float) -> list[Detections]:
        found = detectors[thresholds].detect(images)
        return [Detections(boxes=faces.bboxes, probabilities=faces.scores) for faces in found]

    return detect, next(iter(detectors.values())).engine


def predictor(given: Mapping[str, Any], weights_dir: str) -> MedicsPredictor:
    """A predictor with the options that were given."""
    return MedicsPredictor(**given)
