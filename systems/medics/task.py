"""The Medics' training: clips of faces for 3D networks, single frames for the 2D one, as many fakes as reals."""

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from runtime.errors import InputError
from systems.config import Strict, Switch, one_of, whole_number
from systems.held_out_parts import HeldOutParts, is_held_out
from systems.medics.augmentation import draw_permutation, permute_channels
from systems.medics.buckets import RealFakeBuckets, epoch_of_frames, generator_of
from systems.medics.clip_lists import Clip, read_clips, read_mini_videos
from systems.medics.cutmix import (
    Mix,
    draw_cutmix,
    draw_mixup,
    mix_batch,
    mixed_binary_cross_entropy,
    mixed_cross_entropy,
)
from systems.medics.dataset import ClipDataset, training_clip, training_frame, validation_clip, validation_frames
from systems.medics.models import (
    FAKE,
    MODELS,
    OURS,
    REAL,
    FaceModel,
    load_weights,
    model_spec,
    p_fake_of_clips,
    p_fake_of_frames,
    save_checkpoint,
)
from systems.medics.starting_weights import FOLDER, starting_model
from systems.passes import of_passes
from systems.task import Asked, Losses, Step

OPTIONS = ("init", "starting_weights")
_SHOWN_SAMPLES = 16
_EPOCHS_2D = 5  # published "epochs", each of as many samples as there are reals, from one validation to the next
_HELD_OUT_SEED = 88  # as published, of the fakes that a validation looks at
_FRAMES_AT_ONCE = 32  # of a validation of the 2D model


