"""The networks on OpenVINO, for clips of any length: each is converted once and keeps one copy of its weights."""

import torch
from torch import nn

from engines.openvino_engine import OpenVinoNetwork
from systems.medics.models import ModelSpec
from systems.medics.traceable import traceable

_EXAMPLE_FRAMES = 9  # of the clip that is traced: the fewest that all networks can take
_KEPT_LAYERS = 256  # made ready for a length: those of two or three, at 15 MB each; anew they take 50 ms a clip


class OnOpenVino(nn.Module):
    """A network in eval mode on the CPU, called as in PyTorch: float32 (n, 3, t, size, size), of the 2D network
    (n, 3, size, size), to its logits. `network` can't be used for anything else afterwards.

    A call computes on `threads` cores, one call at a time: a clip takes 10 MB a frame and more on its way through a
    network, which is too much for one on every core. It is given back at the end, as eight models would keep theirs.
    """

    def __init__(self, spec: ModelSpec, network: nn.Module, *, precision: str, threads: int):
        super().__init__()
        example = (1, 3, _EXAMPLE_FRAMES, spec.size, spec.size) if spec.is_3d else (1, 3, spec.size, spec.size)
        free = (-1, 3, -1, spec.size, spec.size) if spec.is_3d else (-1, 3, spec.size, spec.size)
        self._network = OpenVinoNetwork(
            traceable(network),
            torch.zeros(example),
            precision=precision,
            threads=threads,
            input_shape=free,
            kept=_KEPT_LAYERS,
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        try:
            return torch.from_numpy(self._network(x.numpy())[0])
        finally:
            self._network.release_memory()
