"""What a system gives to a prediction, and what it is given of the machine."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from runtime.errors import InputError
from runtime.memory import MemoryBudget
from systems.sample import FacesTable, GiveVerdict, HowScored, Models, Sampler, Settings


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where a prediction runs: `engine` is one that was chosen, `workers` threads read and detect, `lanes` may score at
    once, `memory` is for the frames that are read. `batch_size` and `frames_per_batch` are None where the user did not
    say."""

    device: torch.device
    precision: str
    engine: str
    workers: int
    lanes: int
    memory: MemoryBudget
    batch_size: int | None = None
    frames_per_batch: int | None = None


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A system made ready. `detector`: what finds its faces, and on which engine, in words; None where it does not
    say."""

    sampler: Sampler
    models: Models
    detector: str | None = None


class Predictor(Protocol):
    """A system with a user's options for a prediction by it.

    `how` tells a person; `frames_per_video` is how many frames are to be looked at, None where a video's
    own length decides; `follows_faces`: whether a sample's track is a person through time, rather than a face in its
    frame.
    """

    how: HowScored
    frames_per_video: int | None
    follows_faces: bool

    def settings(self) -> Settings:
        """All that scores depend on, besides videos, models and machine."""

    def open(self, checkpoints: Iterable[tuple[str, str]], machine: Machine) -> Opened:
        """Load the checkpoints, (name, path) each, drawn from one by one. Raises CheckpointError, DeviceError."""

    def engines_on(self, device: torch.device) -> Sequence[str]:
        """Those that can run its models there, the fastest first."""

    def default_batch_size(self, device: torch.device) -> int:
        """Samples to a batch where the user did not say."""

    def verdict(self, models: Sequence[str]) -> GiveVerdict:
        """From a video's faces to its score."""

    def faces_table(self, models: Sequence[str]) -> FacesTable:
        """What --faces-csv tells of a face."""


def refuse_others_flags(system: str, own: Sequence[str], given: Mapping[str, Any]) -> None:
    """Raises InputError for a flag, as argparse names it, that is another system's."""
    for name in given:
        if name not in own:
            flags = ", ".join(f"--{each.replace('_', '-')}" for each in own) or "no flag of its own"
            raise InputError(f"--{name.replace('_', '-')}: is not for system {system}, which takes {flags}")
