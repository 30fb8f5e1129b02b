"""The networks on ONNX Runtime, for clips of any length: each is converted once and keeps one copy of its weights."""

import torch
from torch import nn

from engines.onnxruntime_engine import OnnxRuntimeNetwork
from systems.medics.models import ModelSpec


class OnOnnxRuntime(nn.Module):
    """A network in eval mode, fp32, called as in PyTorch: float32 (n, 3, t, size, size), of the 2D network
    (n, 3, size, size), on `device`, to its logits there. A call computes on `threads` cores. Raises ChoiceError as
    `engines.onnxruntime_engine.OnnxRuntimeNetwork`."""

    def __init__(self, spec: ModelSpec, network: nn.Module, *, device: torch.device, precision: str, threads: int):
        super().__init__()
        free, example = {0: "n"}, torch.zeros(1, 3, spec.size, spec.size)
        if spec.is_3d:
            free, example = {0: "n", 2: "t"}, torch.zeros(1, 3, spec.least_frames, spec.size, spec.size)
        self._network = OnnxRuntimeNetwork(
            network, example, device=device, precision=precision, threads=threads, free=free
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self._network(x.cpu().numpy())).to(x.device)
