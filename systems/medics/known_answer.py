"""A small network whose weights are the same on every machine, for doctor.py."""

import json
from pathlib import Path
from typing import Any

from systems.fixed_weights import fix_weights
from systems.medics.clips import SIZE
from systems.medics.models import OURS, create_model, save_checkpoint

_NAME = "res10"
_SEED, _GAIN, _SPREAD = 1, 1.2, 5  # which give logits that spread over a few units
_FEW_FRAMES = {"frame_step": 2}  # between those that are searched: a face must be in several


def write_models(folder: Path) -> tuple[list[str], dict[str, Any]]:
    """Write checkpoints: their names in the folder, and the options of a prediction by them."""
    model = create_model(_NAME)
    fix_weights(model.network, _SEED, _GAIN)
    model.network.fc.weight.data *= _SPREAD
    save_checkpoint(folder / OURS[_NAME].file, model)
    settings = folder / "settings.json"
    settings.write_text(json.dumps(_FEW_FRAMES))
    return [OURS[_NAME].file], {"clip_settings": str(settings)}


def inputs() -> list[tuple[int | None, str, tuple[int, int, int, int]]]:
    """The place of a model, its role, and the shape of a sample that it takes as it is."""
    return [(0, _NAME, (OURS[_NAME].frames, SIZE, SIZE, 3))]
