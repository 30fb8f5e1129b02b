"""What a system gives to export.py: its models as functions of pixels, which other runtimes can compute.

A system whose models can be exported has a module `portable` in its folder: `add_flags(group)` adds the flags of
export.py that are its own to a group of argparse, `OPTIONS` names them, and `open_model(given, name, path)` makes a
`PortableModel` of a checkpoint.
"""

import argparse
import importlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import skimage.data
import torch
from torch import nn

from systems.imagenet import IMAGENET_MEAN, IMAGENET_STD
from systems.registry import SYSTEMS
from systems.system import refuse_others_flags


@dataclass(frozen=True, kw_only=True)
class PortableModel:
    """A model with all that whoever uses it elsewhere must know.

    name: its checkpoint's. checkpoint: the content of that file as it was read; described: what one of ours says of
    itself; state: the weights by the names that its system's files have. module: uint8 RGB pixels of the shape `axes`
    to the probability "fake" and its logit (log odds), both float32 of the shape `output`; `axes` has names in the
    place of free sizes, of which `least` are the smallest. network, sees, says: what it is, its input and its output
    in words.
    """

    name: str
    checkpoint: Mapping[str, Any]
    described: Mapping[str, Any]
    state: Mapping[str, torch.Tensor]
    module: nn.Module
    axes: tuple[str | int, ...]
    least: Mapping[str, int]
    output: tuple[str | int, ...]
    network: str
    sees: str
    says: str

    def pixels(self, seed: int, **sizes: int) -> torch.Tensor:
        """Input to try a model with, uint8 of the shape `axes`, with `sizes` for the free ones, the least without."""
        shape = [{**self.least, **sizes}.get(size, size) for size in self.axes]
        return torch.from_numpy(_pictures(shape, seed))


class ImagenetClassifier(nn.Module):
    """A network of one logit on images normalised by ImageNet's mean and deviation, as a function of their pixels:
    uint8 RGB (..., h, w, 3) to the probability of each and to its logit, both float32 (...)."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        for name, values in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            self.register_buffer(name, torch.tensor(values), persistent=False)

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        images = (pixels.flatten(0, -4).float() / 255 - self.mean) / self.std
        logits = self.network(images.permute(0, 3, 1, 2)).reshape(pixels.shape[:-3])
        return logits.sigmoid(), logits


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of export.py that are one system's, None where they are not given."""
    for system in SYSTEMS:
        _module(system).add_flags(parser.add_argument_group(f"of system {system}"))


def options_of(args: argparse.Namespace) -> dict[str, Any]:
    """Those of them that were given."""
    names = {name for system in SYSTEMS for name in _module(system).OPTIONS}
    return {name: value for name, value in vars(args).items() if name in names and value is not None}


def open_model(system: str, given: Mapping[str, Any], name: str, path: str | os.PathLike) -> PortableModel:
    """The model of a checkpoint in eval mode, fp32, on the CPU; `given` are `options_of` the command line. Raises
    InputError for a flag that is another system's, CheckpointError."""
    module = _module(system)
    refuse_others_flags(system, module.OPTIONS, given)
    return module.open_model(given, name, path)


def _module(system: str) -> ModuleType:
    return importlib.import_module(f"{SYSTEMS[system]}.portable")


def _pictures(shape: list[int], seed: int) -> np.ndarray:
    """Parts of a photograph of a face, other ones in each picture: of noise a network may say anything."""
    draw = np.random.default_rng(seed)
    photograph = skimage.data.astronaut()
    *leading, height, width, _ = shape
    pictures = np.empty(shape, np.uint8)
    for place in np.ndindex(*leading):
        side = draw.integers(140, 220)
        top, left = draw.integers(0, 40), draw.integers(100, 160)
        part = photograph[top : top + side, left : left + side] * draw.uniform(0.4, 1)
        pictures[place] = cv2.resize(part, (width, height))
    return pictures
