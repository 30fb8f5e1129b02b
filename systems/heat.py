"""What a system gives to an explanation by gradients: the last features that a network makes of a sample.

A system whose networks can be explained so has a module `heat` in its folder: `open_models(given, checkpoints, device)`
yields a `HeatModel` for each checkpoint, (name, path) each, one after the other, so that one network is in memory at a
time, and `weights(given)` gives what the model of a role counts in the mean over a face's models. `given` are the
options of `systems.registry.options_of`. Features become heat in `inference/heat.py`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from engines.gpu import failures_are_told
from systems.sample import Sample

LEAST_CELLS = 6  # along a side: all published networks have as many at their last features, small ones may not
_REMEDY = "end what else runs on it, use --device cpu, or --method occlusion, which computes no gradients"


@dataclass(frozen=True, kw_only=True)
class Features:
    """What one layer of a network tells of a sample.

    activations: the layer's features, float32 (channels, t, h, w); gradients: of the logit "fake" by each of
    them, the same shape; place: takes heat on their grid, float32 (t, h, w), to the sample's pixels, float32 of their
    (t, h, w), 0 where the network does not look.
    """

    activations: np.ndarray
    gradients: np.ndarray
    place: Callable[[np.ndarray], np.ndarray]


WeightOf = Callable[[str], float]  # what the model of a role counts in the mean


def weigh_alike(role: str) -> float:
    """The weights of a plain mean."""
    return 1.0


class HeatModel(Protocol):
    """A model in PyTorch, fp32, for gradients."""

    def features(self, sample: Sample) -> Sequence[Features]:
        """Of the last layers. Raises DeviceError where a GPU has too little memory, or fails."""


def last_features(
    network: Callable[[torch.Tensor], torch.Tensor],
    layers: Sequence[nn.Module],
    x: torch.Tensor,
    explained: Callable[[torch.Tensor], torch.Tensor],
) -> list[tuple[np.ndarray, np.ndarray]]:
    """What the last layers of a network give where it is called with `x`, and the gradients by that of the number that
    `explained` makes of the network's output; both float32, in a layer's own shape.

    Of `layers`, the last one first, each earlier one finer, those count up to the first that has `LEAST_CELLS` along
    its shorter side: the last alone, unless the input is small. No gradient is computed before them: the parameters
    must need none.
    """
    caught: dict[nn.Module, torch.Tensor] = {}

    def catch(layer: nn.Module, inputs: tuple, output: torch.Tensor) -> torch.Tensor:
        caught[layer] = output if output.requires_grad else output.detach().requires_grad_()
        return caught[layer]

    hooks = [layer.register_forward_hook(catch) for layer in layers]
    try:
        with failures_are_told(_REMEDY), torch.enable_grad():
            number = explained(network(x))
            last = [caught[layer] for layer in layers]
            fine = [min(features.shape[-2:]) >= LEAST_CELLS for features in last]
            last = last[: fine.index(True) + 1] if any(fine) else last
            gradients = torch.autograd.grad(number, last)
    finally:
        for hook in hooks:
            hook.remove()
    return [(each.detach().cpu().numpy(), slope.cpu().numpy()) for each, slope in zip(last, gradients, strict=True)]


def enlarged(heat: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Heat (t, h, w) at another size, interpolated linearly between the middles of its cells; float32."""
    size = tuple(shape)
    return F.interpolate(torch.from_numpy(heat)[None, None], size, mode="trilinear", align_corners=False)[0, 0].numpy()