class Keys(Strict):
    """One training. `model` tells the network, the frames of a clip and their size.

    A batch goes through CutMix with `cutmix`, through mixup with `mixup`, through one of the two by chance with both.
    Without `shortcut_gradient` none flows through three shortcuts of the 3D ResNet-34, as published.
    """

    model: one_of((*MODELS, *OURS))
    pretrained: Switch = True
    seed: int = whole_number(1, 2**32 // 10_000)
    cutmix: Switch = False
    mixup: Switch = False
    shortcut_gradient: Switch = True
    held_out_parts: HeldOutParts


def add_flags(group: argparse._ArgumentGroup) -> None:
    """As `systems.registry` says."""
    group.add_argument(
        "--init", metavar="FILE", help="checkpoint of the same network to start from, last layer and all"
    )
    group.add_argument(
        "--starting-weights", metavar="DIR", help=f"folder with the files that networks start from (default: {FOLDER})"
    )


class MedicsTask:
    """As `systems.task.Task`. Raises InputError where the clips can't be used."""

    warm_up, gradient_norm = 0, None

    def __init__(self, config: Any, asked: Asked, *, init: str | None = None, starting_weights: str | None = None):
        self._config, self._asked = config, asked
        self._init, self._starting_weights = init, starting_weights or FOLDER
        self._spec = model_spec(config.model)
        self.name = f"medics_{config.model}"
        self.predictions = f"predictions_{self.name}.json"
        self.seed = config.seed if asked.seed is None else asked.seed
        self.settings: Mapping[str, Any] = {}
        clips = read_clips(asked.data_dir) if self._spec.is_3d else read_mini_videos(asked.data_dir)
        held_out = [clip for clip in clips if is_held_out(clip.part, config.held_out_parts)]
        others = [clip for clip in clips if not is_held_out(clip.part, config.held_out_parts)]
        parts = f"held_out_parts {config.held_out_parts}"
        what, remedy = f"other parts than {parts} of {asked.config_file}", "prepare more videos, or hold out others"
        self._by_class = self._classes(others, what, remedy)
        self.held_out = self._balanced(held_out) if held_out else []
        if config.held_out_parts and not held_out:
            raise InputError(
                f"{asked.config_file}: held_out_parts {config.held_out_parts}: of none there is a clip in "
                f"{asked.data_dir}; name other parts, or none: []"
            )
        self._buckets = RealFakeBuckets(reals=len(self._by_class[REAL]), fakes=len(self._by_class[FAKE]))
        self._batch = config.optimizer.batch_size * asked.world_size
        self.batches_per_epoch = self._count_batches()
        self._model: FaceModel | None = None

    def _classes(self, clips: Sequence[Clip], what: str, remedy: str) -> dict[int, list[Clip]]:
        by_class = {FAKE: [clip for clip in clips if clip.label], REAL: [clip for clip in clips if not clip.label]}
        if not all(by_class.values()):
            lacking = "fakes" if by_class[REAL] else "real clips"
            raise InputError(f"{self._asked.data_dir}: {what} have no {lacking}; {remedy}")
        return by_class

    def _balanced(self, clips: Sequence[Clip]) -> list[Clip]:
        """All reals, and as many fakes, the same in each validation."""
        by_class = self._classes(clips, f"held_out_parts {self._config.held_out_parts}", "hold out others")
        buckets = RealFakeBuckets(reals=len(by_class[REAL]), fakes=len(by_class[FAKE]))
        draws = (buckets.sample(index, generator_of(_HELD_OUT_SEED, 0, index)) for index in range(len(buckets)))
        return list(dict.fromkeys(by_class[label][number] for label, number in draws))

    def _count_batches(self) -> int:
        if self._spec.is_3d:
            return -(-len(self._buckets) // self._batch)  # the last one may be smaller
        whole = _EPOCHS_2D * (self._buckets.reals // self._batch)
        if not whole:
            raise InputError(
                f"{self._asked.data_dir}: {self._buckets.reals} real mini videos to train on are fewer than a batch of "
                f"{self._batch}; lower optimizer.batch_size in {self._asked.config_file}, or prepare more videos"
            )
        return whole

    def rows(self, epoch: int) -> list[Clip]:
        if self._spec.is_3d:
            draws = [
                self._buckets.sample(index, generator_of(self.seed, epoch, index))
                for index in range(len(self._buckets))
            ]
            order = np.random.default_rng((self.seed, epoch)).permutation(len(draws))
            return [self._clip(*draws[index]) for index in order]

        def one_pass(number: int) -> list[Clip]:
            draw = np.random.default_rng((self.seed, number))
            return [self._clip(*each) for each in epoch_of_frames(self._buckets.reals, self._buckets.fakes, draw)]

        length = (self._buckets.reals + self._buckets.reals // 2) // self._batch * self._batch
        count = self.batches_per_epoch * self._batch
        return of_passes(one_pass, length, epoch * count, count)

    def _clip(self, label: int, number: int) -> Clip:
        return self._by_class[label][number]

    def check_batches(self, least: int) -> None:
        """Feature maps of a clip, and of a frame of 256 pixels, have enough numbers for any batch norm."""

    def create_network(self, *, replaced: bool = False) -> FaceModel:
        config = self._config
        self._model = starting_model(
            config.model,
            seed=self.seed,
            pretrained=config.pretrained and not replaced,
            init=None if replaced else self._init,
            folder=self._starting_weights,
            shortcut_gradient=config.shortcut_gradient,
        )
        return self._model

    def training_data(self, rows: Sequence[Clip], epoch: int) -> Dataset:
        make = training_clip if self._spec.is_3d else training_frame
        return self._data(rows, make=make, seed=self.seed, epoch=epoch)

    def validation_data(self, rows: Sequence[Clip]) -> Dataset:
        return self._data(rows, make=validation_clip if self._spec.is_3d else validation_frames)

    def _data(self, rows: Sequence[Clip], **kwargs: Any) -> Dataset:
        return ClipDataset(rows, root=self._asked.data_dir, spec=self._spec, **kwargs)

    def phase(self, step: int, epoch: int) -> None:
        """All is trained from the first step on."""

    def enter(self, network: nn.Module, phase: None) -> None:
        network.train()

    def losses(self, network: Callable, batch: dict[str, Any], step: Step) -> Losses:
        x, is_fake, draw = self._model.normalise(batch["clip"]), batch["is_fake"], step.generator()
        if not self._spec.is_3d:
            x = permute_channels(x, np.stack([draw_permutation(draw) for _ in range(len(x))]))
        mix = self._draw_mix(x, draw)
        logits = network(x if mix is None else mix_batch(x, mix)).float()
        if self._spec.is_3d:
            labels = torch.where(is_fake, FAKE, REAL)
            loss = F.cross_entropy(logits, labels) if mix is None else mixed_cross_entropy(logits, labels, mix)
        else:
            labels = is_fake.float()
            loss = (
                F.binary_cross_entropy_with_logits(logits, labels)
                if mix is None
                else mixed_binary_cross_entropy(logits, labels, mix)
            )
        return Losses(total=loss, parts={})

    def _draw_mix(self, x: torch.Tensor, draw: np.random.Generator) -> Mix | None:
        config = self._config
        if config.mixup and (not config.cutmix or draw.random() < 0.5):
            return draw_mixup(len(x), draw)
        return draw_cutmix(len(x), x.shape[2:], draw) if config.cutmix else None

    def p_fake(self, network: FaceModel, batch: dict[str, Any]) -> torch.Tensor:
        clips = batch["clip"]
        if self._spec.is_3d:
            return p_fake_of_clips(network(network.normalise(clips)))
        frames = network.normalise(clips).split(_FRAMES_AT_ONCE)
        return p_fake_of_frames(torch.cat([network(some) for some in frames]).view(clips.shape[:2]))

    def pictures(self, batch: dict[str, Any]) -> torch.Tensor:
        """The middle frame of each clip."""
        clips = batch["clip"]
        return clips[:_SHOWN_SAMPLES, clips.shape[1] // 2].permute(0, 3, 1, 2)

    def save(self, path: str | os.PathLike, network: FaceModel, **extra: Any) -> None:
        save_checkpoint(path, network, **extra)

    def load_weights(self, path: str | os.PathLike, checkpoint: dict, network: FaceModel) -> None:
        load_weights(path, checkpoint, network)


def create_task(config: Any, asked: Asked, given: Mapping[str, Any]) -> MedicsTask:
    """A task with the flags that were given."""
    return MedicsTask(config, asked, **given)
