"""The winner's system for a prediction: faces of evenly spaced frames, an ensemble that sees all of them."""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from faces.face_detector import FacenetDetector
from faces.sampling import evenly_spaced
from faces.video import iter_frames
from runtime.command import positive
from systems.sample import FacesTable, GiveVerdict, HowScored, ScoredFace, Settings
from systems.seferbekov.checkpoints import load_model
from systems.seferbekov.ensemble import build_ensemble, default_batch_size
from systems.seferbekov.face_models import FaceModels
from systems.seferbekov.faces import THRESHOLDS, FaceExtractor
from systems.seferbekov.models import ENCODERS
from systems.seferbekov.sampler import FaceSampler
from systems.seferbekov.strategy import STRATEGIES, verdict_by
from systems.system import Machine, Opened

OPTIONS = ("strategy", "frames_per_video", "max_faces", "spread_faces", "encoder", "size")


def add_flags(group: argparse._ArgumentGroup) -> None:
    """As `systems.registry` says."""
    arg = group.add_argument
    arg("--strategy", choices=STRATEGIES, help="from a video's faces to its score (default: confident)")
    arg("--frames-per-video", type=positive, metavar="N", help="evenly spaced (default: 32)")
    arg(
        "--max-faces",
        type=positive,
        metavar="N",
        help="of a video that are scored (default: 4 for each frame, less one: 127, as published). Frames after\n"
        "the last of them are not looked at",
    )
    arg(
        "--spread-faces",
        action="store_true",
        default=None,
        help="look at all frames, and score as many faces evenly in time, the largest of each frame first;\n"
        "frames with chosen faces are read twice",
    )
    arg(
        "--encoder",
        choices=ENCODERS,
        metavar="NAME",
        help="for checkpoints that don't name theirs:\n" + ", ".join(ENCODERS),
    )
    arg(
        "--size",
        type=positive,
        metavar="N",
        help="input side in pixels for checkpoints that don't name theirs (default: 380)",
    )


class SeferbekovPredictor:
    """As `systems.system.Predictor`. The options are predict_folder.py's."""

    engines = ("native", "openvino", "torch")

    def __init__(
        self,
        *,
        strategy: str = "confident",
        frames_per_video: int = 32,
        max_faces: int | None = None,
        spread_faces: bool = False,
        encoder: str | None = None,
        size: int | None = None,
    ):
        self.how = HowScored(
            strategy=strategy,
            verdict=f"{strategy}, from a model's face scores to its score of the video; then the mean over models",
            frames=f"{frames_per_video} of each video, evenly spaced",
        )
        self.frames_per_video = frames_per_video
        self._max_faces = max_faces or 4 * frames_per_video - 1
        self._spread_faces = spread_faces
        self._encoder, self._size = encoder, size

    def settings(self) -> Settings:
        return {
            "encoder": self._encoder,
            "size": self._size,
            "frames_per_video": self.frames_per_video,
            "max_faces": self._max_faces,
            "spread_faces": self._spread_faces,
        }

    def default_batch_size(self, device: torch.device) -> int:
        return default_batch_size(device)

    def open(self, checkpoints: Iterable[tuple[str, str]], machine: Machine) -> Opened:
        detector = FacenetDetector(
            thresholds=THRESHOLDS, device=machine.device, engine=machine.engine, threads=machine.workers
        )
        loaded = ((name, load_model(path, encoder=self._encoder, input_size=self._size)) for name, path in checkpoints)
        ensemble = build_ensemble(
            ((name, model.module, model.input_size) for name, model in loaded),
            device=machine.device,
            precision=machine.precision,
            engine=machine.engine,
            batch_size=machine.batch_size,
            lanes=machine.lanes,
        )
        extractor = FaceExtractor(
            lambda path: iter_frames(path, lambda count: evenly_spaced(count, self.frames_per_video)),
            detector,
            machine.frames_per_batch,
            machine.memory,
        )
        sampler = FaceSampler(extractor, max_faces=self._max_faces, spread_faces=self._spread_faces)
        return Opened(sampler=sampler, models=FaceModels(ensemble))

    def verdict(self, models: Sequence[str]) -> GiveVerdict:
        return verdict_by(STRATEGIES[self.how.strategy])

    def faces_table(self, models: Sequence[str]) -> FacesTable:
        """A row for each face, with its box in pixels of the frame (without the margin of the crop)."""
        columns = ["frame", "face", "x1", "y1", "x2", "y2", "detector_score", *models]
        return FacesTable(columns=columns, rows=_rows)


def _rows(faces: Sequence[ScoredFace]) -> list[list]:
    return [[face.frame, face.face, *face.bbox, face.detector_score, *face.probabilities] for face in faces]


def predictor(given: Mapping[str, Any], weights_dir: str) -> SeferbekovPredictor:
    """A predictor with the options that were given."""
    return SeferbekovPredictor(**given)
