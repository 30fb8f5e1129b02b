"""NtechLab's system for a prediction: faces followed through the video, one model a face, one score from all."""

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
import torch

from faces.face_detector import FacenetDetector
from runtime.errors import InputError
from systems.checkpoints import file_digest
from systems.ntechlab.checkpoints import load_classifier
from systems.ntechlab.detections import MOST_BYTES, Detections, read_recorded_detections
from systems.ntechlab.detector import DETECTORS, DSFD_FILE, MTCNN_THRESHOLDS, choose_detector
from systems.ntechlab.dsfd import DsfdDetector
from systems.ntechlab.models import ROLES
from systems.ntechlab.sampler import TrackSampler
from systems.ntechlab.strategy import weighted_mean
from systems.ntechlab.track_models import TrackModels, default_batch_size
from systems.sample import FacesTable, GiveVerdict, HowScored, ScoredFace, Settings, Verdict
from systems.system import Machine, Opened
from systems.tracks import tracks_of

OPTIONS = ("detector", "detections", "roles")
_DSFD_BATCH = 16


def add_flags(group: argparse._ArgumentGroup) -> None:
    """As `systems.registry` says."""
    group.add_argument(
        "--detector",
        choices=DETECTORS,
        help=f"what finds faces (default: dsfd, as published, where its file {DSFD_FILE}\n"
        "is in --weights-dir, else mtcnn)",
    )
    group.add_argument(
        "--detections",
        metavar="FILE",
        help="JSON with the faces that another detector found, which are taken instead:\n"
        '{"a.mp4": {"width": w, "height": h, "frames": n, "detections": [{"frame": 0, "boxes": [[x1, y1, x2, y2]],\n'
        '"scores": [0.99]}, ...]}, ...}, an entry for each frame that is searched',
    )
    group.add_argument(
        "--roles",
        nargs="+",
        choices=ROLES,
        metavar="ROLE",
        help=f"of each of --models, where neither the file nor its folder's name tells it: {_roles()}",
    )


class NtechlabPredictor:
    """As `systems.system.Predictor`. The options are predict_folder.py's."""

    how = HowScored(
        strategy="weighted mean",
        verdict="the mean of all probabilities, each moved away from 0.5 and weighted by its distance from it",
        frames="about 15 a second; faces are searched in every third of them, and followed",
    )
    frames_per_video = None
    follows_faces = True

    def __init__(
        self,
        weights_dir: str,
        *,
        detector: str | None = None,
        detections: str | None = None,
        roles: Sequence[str] = (),
    ):
        if detector and detections:
            raise InputError("--detector and --detections: give one of them")
        self._detector = choose_detector(detector, weights_dir)
        self._detections = detections
        self._roles = list(roles)

    def settings(self) -> Settings:
        roles = {"roles": self._roles} if self._roles else {}
        if self._detections:
            return {**roles, "detections": file_digest(self._detections, MOST_BYTES)}
        return {**roles, **self._detector.settings()}

    def engines_on(self, device: torch.device) -> Sequence[str]:
        return ("native" if device.type == "cuda" else "openvino", "onnxruntime", "torch")

    def default_batch_size(self, device: torch.device) -> int:
        return default_batch_size(device)

    def open(self, checkpoints: Iterable[tuple[str, str]], machine: Machine) -> Opened:
        classifiers, places = [], {}
        for number, (checkpoint, asked) in enumerate(zip_longest(checkpoints, self._roles)):
            if checkpoint is None or (self._roles and asked is None):
                raise InputError("--roles: give one for each of --models, in their order")
            name, path = checkpoint
            classifiers.append(load_classifier(path, asked))
            role = classifiers[-1].role
            if role in places:
                raise InputError(f"--models: {name} is a second model of role {role}; give one for each of {_roles()}")
            places[role] = number
        detect, most, detector = self._ready(machine)
        sampler = TrackSampler(
            places,
            detect=detect,
            most=machine.frames_per_batch or most,
            memory=machine.memory,
            recorded=read_recorded_detections(self._detections) if self._detections else None,
        )
        return Opened(sampler=sampler, models=TrackModels(classifiers, machine), detector=detector)

    def _ready(self, machine: Machine) -> tuple[Callable[[Sequence[np.ndarray]], list[Detections]], int, str]:
        """What finds faces, how many frames it wants at a time, and its name and engine."""
        if self._detections:
            return lambda frames: [], 1, "recorded detections"
        if self._detector.name == "dsfd":
            dsfd = DsfdDetector(self._detector.dsfd, machine.device)
            return dsfd.detect, _DSFD_BATCH, f"dsfd on {dsfd.engine}"
        found = FacenetDetector(
            thresholds=MTCNN_THRESHOLDS, device=machine.device, engine="auto", threads=machine.workers
        )
        return found.detect, found.best_batch, f"mtcnn on {found.engine}"

    def verdict(self, models: Sequence[str]) -> GiveVerdict:
        def verdict(faces: Sequence[ScoredFace]) -> Verdict:
            by_model: list[list[float]] = [[] for _ in models]
            for face in faces:
                by_model[face.model] += face.probabilities
            pooled = [score for scores in by_model for score in scores]
            return Verdict(score=weighted_mean(pooled), model_scores=[weighted_mean(scores) for scores in by_model])

        return verdict

    def faces_table(self, models: Sequence[str]) -> FacesTable:
        """A row for each probability. Frames are counted as they are kept; the box is what was cut out. `person` is the
        lowest of the tracks that were joined, as one goes on where another was lost."""
        columns = ["track", "model", "frame", "sequence_start", "flip", "x1", "y1", "x2", "y2", "probability", "person"]

        def rows(faces: Sequence[ScoredFace]) -> list[list]:
            return [
                [face.face, face.role, start + number, start, int(face.flipped), *face.bbox, probability, person]
                for face, person in zip(faces, tracks_of(faces, followed=True), strict=True)
                for start in [face.frame // face.step]
                for number, probability in enumerate(face.probabilities)
            ]

        return FacesTable(columns=columns, rows=rows)


def _roles() -> str:
    return ", ".join(ROLES)


def predictor(given: Mapping[str, Any], weights_dir: str) -> NtechlabPredictor:
    """A predictor with the options that were given."""
    return NtechlabPredictor(weights_dir, **given)
