"""Trains the toy on three neighbouring frames of each video of a data root; part 0 is held out."""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from faces.video import iter_frames
from systems.config import Strict, whole_number
from systems.task import Asked, Losses, Step
from tests.toy_system import network as toy

OPTIONS = ("middle",)


class Keys(Strict):
    batches_per_epoch: int = whole_number(1)


class Video(NamedTuple):
    video: str
    label: int
    path: str


class Clips(Dataset):
    def __init__(self, rows: Sequence[Video], start: int, jitter: tuple[int, int] | None):
        self.rows, self._start, self._jitter = rows, start, jitter

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        shift = 0 if self._jitter is None else int(np.random.default_rng((*self._jitter, index)).integers(5))
        start = self._start + shift
        frames = iter_frames(self.rows[index].path, lambda count: range(start, start + 3))
        clip = torch.from_numpy(np.stack([frame for _, frame in frames]))
        return {"clip": clip, "label": torch.tensor(self.rows[index].label), "row": index, "errors": []}


class ToyTask:
    name, predictions, warm_up, gradient_norm, seed = "toy", "predictions_toy.json", 2, None, 5

    def __init__(self, config: Any, asked: Asked, middle: int):
        self.settings, self.batches_per_epoch = {"middle": middle}, config.batches_per_epoch
        rows = [
            (folder.name, Video(video=name, label=int(entry["label"] == "FAKE"), path=str(folder / name)))
            for folder in sorted(Path(asked.data_dir).glob("dfdc_train_part_*"))
            for name, entry in sorted(json.loads((folder / "metadata.json").read_text()).items())
        ]
        self.held_out = [row for part, row in rows if part.endswith("_0")]
        self._rows = [row for part, row in rows if not part.endswith("_0")]

    def rows(self, epoch: int) -> list[Video]:
        return [self._rows[i] for i in np.random.default_rng((self.seed, epoch)).permutation(len(self._rows))]

    def check_batches(self, least: int) -> None:
        pass

    def create_network(self, *, replaced: bool = False) -> nn.Module:
        return toy.ToyNetwork()

    def training_data(self, rows: Sequence[Video], epoch: int) -> Dataset:
        return Clips(rows, self.settings["middle"], (self.seed, epoch))

    def validation_data(self, rows: Sequence[Video]) -> Dataset:
        return Clips(rows, self.settings["middle"], None)

    def phase(self, step: int, epoch: int) -> bool:
        return step < self.warm_up

    def enter(self, network: nn.Module, phase: bool) -> None:
        network.train()
        network.conv.requires_grad_(not phase)

    def losses(self, network: nn.Module, batch: dict[str, Any], step: Step) -> Losses:
        noise = torch.from_numpy(step.generator().normal(0, 0.01, len(batch["clip"])).astype(np.float32))
        loss = F.binary_cross_entropy_with_logits(network(toy.inputs(batch["clip"])) + noise, batch["label"].float())
        return Losses(total=loss, parts={"all": loss})

    def p_fake(self, network: nn.Module, batch: dict[str, Any]) -> torch.Tensor:
        return network(toy.inputs(batch["clip"])).sigmoid()

    def pictures(self, batch: dict[str, Any]) -> torch.Tensor:
        return batch["clip"][:, 1].permute(0, 3, 1, 2)

    save = staticmethod(toy.save)
    load_weights = staticmethod(toy.load_weights)


def add_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--middle", type=int, help="frame around which a clip lies")


def create_task(config: Any, asked: Asked, given: Mapping[str, Any]) -> ToyTask:
    return ToyTask(config, asked, **{"middle": 5, **given})
