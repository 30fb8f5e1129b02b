"""The winner's training: crops of faces with parts taken out, as many fakes as reals, half of the loss from each."""

import argparse
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field, ValidationInfo, field_validator
from torch import nn
from torch.utils.data import Dataset

from runtime.command import whole
from runtime.errors import InputError
from systems.config import Strict, Switch, number, one_of, whole_number
from systems.imagenet import IMAGENET_MEAN, IMAGENET_STD
from systems.seferbekov import checkpoints
from systems.seferbekov.dataset import ClassifierDataset
from systems.seferbekov.folds import Row, check_apart, read_folds, training_rows, validation_rows
from systems.seferbekov.loss import LOSSES, split_loss
from systems.seferbekov.models import ENCODERS, NETWORKS
from systems.task import Asked, Losses, Step

_SEED = 777
_SHOWN_SAMPLES = 16
_STRIDE = 32  # of the encoders' last feature map
_SWITCH = {"action": "store_true", "default": None}  # None where it is not given
_Weight = Annotated[int | float, Field(gt=0, lt=1e6)]


class NormalizeConfig(Strict):
    """Of the input, in RGB. Prediction uses ImageNet's, so these are the ones that are allowed."""

    mean: list = Field(default=list(IMAGENET_MEAN), description=f"{list(IMAGENET_MEAN)}")
    std: list = Field(default=list(IMAGENET_STD), description=f"{list(IMAGENET_STD)}")

    @field_validator("mean", "std")
    @classmethod
    def _is_imagenets(cls, value: list, info: ValidationInfo) -> list:
        if value != cls.model_fields[info.field_name].default:
            raise ValueError
        return value


class Keys(Strict):
    """One training. `size` is the side of the square input in pixels, `batches_per_epoch` an epoch's longest length.

    `pretrained` loads ImageNet weights. `ohem_samples` keeps that many of the hardest samples of each class in a batch.
    `diff_dropout` is the probability of the write-up's blackout by the diff mask, which the published pipeline never
    ran.
    """

    network: one_of(NETWORKS) = "DeepFakeClassifier"
    encoder: one_of(ENCODERS)
    pretrained: Switch = True
    size: int = whole_number(32, 4096)
    batches_per_epoch: int = whole_number(1)
    normalize: NormalizeConfig = Field(default_factory=NormalizeConfig)
    losses: dict[one_of(LOSSES), _Weight] = Field(
        default={"BinaryCrossentropy": 1},
        min_length=1,
        description=f'an object of weights above 0, such as {{"BinaryCrossentropy": 1}}; losses: {", ".join(LOSSES)}',
    )
    ohem_samples: int | None = whole_number(1, default=None)
    diff_dropout: float = number(0, 1, default=0.0)


@dataclass(frozen=True, kw_only=True)
class Options:
    """The trainer's flags that are the winner's own."""

    folds_csv: str = "folds.csv"
    crops_dir: str = "crops"
    fold: int = 0
    label_smoothing: float = 0.01
    padding_part: int = 3
    freeze_epochs: int = 0
    no_oversample: bool = False
    no_hardcore: bool = False
    only_changed_frames: bool = False


OPTIONS = tuple(Options.__dataclass_fields__)


def add_flags(group: argparse._ArgumentGroup) -> None:
    """As `systems.registry` says."""
    arg, count = group.add_argument, whole(0)
    arg("--folds-csv", metavar="FILE", help="from generate_folds.py (default: folds.csv)")
    arg("--crops-dir", metavar="NAME", help="folder of crops in the data root (default: crops)")
    arg("--fold", type=count, metavar="N", help="the one that is held out (default: 0)")
    arg("--label-smoothing", type=_smoothing, metavar="X", help="labels are X and 1 - X (default: 0.01)")
    arg("--padding-part", type=count, metavar="N", help="above 3: trim the crops' margin (default: 3)")
    arg("--freeze-epochs", type=count, metavar="N", help="epochs with a frozen encoder (default: 0)")
    arg("--no-oversample", **_SWITCH, help="take all fakes, not as many as there are reals")
    arg("--no-hardcore", **_SWITCH, help="no dropout of eyes, mouth, nose, halves of the face")
    arg("--only-changed-frames", **_SWITCH, help="leave out fakes that hardly differ from their original")


