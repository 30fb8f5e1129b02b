"""The ensemble for an explanation by gradients: as `systems.heat` says."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch

from systems.heat import Features, WeightOf, enlarged, last_features, weigh_alike
from systems.imagenet import SCALE, SHIFT
from systems.sample import Sample
from systems.seferbekov.checkpoints import LoadedModel, load_model
from systems.seferbekov.faces import prepare_face

_LAST_OF_TWICE_AS_FINE = 4  # of the seven stages of an EfficientNet


class FaceHeatModel:
    """As `systems.heat.HeatModel`: the encoder's output, which is what the classifier averages."""

    def __init__(self, loaded: LoadedModel, device: torch.device):
        self._network = loaded.module.to(device)
        self._layers = [self._network.encoder.bn2, self._network.encoder.blocks[_LAST_OF_TWICE_AS_FINE]]
        self._size, self._device = loaded.input_size, device

    def features(self, sample: Sample) -> list[Features]:
        """As `systems.heat.HeatModel.features`."""
        crop = sample.pixels[0]
        image = prepare_face(crop, self._size) * SCALE + SHIFT
        x = torch.from_numpy(image).permute(2, 0, 1)[None].to(self._device)
        rows, columns = _place_in_square(crop, self._size)

        def place(heat: np.ndarray) -> np.ndarray:
            in_square = enlarged(heat, (1, self._size, self._size))
            return enlarged(in_square[:, rows, columns], sample.pixels.shape[:3])

        return [
            Features(activations=activations[0, :, None], gradients=gradients[0, :, None], place=place)
            for activations, gradients in last_features(self._network, self._layers, x, torch.sum)
        ]


def open_models(
    given: Mapping[str, Any], checkpoints: Iterable[tuple[str, str]], device: torch.device
) -> Iterator[FaceHeatModel]:
    """As `systems.heat` says. Raises CheckpointError."""
    for _, path in checkpoints:
        yield FaceHeatModel(load_model(path, encoder=given.get("encoder"), input_size=given.get("size")), device)


def weights(given: Mapping[str, Any]) -> WeightOf:
    """As `systems.heat` says: a video's score is the plain mean over the models."""
    return weigh_alike


def _place_in_square(crop: np.ndarray, size: int) -> tuple[slice, slice]:
    """The rows and columns of the square that a model sees in which the crop lies; the others are black."""
    white = prepare_face(np.full_like(crop, 255), size)[..., 0] > 0
    rows, columns = (np.flatnonzero(white.any(axis=axis)) for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
