"""The classifiers for an explanation by gradients: as `systems.heat` says."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import zip_longest
from typing import Any

import numpy as np
import torch

from systems.heat import Features, WeightOf, enlarged, last_features, weigh_alike
from systems.imagenet import SCALE, SHIFT
from systems.ntechlab.checkpoints import LoadedClassifier, load_classifier
from systems.sample import Sample

_LAST_OF_TWICE_AS_FINE = 4  # of the seven stages of an EfficientNet


class TrackHeatModel:
    """As `systems.heat.HeatModel`: what the classifier averages. Of a sequence the mean of its seven logits counts."""

    def __init__(self, loaded: LoadedClassifier, device: torch.device):
        self._network, self._device = loaded.network.to(device), device
        self._layers = [self._network.bn2, self._network.blocks[_LAST_OF_TWICE_AS_FINE]]

    def features(self, sample: Sample) -> list[Features]:
        """As `systems.heat.HeatModel.features`."""
        x = torch.from_numpy(sample.pixels * SCALE + SHIFT).permute(0, 3, 1, 2).to(self._device)

        def place(heat: np.ndarray) -> np.ndarray:
            return enlarged(heat, sample.pixels.shape[:3])

        # images of a clip lie one behind the other where the network has its batch
        return [
            Features(activations=activations.swapaxes(0, 1), gradients=gradients.swapaxes(0, 1), place=place)
            for activations, gradients in last_features(self._network, self._layers, x, torch.mean)
        ]


def open_models(
    given: Mapping[str, Any], checkpoints: Iterable[tuple[str, str]], device: torch.device
) -> Iterator[TrackHeatModel]:
    """As `systems.heat` says. Raises CheckpointError."""
    for (_, path), role in zip_longest(checkpoints, given.get("roles", ())):
        yield TrackHeatModel(load_classifier(path, role), device)


def weights(given: Mapping[str, Any]) -> WeightOf:
    """As `systems.heat` says: a face goes to one model."""
    return weigh_alike
