"""NtechLab's classifiers as functions of pixels, as `systems.portable` says."""

import argparse
import os
from collections.abc import Mapping
from typing import Any

from systems.checkpoints import read_checkpoint, state_dict_of
from systems.ntechlab.checkpoints import description, load_classifier
from systems.ntechlab.models import HEIGHT, ROLES, SEQUENCE, WIDTH
from systems.portable import ImagenetClassifier, PortableModel

OPTIONS = ("role",)


def add_flags(group: argparse._ArgumentGroup) -> None:
    """As `systems.portable` says."""
    group.add_argument(
        "--role",
        choices=ROLES,
        help="of --models, where neither the file nor its folder's name tells it",
    )


def open_model(given: Mapping[str, Any], name: str, path: str | os.PathLike) -> PortableModel:
    """As `systems.portable` says."""
    loaded = load_classifier(path, given.get("role"))
    content = read_checkpoint(path)
    clip, each = ((SEQUENCE,), "frame") if loaded.role == "seq" else ((), "image")
    return PortableModel(
        name=name,
        checkpoint=content,
        described=description(role=loaded.role, encoder=loaded.encoder),
        state=state_dict_of(path, content),
        module=ImagenetClassifier(loaded.network).eval(),
        axes=("n", *clip, HEIGHT, WIDTH, 3),
        least={"n": 1},
        output=("n", *clip),
        network=f"{'sequence' if clip else 'frame'} model {loaded.role} on {loaded.encoder}",
        sees=(f"{SEQUENCE} neighbouring frames of a face each" if clip else "A face each")
        + f", {HEIGHT} x {WIDTH} pixels, cut out as systems/ntechlab/face_images.py does for {loaded.role}.",
        says=f"The probability that the face is fake, for each {each}.",
    )
