"""Small networks whose weights are the same on every machine, for doctor.py."""

from pathlib import Path
from typing import Any

from systems.fixed_weights import fix_weights
from systems.ntechlab.checkpoints import save_classifier
from systems.ntechlab.models import HEIGHT, SEQUENCE, WIDTH, create_network

_LENGTHS = {"re": 1, "seq": SEQUENCE}  # images of a sample, by role: one of the two frame models is enough
_ENCODER = "tf_efficientnet_b0_ns"
_SEED, _GAIN, _SPREAD = 1, 1.5, 500  # which give logits that spread over a few units


def write_models(folder: Path) -> tuple[list[str], dict[str, Any]]:
    """Write checkpoints: their names in the folder, and the options of a prediction by them."""
    for number, role in enumerate(_LENGTHS):
        network = fix_weights(create_network(role, _ENCODER), _SEED + number, _GAIN)
        network.classifier.weight.data *= _SPREAD
        save_classifier(folder / role, network, role=role, encoder=_ENCODER)
    return list(_LENGTHS), {"detector": "mtcnn"}


def inputs() -> list[tuple[int | None, str, tuple[int, int, int, int]]]:
    """The place of a model, its role, and the shape of a sample that it takes as it is."""
    shapes = enumerate((role, (length, HEIGHT, WIDTH, 3)) for role, length in _LENGTHS.items())
    return [(place, role, shape) for place, (role, shape) in shapes]
