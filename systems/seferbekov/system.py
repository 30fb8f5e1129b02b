"""The winner's system for a prediction: faces of evenly spaced frames, an ensemble that sees all of them."""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from faces.face_detector import FacenetDetector
from faces.sampling import evenly_spaced, spaced_in_time
from faces.video import VideoFrames, iter_frames
from runtime.command import number_above, positive
from runtime.errors import InputError
from systems.sample import FacesTable, GiveVerdict, HowScored, ScoredFace, Settings
from systems.seferbekov.checkpoints import load_model
from systems.seferbekov.ensemble import ENGINES, build_ensemble, default_batch_size
from systems.seferbekov.face_models import FaceModels
from systems.seferbekov.faces import THRESHOLDS, FaceExtractor
from systems.seferbekov.models import ENCODERS
from systems.seferbekov.sampler import FaceSampler
from systems.seferbekov.strategy import STRATEGIES, verdict_by
from systems.system import Machine, Opened
from systems.tracks import PERSON, tracks_of

OPTIONS = ("strategy", "frames_per_video", "frames_per_second", "max_faces", "spread_faces", "encoder", "size")


def add_flags(group: argparse._ArgumentGroup) -> None:
    """As `systems.registry` says."""
    arg = group.add_argument
    arg("--frames-per-video", type=positive, metavar="N", help="evenly spaced (default: 32)")
    arg(
        "--frames-per-second",
        type=number_above(0, 1000),
        metavar="N",
        help="frames by time instead of by count, for long videos, without a limit of faces but --max-faces",
    )
    arg(
        "--max-faces",
        type=positive,
        metavar="N",
        help="of a video that are scored (default: 4 for each frame, less one: 127, as published). Frames after\n"
        "the last of them are not looked at. With --strategy person: of a track",
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

    follows_faces = False

    def __init__(
        self,
        *,
        strategy: str = "confident",
        frames_per_video: int | None = None,
        frames_per_second: float | None = None,
        max_faces: int | None = None,
        spread_faces: bool = False,
        encoder: str | None = None,
        size: int | None = None,
    ):
        self._by_track = strategy == PERSON
        if frames_per_second and frames_per_video:
            raise InputError("--frames-per-second and --frames-per-video: give one of them")
        if self._by_track and spread_faces:
            raise InputError(f"--spread-faces: leave it out; with --strategy {PERSON} each person has faces of its own")
        self.frames_per_video = None if frames_per_second else frames_per_video or 32
        self._frames_per_second = frames_per_second
        self._max_faces = max_faces or (4 * self.frames_per_video - 1 if self.frames_per_video else None)
        self._spread_faces = spread_faces
        self._encoder, self._size = encoder, size
        rule = "confident" if self._by_track else strategy
        many = f"{frames_per_second:g} a second" if frames_per_second else f"{self.frames_per_video}"
        self.how = HowScored(
            strategy=rule,
            verdict=f"{rule}, from a model's face scores to its score of the video; then the mean over models",
            frames=f"{many} of each video, evenly spaced",
        )

    def settings(self) -> Settings:
        looked_at = (
            {"frames_per_second": self._frames_per_second}
            if self._frames_per_second
            else {"frames_per_video": self.frames_per_video}
        )
        return {
            "encoder": self._encoder,
            "size": self._size,
            **looked_at,
            "max_faces": self._max_faces,
            "spread_faces": self._spread_faces,
            **({"limit": "track"} if self._by_track else {}),
        }

    def engines_on(self, device: torch.device) -> Sequence[str]:
        return ENGINES

    def default_batch_size(self, device: torch.device) -> int:
        return default_batch_size(device)

    def open(self, checkpoints: Iterable[tuple[str, str]], machine: Machine) -> Opened:
        detector = FacenetDetector(
            thresholds=THRESHOLDS,
            device=machine.device,
            engine="torch" if machine.engine == "torch" else "auto",
            threads=machine.workers,
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
        extractor = FaceExtractor(self._frames, detector, machine.frames_per_batch, machine.memory)
        sampler = FaceSampler(
            extractor, max_faces=self._max_faces, spread_faces=self._spread_faces, by_track=self._by_track
        )
        return Opened(sampler=sampler, models=FaceModels(ensemble), detector=f"mtcnn on {detector.engine}")

    def _frames(self, path: str) -> VideoFrames:
        """The frames of a video that are looked at."""

        def chosen(count: int) -> Sequence[int]:
            if self._frames_per_second:
                return spaced_in_time(frames.info, self._frames_per_second)
            return evenly_spaced(count, self.frames_per_video)

        frames = iter_frames(path, chosen)
        return frames

    def verdict(self, models: Sequence[str]) -> GiveVerdict:
        return verdict_by(STRATEGIES[self.how.strategy])

    def faces_table(self, models: Sequence[str]) -> FacesTable:
        """A row for each face, with its box in pixels of the frame (without the margin of the crop). `track` is empty
        for one that is in none (systems/tracks.py)."""
        columns = ["frame", "face", "x1", "y1", "x2", "y2", "detector_score", *models, "track"]
        return FacesTable(columns=columns, rows=_rows)


def _rows(faces: Sequence[ScoredFace]) -> list[list]:
    return [
        [face.frame, face.face, *face.bbox, face.detector_score, *face.probabilities, track]
        for face, track in zip(faces, tracks_of(faces, followed=False), strict=True)
    ]


def predictor(given: Mapping[str, Any], weights_dir: str) -> SeferbekovPredictor:
    """A predictor with the options that were given."""
    return SeferbekovPredictor(**given)
