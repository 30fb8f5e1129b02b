"""A small network whose weights are the same on every machine, for doctor.py."""

from pathlib import Path
from typing import Any

from systems.fixed_weights import fix_weights
from systems.seferbekov.checkpoints import save_model
from systems.seferbekov.models import DeepFakeClassifier

_ENCODER, _SIZE = "tf_efficientnet_b0_ns", 64
_SEED, _GAIN, _SPREAD, _BIAS = 1, 1.5, 150, 1  # which give logits that spread around 0


def write_models(folder: Path) -> tuple[list[str], dict[str, Any]]:
    """Write checkpoints: their names in the folder, and the options of a prediction by them."""
    network = fix_weights(DeepFakeClassifier(_ENCODER), _SEED, _GAIN)
    network.fc.weight.data *= _SPREAD
    network.fc.bias.data += _BIAS
    save_model(folder / "known", network, network="DeepFakeClassifier", encoder=_ENCODER, input_size=_SIZE)
    return ["known"], {"frames_per_video": 6}


def inputs() -> list[tuple[int | None, str, tuple[int, int, int, int]]]:
    """The place of a model (None: all), its role, and the shape of a sample that it takes as it is."""
    return [(None, "", (1, _SIZE, _SIZE, 3))]
