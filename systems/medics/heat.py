"""The models for an explanation by gradients: as `systems.heat` says."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch

from systems.heat import Features, WeightOf, enlarged, last_features
from systems.medics.clips import SIZE
from systems.medics.models import CROP, FAKE, REAL, FaceModel, load_model
from systems.medics.strategy import even_mirrored
from systems.medics.system import OPTIONS, model_of, predictor
from systems.sample import Sample

# of each network the layer that its classifier averages, and the last one that is twice as fine
_LAYERS = {
    "I3D": ("Mixed_5c", "Mixed_4f"),
    "ResNet34": ("layer4", "layer3"),
    "ResNet10": ("layer4", "layer3"),
    "mc3_18": ("layer4", "layer3"),
    "r2plus1d_18": ("layer4", "layer3"),
    "SEResNeXt50": ("backbone.layer4", "backbone.layer3"),
}
_EDGE = (SIZE - CROP) // 2  # pixels on each side that the 3D networks don't see


class ClipHeatModel:
    """As `systems.heat.HeatModel`. Of a 3D network FAKE's logit less REAL's counts; of the 2D network each picture's
    own logit, as any of them may be the median."""

    def __init__(self, model: FaceModel, device: torch.device):
        self._model = model.to(device)
        self._layers = [model.network.get_submodule(name) for name in _LAYERS[model.spec.network]]

    def features(self, sample: Sample) -> list[Features]:
        """As `systems.heat.HeatModel.features`. The score's other pass, of the mirror image, is another sample's."""
        return self._of_clip(sample.pixels) if self._model.spec.is_3d else self._of_pictures(sample.pixels)

    def _of_clip(self, clip: np.ndarray) -> list[Features]:
        def explained(logits: torch.Tensor) -> torch.Tensor:
            return (logits[:, FAKE] - logits[:, REAL]).sum()

        def place(heat: np.ndarray) -> np.ndarray:
            whole = np.zeros(clip.shape[:3], np.float32)
            whole[:, _EDGE : _EDGE + CROP, _EDGE : _EDGE + CROP] = enlarged(heat, (len(clip), CROP, CROP))
            return whole

        return [
            Features(activations=activations[0], gradients=gradients[0], place=place)
            for activations, gradients in self._last_features(clip, explained)
        ]

    def _of_pictures(self, pictures: np.ndarray) -> list[Features]:
        def place(heat: np.ndarray) -> np.ndarray:
            return even_mirrored(enlarged(heat, pictures.shape[:3]))

        return [
            Features(activations=activations.swapaxes(0, 1), gradients=gradients.swapaxes(0, 1), place=place)
            for activations, gradients in self._last_features(even_mirrored(pictures), torch.sum)
        ]

    def _last_features(
        self, clip: np.ndarray, explained: Callable[[torch.Tensor], torch.Tensor]
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        return last_features(self._model.logits, self._layers, torch.from_numpy(clip)[None], explained)


def open_models(
    given: Mapping[str, Any], checkpoints: Iterable[tuple[str, str]], device: torch.device
) -> Iterator[ClipHeatModel]:
    """As `systems.heat` says. Raises CheckpointError."""
    for name, path in checkpoints:
        yield ClipHeatModel(load_model(model_of(name, path), path), device)


def weights(given: Mapping[str, Any]) -> WeightOf:
    """As `systems.heat` says: the settings' `model_weights`. Raises InputError."""
    own = {name: value for name, value in given.items() if name in OPTIONS}
    by_role = predictor(own, "").settings()["settings"]["model_weights"]
    return lambda role: by_role.get(role, 1.0)
