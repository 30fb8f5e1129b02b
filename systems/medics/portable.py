"""The Medics' eight models as functions of pixels, as `systems.portable` says."""

import argparse
import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from systems.checkpoints import read_checkpoint, state_dict_of
from systems.medics.clips import SIZE
from systems.medics.models import FAKE, REAL, FaceModel, description, load_model, p_fake_of_clips
from systems.medics.system import model_of
from systems.portable import PortableModel

OPTIONS = ()


def add_flags(group: argparse._ArgumentGroup) -> None:
    """As `systems.portable` says: there are none."""


class ClipToFake(nn.Module):
    """A 3D model: uint8 RGB (n, t, 256, 256, 3) to the probability of each clip and its logit, both float32 (n,)."""

    def __init__(self, model: FaceModel):
        super().__init__()
        self.model = model

    def forward(self, clips: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = self.model.logits(clips)
        return p_fake_of_clips(logits), logits[:, FAKE] - logits[:, REAL]


class FramesToFake(ClipToFake):
    """The 2D model: uint8 RGB (n, t, 256, 256, 3) to the lower median of each face's frames: the probability and its
    logit, both float32 (n,)."""

    def forward(self, clips: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        ascending = self.model.logits(clips).sort(dim=1).values  # ONNX has no median
        middle = ascending[:, (clips.shape[1] - 1) // 2]
        return middle.sigmoid(), middle


def open_model(given: Mapping[str, Any], name: str, path: str | os.PathLike) -> PortableModel:
    """As `systems.portable` says."""
    model = load_model(model_of(name, path), path)
    spec, content = model.spec, read_checkpoint(path)
    if spec.is_3d:
        module = ClipToFake(model)
        box, mirrored = "a box that stands still", "The system takes the mean of a clip and its mirror image."
        says = "The probability that each face is fake."
    else:
        module = FramesToFake(model)
        box, mirrored = "squares that follow it", "The system mirrors the first, third, ... of the frames before."
        says = "The probability that each face is fake: of those of its frames the median, of two the lower one."
    return PortableModel(
        name=name,
        checkpoint=content,
        described=description(spec),
        state=state_dict_of(path, content),
        module=module.eval(),
        axes=("n", "t", SIZE, SIZE, 3),
        least={"n": 1, "t": spec.least_frames},
        output=("n",),
        network=f"{spec.network}, the model {spec.name}",
        sees=f"A face each in t frames, {SIZE} x {SIZE} pixels, cut out by {box} (medics/sampling.py). {mirrored}",
        says=says,
    )
