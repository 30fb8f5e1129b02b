"""NtechLab's training: aligned tracks of an original and its fake, blended, compressed and augmented alike."""

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import nn
from torch.utils.data import Dataset

from faces.containers import video_id
from runtime.errors import InputError
from systems.config import Strict, Switch, number, one_of, whole_number
from systems.held_out_parts import HeldOutParts, is_held_out
from systems.ntechlab import checkpoints
from systems.ntechlab.compression import PIX_FMT, PIX_FMTS
from systems.ntechlab.dataset import SAMPLED_FRAMES, HeldOutTrack, TrackDataset, TrackPairDataset
from systems.ntechlab.mixup import draw_shares, mix_clips, mix_frames, mixup_loss
from systems.ntechlab.models import BN_MOMENTUM, ENCODERS, PUBLISHED_ENCODER, ROLES, create_network
from systems.ntechlab.published_files import read_track_pairs
from systems.ntechlab.track_crops import PAIRS_FILE, TRACKS_FOLDER
from systems.passes import of_passes
from systems.task import Asked, Losses, Step

OPTIONS = ()
_SHOWN_SAMPLES = 16


class Keys(Strict):
    """One training. `role` is which of the three models is trained, `optimizer.batch_size` counts pairs of tracks.

    `batches_per_epoch` is how many batches lie between two checkpoints; passes over all pairs follow one another.
    In the first `warm_up` batches the classifier alone learns. `pix_fmt` is of compressed frames: published is 4:4:4,
    videos that are shared have 4:2:0. The published run held out no parts.
    """

    role: one_of(ROLES)
    encoder: one_of(ENCODERS) = PUBLISHED_ENCODER
    pretrained: Switch = True
    seed: int = whole_number(1, 2**32 // 10_000)
    batches_per_epoch: int = whole_number(1, 10**6)  # an epoch's pairs are listed before it begins
    warm_up: int = whole_number(0, default=100)
    bn_momentum: float = number(0, 1, above=True, default=BN_MOMENTUM)
    pix_fmt: one_of(PIX_FMTS) = PIX_FMT
    held_out_parts: HeldOutParts = Field(default_factory=list)


def add_flags(group: argparse._ArgumentGroup) -> None:
    """It has none of its own."""


class NtechlabTask:
    """As `systems.task.Task`. Raises InputError where the pairs can't be used."""

    gradient_norm = None
    settings: Mapping[str, Any] = {}

    def __init__(self, config: Any, asked: Asked):
        self._config, self._asked = config, asked
        self.name = f"ntechlab_{config.role}_{config.encoder}"
        self.predictions = f"predictions_{self.name}.json"
        self.seed = config.seed if asked.seed is None else asked.seed
        self.batches_per_epoch, self.warm_up = config.batches_per_epoch, config.warm_up
        self._root = os.path.join(asked.data_dir, TRACKS_FOLDER)
        pairs = read_track_pairs(os.path.join(asked.data_dir, PAIRS_FILE))
        held_out = [pair for pair in pairs if is_held_out(_part(pair[0]), config.held_out_parts)]
        self._pairs = [pair for pair in pairs if not is_held_out(_part(pair[0]), config.held_out_parts)]
        self.held_out = _tracks(held_out)
        batch = config.optimizer.batch_size * asked.world_size
        self._rows_per_epoch, self._rows_per_pass = batch * config.batches_per_epoch, len(self._pairs) // batch * batch
        if not self._rows_per_pass:
            raise InputError(
                f"{asked.data_dir}: {len(self._pairs)} pairs of tracks to train on are fewer than a batch of {batch}; "
                f"lower optimizer.batch_size in {asked.config_file}, or prepare more videos"
            )
        if config.held_out_parts and not held_out:
            raise InputError(
                f"{asked.config_file}: held_out_parts {config.held_out_parts}: of none there is a pair in "
                f"{asked.data_dir}; name other parts, or none"
            )

    def rows(self, epoch: int) -> list[tuple[str, str]]:
        """Pairs; what is left of a pass after its last whole batch is dropped, as published."""

        def one_pass(number: int) -> list[tuple[str, str]]:
            order = np.random.default_rng((self.seed, number)).permutation(len(self._pairs))
            return [self._pairs[index] for index in order]

        return of_passes(one_pass, self._rows_per_pass, epoch * self._rows_per_epoch, self._rows_per_epoch)

    def check_batches(self, least: int) -> None:
        """A pair is many images: any batch will do."""

    def create_network(self, *, replaced: bool = False) -> nn.Module:
        config = self._config
        pretrained = config.pretrained and not replaced
        network = create_network(config.role, config.encoder, pretrained, config.bn_momentum)
        return network if self._config.role == "seq" else network.to(memory_format=torch.channels_last)

    def training_data(self, rows: Sequence[tuple[str, str]], epoch: int) -> Dataset:
        return TrackPairDataset(
            rows,
            root=self._root,
            role=self._config.role,
            seed=self.seed,
            epoch=epoch,
            pix_fmt=self._config.pix_fmt,
        )

    def validation_data(self, rows: Sequence[HeldOutTrack]) -> Dataset:
        return TrackDataset(rows, root=self._root, role=self._config.role)

    def phase(self, step: int, epoch: int) -> bool:
        """Whether it is the warm-up."""
        return step < self.warm_up

    def enter(self, network: nn.Module, phase: bool) -> None:
        """In the warm-up there is no dropout, and batch norms are fixed."""
        network.train(not phase)
        network.requires_grad_(not phase)
        network.classifier.requires_grad_(True)

    def losses(self, network: Callable, batch: dict[str, Any], step: Step) -> Losses:
        real, fake = batch["real"], batch["fake"]
        pairs, frames = real.shape[:2]
        mix, count = (mix_clips, pairs) if self._config.role == "seq" else (mix_frames, pairs * frames)
        images, targets = mix(real, fake, draw_shares(count, step.generator()).to(real.device, non_blocking=True))
        return Losses(total=mixup_loss(network(images), targets), parts={})

    def p_fake(self, network: nn.Module, batch: dict[str, Any]) -> torch.Tensor:
        images = batch["images"]
        return network(images.flatten(0, 1)).float().sigmoid().view(images.shape[:2]).mean(1)

    def pictures(self, batch: dict[str, Any]) -> torch.Tensor:
        """The middle frame of originals and their fakes, one after the other."""
        middle = len(SAMPLED_FRAMES[self._config.role]) // 2
        both = torch.stack([batch["real"][:, middle], batch["fake"][:, middle]], 1).flatten(0, 1)[:_SHOWN_SAMPLES]
        low, high = both.amin(), both.amax()
        return ((both - low) / (high - low).clamp(min=1e-6) * 255).to(torch.uint8)

    def save(self, path: str | os.PathLike, network: nn.Module, **extra: Any) -> None:
        checkpoints.save_classifier(path, network, role=self._config.role, encoder=self._config.encoder, **extra)

    def load_weights(self, path: str | os.PathLike, checkpoint: dict, network: nn.Module) -> None:
        checkpoints.load_weights(path, checkpoint, network, role=self._config.role, encoder=self._config.encoder)


def create_task(config: Any, asked: Asked, given: Mapping[str, Any]) -> NtechlabTask:
    """It takes no flags of its own."""
    return NtechlabTask(config, asked)


def _part(folder: str) -> str:
    return folder.split("/")[0]


def _tracks(pairs: Sequence[tuple[str, str]]) -> list[HeldOutTrack]:
    """Each folder once, originals among them that several fakes share."""
    tracks = {}
    for pair in pairs:
        for label, folder in enumerate(pair):
            video = video_id(Path(folder).name.rsplit("_", 3)[0])  # of <part>/<video>.mp4_S_X_Y
            tracks[folder] = HeldOutTrack(video=video, label=label, folder=folder)
    return list(tracks.values())
