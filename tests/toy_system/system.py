"""Three neighbouring frames around every tenth one, their brightness against a threshold, the highest counts."""

import argparse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from faces.video import iter_frames
from systems.sample import Account, FacesTable, GiveVerdict, HowScored, Sample, ScoredFace, Settings, Verdict
from systems.system import Machine, Opened
from tests.toy_system import network

OPTIONS = ("every",)


def add_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--every", type=int, help="frames from one clip to the next")


class ToySampler:
    def __init__(self, every: int):
        self._every = every

    def samples(self, path: str, account: Account) -> Iterator[Sample]:
        frames = iter_frames(path, lambda count: range(count))
        account.frames_wanted = frames.look().frame_count
        clip: list[np.ndarray] = []
        for index, frame in frames:
            account.looked_at(index)
            clip = [*clip[-2:], frame]
            if len(clip) == 3 and index % self._every == 1:
                height, width = frame.shape[:2]
                yield Sample(
                    pixels=np.stack(clip),
                    frames=(index - 2, index - 1, index),
                    track=0,
                    bbox=(0, 0, width, height),
                    detector_score=1.0,
                )


class ToyModels:
    batch_size, group, lanes = 2, 1, 2

    def __init__(self, networks: Sequence[network.ToyNetwork]):
        self._networks = networks

    def kind(self, sample: Sample) -> tuple:
        return sample.pixels.shape

    def prepare(self, sample: Sample) -> np.ndarray:
        return sample.pixels

    def size_of(self, prepared: np.ndarray) -> int:
        return prepared.nbytes

    def score(self, kind: tuple, batch: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack([network.p_fake(each, batch) for each in self._networks], axis=1)


class ToyPredictor:
    how = HowScored(strategy="highest", verdict="the highest of the clips", frames="every tenth, with its neighbours")
    frames_per_video = None
    follows_faces = True

    def __init__(self, every: int = 10):
        self._every = every

    def settings(self) -> Settings:
        return {"every": self._every}

    def engines_on(self, device: torch.device) -> Sequence[str]:
        return ("torch",)

    def default_batch_size(self, device: torch.device) -> int:
        return ToyModels.batch_size

    def open(self, checkpoints: Iterable[tuple[str, str]], machine: Machine) -> Opened:
        networks = [network.load(path) for _, path in checkpoints]
        return Opened(sampler=ToySampler(self._every), models=ToyModels(networks))

    def verdict(self, models: Sequence[str]) -> GiveVerdict:
        def verdict(faces: Sequence[ScoredFace]) -> Verdict:
            highest = np.array([face.probabilities for face in faces]).max(axis=0)
            return Verdict(score=float(highest.mean()), model_scores=highest.tolist())

        return verdict

    def faces_table(self, models: Sequence[str]) -> FacesTable:
        def rows(faces: Sequence[ScoredFace]) -> list[list]:
            return [[face.frames[0], face.frames[-1], *face.probabilities] for face in faces]

        return FacesTable(columns=["first", "last", *models], rows=rows)


def predictor(given: Mapping[str, Any], weights_dir: str) -> ToyPredictor:
    return ToyPredictor(**given)
