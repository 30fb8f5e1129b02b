"""The winner's classifiers as functions of pixels, as `systems.portable` says."""

import argparse
import os
from collections.abc import Mapping
from typing import Any

from runtime.command import positive
from systems.checkpoints import read_checkpoint, state_dict_of
from systems.portable import ImagenetClassifier, PortableModel
from systems.seferbekov.checkpoints import description, load_model
from systems.seferbekov.models import ENCODERS

OPTIONS = ("encoder", "size")


def add_flags(group: argparse._ArgumentGroup) -> None:
    """As `systems.portable` says."""
    arg = group.add_argument
    arg("--encoder", choices=ENCODERS, metavar="NAME", help="for checkpoints that don't name theirs")
    arg("--size", type=positive, metavar="N", help="input side in pixels for checkpoints that don't name theirs")


def open_model(given: Mapping[str, Any], name: str, path: str | os.PathLike) -> PortableModel:
    """As `systems.portable` says."""
    loaded = load_model(path, encoder=given.get("encoder"), input_size=given.get("size"))
    content = read_checkpoint(path)
    network, encoder, size = type(loaded.module).__name__, loaded.encoder, loaded.input_size
    return PortableModel(
        name=name,
        checkpoint=content,
        described=description(network=network, encoder=encoder, input_size=size),
        state=state_dict_of(path, content),
        module=ImagenetClassifier(loaded.module).eval(),
        axes=("n", size, size, 3),
        least={"n": 1},
        output=("n",),
        network=f"{network} on {encoder}",
        sees=f"A face each, with a margin of a third of its box on every side, scaled to fit {size} x {size} pixels, "
        "in the middle, black around it (faces/crop.py, faces/fit.py).",
        says="The probability that each face is fake.",
    )