def _smoothing(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if 0 <= value < 0.5:
        return value
    raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to below 0.5")


class SeferbekovTask:
    """As `systems.task.Task`. Raises InputError where the table of folds can't be used."""

    warm_up = 0
    gradient_norm = 1.0

    def __init__(self, config: Any, asked: Asked, options: Options):
        self._config, self._asked, self._options = config, asked, options
        self.seed = _SEED if asked.seed is None else asked.seed
        self.name = f"{config.network}_{config.encoder}_{options.fold}"
        self.predictions = f"predictions_{options.fold}.json"
        self.batches_per_epoch = config.batches_per_epoch
        self._table = read_folds(options.folds_csv)
        check_apart(options.folds_csv, self._table)
        self.held_out = validation_rows(self._table, fold=options.fold)
        self._check_classes(self.held_out, f"held-out fold {options.fold} (frames that 20 divides)")
        self._check_classes(self.rows(0), "other folds")
        shape = (1, 3, 1, 1)
        self._mean = 255 * torch.tensor(config.normalize.mean).reshape(shape)
        self._std = 255 * torch.tensor(config.normalize.std).reshape(shape)

    @property
    def settings(self) -> dict[str, Any]:
        names = ("fold", "label_smoothing", "padding_part", "freeze_epochs")
        switches = ("no_oversample", "no_hardcore", "only_changed_frames")
        return {name: getattr(self._options, name) for name in names + switches}

    def rows(self, epoch: int) -> list[Row]:
        oversample = not self._options.no_oversample
        return training_rows(self._table, fold=self._options.fold, epoch=epoch, seed=self.seed, oversample=oversample)

    def _check_classes(self, rows: Sequence[Row], what: str) -> None:
        labels = {row.label for row in rows}
        if len(labels) < 2:
            there = "fakes" if labels == {1} else "real videos"
            raise InputError(
                f"{self._options.folds_csv}: the {what} has only {there}; deal the folds out again, or use another"
            )

    def check_batches(self, least: int) -> None:
        """A batch whose last feature map has one number a channel gives a batch norm no variance."""
        config = self._config
        side = math.ceil(config.size / _STRIDE)
        if least * side * side < 2:
            raise InputError(
                f"{self._asked.config_file}: optimizer.batch_size {config.optimizer.batch_size}, size {config.size}: "
                f"of the {len(self.rows(0))} rows of an epoch a batch has one, which is too little for batch norms at "
                "this size; raise optimizer.batch_size by one, or size"
            )

    def create_network(self, *, replaced: bool = False) -> nn.Module:
        pretrained = self._config.pretrained and not replaced
        model = NETWORKS[self._config.network](self._config.encoder, pretrained=pretrained)
        model.encoder.classifier.requires_grad_(False)  # timm's own, which is never called: DDP would wait for it
        return model.to(memory_format=torch.channels_last)

    def training_data(self, rows: Sequence[Row], epoch: int) -> Dataset:
        options = self._options
        return self._data(
            rows,
            training=True,
            seed=self.seed,
            epoch=epoch,
            label_smoothing=options.label_smoothing,
            hardcore=not options.no_hardcore,
            diff_dropout=self._config.diff_dropout,
            only_changed=options.only_changed_frames,
        )

    def validation_data(self, rows: Sequence[Row]) -> Dataset:
        return self._data(rows, training=False, hardcore=False)

    def _data(self, rows: Sequence[Row], **kwargs: Any) -> Dataset:
        options = self._options
        return ClassifierDataset(
            rows,
            data_dir=self._asked.data_dir,
            crops_dir=options.crops_dir,
            size=self._config.size,
            padding_part=options.padding_part,
            **kwargs,
        )

    def phase(self, step: int, epoch: int) -> bool:
        """Whether the encoder is frozen."""
        return epoch < self._options.freeze_epochs

    def enter(self, network: nn.Module, phase: bool) -> None:
        network.train()
        for name, parameter in network.encoder.named_parameters():
            parameter.requires_grad_(not phase and not name.startswith("classifier."))
        if phase:
            network.encoder.eval()

    def losses(self, network: Callable, batch: dict[str, Any], step: Step) -> Losses:
        loss = split_loss(
            network(self._inputs(batch["image"])),
            batch["label"],
            weights=self._config.losses,
            keep=batch["valid"] if self._options.only_changed_frames else None,
            ohem_samples=self._config.ohem_samples,
            sum_over_ranks=step.sum_over_ranks,
            world_size=step.world_size,
        )
        return Losses(total=loss.total, parts={"fake": loss.fake, "real": loss.real})

    def p_fake(self, network: nn.Module, batch: dict[str, Any]) -> torch.Tensor:
        return network(self._inputs(batch["image"])).float().sigmoid().flatten()

    def _inputs(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 RGB (n, 3, size, size) to normalised fp32, channels last."""
        self._mean, self._std = (each.to(images.device, non_blocking=True) for each in (self._mean, self._std))
        return (images.contiguous(memory_format=torch.channels_last).float() - self._mean) / self._std

    def pictures(self, batch: dict[str, Any]) -> torch.Tensor:
        return batch["image"][:_SHOWN_SAMPLES]

    def save(self, path: str | os.PathLike, network: nn.Module, **extra: Any) -> None:
        config = self._config
        checkpoints.save_model(
            path, network, network=config.network, encoder=config.encoder, input_size=config.size, **extra
        )

    def load_weights(self, path: str | os.PathLike, checkpoint: dict, network: nn.Module) -> None:
        checkpoints.load_weights(path, checkpoint, network, network=self._config.network, encoder=self._config.encoder)


def create_task(config: Any, asked: Asked, given: Mapping[str, Any]) -> SeferbekovTask:
    """A task with the flags that were given."""
    return SeferbekovTask(config, asked, Options(**given))
