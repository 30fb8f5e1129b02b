"""The models as what scores samples: clips of one length go through one model, each with its mirror image."""

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import torch
from torch import nn

from engines import openvino_engine
from engines.device import DTYPES
from engines.gpu import forbid_tf32, in_halves, is_no_memory
from engines.native.libraries import processor_has
from engines.native.winograd import on_winograd
from systems.medics.models import FaceModel, ModelSpec
from systems.medics.onnxruntime_models import OnOnnxRuntime
from systems.medics.openvino_models import OnOpenVino
from systems.medics.strategy import p_fake_of_faces
from systems.medics.traceable import traceable
from systems.medics.uploads import Uploads
from systems.sample import Sample
from systems.system import Machine

_BATCH = {"cuda": 4, "cpu": 1}
_CONVERTED = ("avx512", "openvino", "onnxruntime")  # engines of which one batch at a time has all cores
_FASTER_IN_BF16 = ("I3D",)  # of the 3D networks, than by Winograd's products, on a processor without AMX
_NOT_IN_BF16 = ("r2plus1d_18",)  # a face's probability moved by up to 0.11 with it, 0.02 with the others
_REMEDY = "give a smaller --batch-size, or end what else runs on it"


class ClipModels:
    """As `systems.sample.Models`. In PyTorch on a CPU each lane has one core, on the other engines one batch at a time
    has all. R(2+1)D computes in fp32 where the others do in bf16."""

    def __init__(self, models: Mapping[int, FaceModel], machine: Machine):
        self._device = machine.device
        if machine.device.type == "cuda":
            forbid_tf32()
        for model in models.values():
            model.network = _converted(model, machine)
        in_torch = machine.engine not in _CONVERTED
        self._dtypes = {
            place: torch.float32 if not in_torch else DTYPES[precision_of(model.spec, machine.precision)]
            for place, model in models.items()
        }
        self._models = {place: model.to(machine.device) for place, model in models.items()}
        self.batch_size = machine.batch_size or default_batch_size(machine.device)
        self._uploads = Uploads(machine.device)
        self.group = 1
        self.lanes = machine.lanes if machine.device.type == "cpu" and in_torch else 1

    def kind(self, sample: Sample) -> Hashable:
        """The model that it is for, and its length."""
        return sample.model, len(sample.pixels)

    def prepare(self, sample: Sample) -> np.ndarray:
        """Its pixels: models that see the same share them."""
        return sample.pixels

    def size_of(self, prepared: np.ndarray) -> int:
        """Bytes of its frames."""
        return prepared.nbytes

    def score(self, kind: Hashable, batch: Sequence[np.ndarray]) -> np.ndarray:
        """The probability of each face, float32 (n, 1)."""
        model, dtype = self._models[kind[0]], self._dtypes[kind[0]]
        autocast = torch.autocast(self._device.type, dtype, enabled=dtype != torch.float32)

        def probabilities(faces: Sequence[np.ndarray]) -> list[float]:
            try:
                return list(p_fake_of_faces(model, faces, self._uploads))
            except RuntimeError as error:
                if not is_no_memory(error) or not self._uploads.clear():
                    raise
            # not in the handler, whose traceback keeps what was allocated
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            return list(p_fake_of_faces(model, faces, self._uploads))

        with torch.inference_mode(), autocast:
            return np.float32(in_halves(probabilities, batch, _REMEDY))[:, None]


def _converted(model: FaceModel, machine: Machine) -> nn.Module:
    """The network of a model, which can't be used afterwards, on the engine."""
    spec, network = model.spec, model.network
    precision = precision_of(spec, machine.precision)
    if machine.engine == "avx512" and not _better_on_openvino(spec, precision):
        return on_winograd(traceable(network), threads=machine.lanes)
    if machine.engine in ("avx512", "openvino"):
        return OnOpenVino(spec, network, precision=precision, threads=machine.lanes)
    if machine.engine == "onnxruntime":
        device, precision = machine.device, machine.precision
        return OnOnnxRuntime(spec, network, device=device, precision=precision, threads=machine.lanes)
    return network


def _better_on_openvino(spec: ModelSpec, precision: str) -> bool:
    """Where it is installed: in bf16 what is faster so, and the 2D network, whose convolutions are in groups."""
    if not openvino_engine.is_installed():
        return False
    if not spec.is_3d or precision == "fp32":
        return not spec.is_3d
    return processor_has("amx_bf16") or (processor_has("avx512_bf16") and spec.network in _FASTER_IN_BF16)


def precision_of(spec: ModelSpec, precision: str) -> str:
    """What a model computes in where the user asked for `precision`."""
    return "fp32" if precision == "bf16" and spec.network in _NOT_IN_BF16 else precision


def default_batch_size(device: torch.device) -> int:
    """Faces to a batch where the user did not say."""
    return _BATCH[device.type]
