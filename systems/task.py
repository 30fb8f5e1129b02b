"""What a system gives to a training, and what it is given of the run.

A system that can be trained has a module `task` in its folder: `Keys`, a `systems.config.Strict` of the keys of its
configurations that are its own; `add_flags(group)` and `OPTIONS`, its own flags of the trainer, as `systems.registry`
says of predictions; and `create_task(config, asked, given)`, which makes a `Task`.
"""

import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the user asked of a training besides its configuration: `config_file` is for messages, `seed` None where the
    system's own counts."""

    config_file: str
    data_dir: str
    seed: int | None
    world_size: int


class HeldOutRow(Protocol):
    """A sample of the validation; the score of `video` is the mean of its samples'. `label` 1 is fake."""

    video: str
    label: int


@dataclass(frozen=True, kw_only=True)
class Losses:
    """Scalars: `total`, of which the gradient is taken, and what it is made of, for the curves."""

    total: torch.Tensor
    parts: Mapping[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a run, counted from 0, as one of its processes sees it. `sum_over_ranks` adds up a tensor over all of
    them, without gradients."""

    number: int
    seed: int
    rank: int
    world_size: int
    sum_over_ranks: Callable[[torch.Tensor], torch.Tensor]

    def generator(self) -> np.random.Generator:
        """What is drawn for the batch of this process."""
        return np.random.default_rng((self.seed, self.number, self.rank))


class Task(Protocol):
    """One training of a system.

    `name` is that of its checkpoints between the prefix and what comes after an epoch; `predictions` the name of the
    file of validated probabilities. `seed` is the one that counts, `settings` what must be the same when a run goes on
    (besides the configuration). `batches_per_epoch` is the longest length of an epoch. In the first `warm_up` steps
    rates are those of the schedule's beginning, which starts after them, and so does the optimizer, anew.
    `gradient_norm` is the largest, None for no limit. `held_out` are the rows of the validation: none where there is
    none.
    """

    name: str
    predictions: str
    seed: int
    settings: Mapping[str, Any]
    batches_per_epoch: int
    warm_up: int
    gradient_norm: float | None
    held_out: Sequence[HeldOutRow]

    def rows(self, epoch: int) -> Sequence[Any]:
        """The samples of an epoch, in its order, shared by all processes."""

    def check_batches(self, least: int) -> None:
        """Raises InputError where the smallest batch of an epoch, over all processes, has too few samples."""

    def create_network(self, *, replaced: bool = False) -> nn.Module:
        """To be trained, on the CPU, with weights from PyTorch's generator, which has been seeded, or with pretrained
        ones, but where all will be `replaced` by a checkpoint's. Raises PretrainedWeightsError."""

    def training_data(self, rows: Sequence[Any], epoch: int) -> Dataset:
        """Of what `rows` gave: dicts that `systems.sample_loading.collate` makes batches of. A sample's draws come from
        (seed, epoch, index)."""

    def validation_data(self, rows: Sequence[HeldOutRow]) -> Dataset:
        """Of some of `held_out`."""

    def phase(self, step: int, epoch: int) -> Hashable:
        """What a step trains: where that changes, `enter` is called."""

    def enter(self, network: nn.Module, phase: Hashable) -> None:
        """Put the network into training mode, and freeze what a phase does not train."""

    def losses(self, network: Callable, batch: dict[str, Any], step: Step) -> Losses:
        """Of a batch whose tensors are on the device. Runs under autocast. `network` is what `create_network` made, or
        DDP's wrapper of it."""

    def p_fake(self, network: nn.Module, batch: dict[str, Any]) -> torch.Tensor:
        """Probabilities (n,) of a validation's samples, float32. Runs under autocast, without gradients."""

    def pictures(self, batch: dict[str, Any]) -> torch.Tensor:
        """Some of a batch's samples as a person can look at them, uint8 RGB (n, 3, h, w)."""

    def save(self, path: str | os.PathLike, network: nn.Module, **extra: Any) -> None:
        """Write a checkpoint that says what it needs to be used: "system", "network", "input" (t, h, w) and
        "normalize" among its keys, and `extra`. Raises OutputError."""

    def load_weights(self, path: str | os.PathLike, checkpoint: dict, network: nn.Module) -> None:
        """Copy the weights of a file that was read into a network of `create_network`. Raises CheckpointError where it
        is of another kind."""
