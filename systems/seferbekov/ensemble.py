"""The models: batches of face images to probabilities, on any engine.

Batches always have the same size, filled up with blank images. A face's place in a batch can still change the last bits
of its score; on a CPU, where a batch is small, each therefore holds faces of one video in reading order (`group`), and
a video's score does not depend on what else is scored.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from engines.choice import choose_engine
from engines.device import DTYPES
from engines.fold import fold_batch_norms
from engines.gpu import forbid_tf32, in_halves
from engines.native.cuda_encoder import CudaEncoder, KernelSteps
from engines.native.encoder import NativeEncoder
from engines.onnxruntime_engine import OnnxRuntimeNetwork
from engines.openvino_engine import ChannelsLast, OpenVinoNetwork
from systems.imagenet import IMAGENET_MEAN, IMAGENET_STD, SCALE, SHIFT

ENGINES = ("native", "openvino", "onnxruntime", "torch")  # those that run the classifiers
_BATCH = {"cuda": 64, "cpu": 2}  # on a CPU two images stay in the cache of a core
_REMEDY = "give a smaller --batch-size or fewer --workers, or end what else runs on it"

Images = Mapping[int, Sequence[np.ndarray]]  # the same faces at each size that a model wants


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model by name: `logits` maps uint8 RGB (n, size, size, 3) to logits (n,), float32."""

    name: str
    size: int
    logits: Callable[[np.ndarray], np.ndarray]


class Ensemble:
    """Models that score the same faces. `lanes` is how many threads may call it at once.

    Batches of `batch_size` faces are put together from groups of `group` faces of one video (the last may be smaller).
    """

    def __init__(self, models: Sequence[Model], *, batch_size: int, lanes: int, group: int = 1):
        if not models:
            raise ValueError("an ensemble needs at least one model")
        self.models = tuple(models)
        self.batch_size = batch_size
        self.group = group
        self.lanes = lanes
        self.sizes = tuple(sorted({model.size for model in models}))

    def score(self, images: Images) -> np.ndarray:
        """Probabilities "fake", float32 (n, models), of up to `batch_size` faces; `images` holds them for each size.

        Raises DeviceError where a GPU has too little memory for one face, or fails.
        """

        def logits(places: range) -> list[np.ndarray]:
            part = {size: images[size][places.start : places.stop] for size in self.sizes}
            return list(self._logits(part, len(places)))

        rows = in_halves(logits, range(len(images[self.sizes[0]])), _REMEDY)
        # in double precision the vectorised and the scalar sigmoid round to the same float
        return torch.from_numpy(np.stack(rows)).double().sigmoid().float().numpy()

    def _logits(self, images: Images, count: int) -> np.ndarray:
        """Logits (count, models)."""
        batches = {}
        for size in self.sizes:
            batches[size] = np.zeros((self.batch_size, size, size, 3), np.uint8)
            batches[size][:count] = images[size]
        return np.stack([model.logits(batches[model.size])[:count] for model in self.models], axis=1)


def default_batch_size(device: torch.device) -> int:
    """Faces to a batch where the user did not say."""
    return _BATCH[device.type]


def build_ensemble(
    modules: Iterable[tuple[str, nn.Module, int]],
    *,
    device: torch.device,
    precision: str,
    engine: str = "auto",
    batch_size: int | None = None,
    lanes: int = 1,
) -> Ensemble:
    """Put classifiers, given as (name, module, input size), on a device at a precision; the modules are used up.

    `engine` is auto or one of ENGINES. "openvino" is for a CPU, in fp32 or bf16, as is "native"; on a GPU
    that is for fp16. "onnxruntime" is for fp32.
    """
    batch_size = batch_size or default_batch_size(device)
    engine = choose_engine(engine, device, ENGINES)
    if device.type == "cuda" and engine != "onnxruntime":
        return _on_gpu(modules, device, DTYPES[precision], engine, batch_size)
    models = []
    for name, module, size in modules:
        if engine != "torch" or precision != "bf16":  # autocast keeps batch norms in fp32, where bf16 would round twice
            fold_batch_norms(module)
        if engine == "openvino":
            logits = _openvino_logits(module, size, precision, batch_size, lanes)
        elif engine == "onnxruntime":
            logits = _onnxruntime_logits(module, size, precision, batch_size, device)
        elif engine == "native":
            module.encoder = NativeEncoder(module.encoder, size=size, precision=precision)
            logits = torch_logits(module, device, torch.float32)
        else:
            logits = torch_logits(module, device, DTYPES[precision])
        models.append(Model(name=name, size=size, logits=logits))
    if device.type == "cuda":
        return Ensemble(models, batch_size=batch_size, lanes=1)
    return Ensemble(models, batch_size=batch_size, lanes=lanes, group=batch_size)


def _on_gpu(
    modules: Iterable[tuple[str, nn.Module, int]],
    device: torch.device,
    dtype: torch.dtype,
    engine: str,
    batch_size: int,
) -> Ensemble:
    """On our kernels where the engine is "native" and they are made for the precision, else on PyTorch."""
    from systems.seferbekov.cuda_ensemble import CudaEnsemble  # which is made of what is here

    forbid_tf32()
    models, placed = [], []
    for name, module, size in modules:
        if dtype != torch.bfloat16:
            fold_batch_norms(module)
        if engine == "native" and dtype == torch.float16:
            module.encoder = CudaEncoder(module.encoder, KernelSteps(device), device)
        logits = torch_logits(module, device, dtype)
        models.append(Model(name=name, size=size, logits=logits))
        placed.append(module)
    compute = torch.float32 if dtype == torch.bfloat16 else dtype
    return CudaEnsemble(
        models, placed, device=device, dtype=compute, batch_size=batch_size, autocast=dtype == torch.bfloat16
    )


def torch_logits(
    module: Callable[[torch.Tensor], torch.Tensor], device: torch.device, dtype: torch.dtype
) -> Callable[[np.ndarray], np.ndarray]:
    """Run a classifier in PyTorch. fp16 casts the weights as the reference does; bf16 is autocast."""
    if isinstance(module, nn.Module):
        module = module.to(device, memory_format=torch.channels_last).eval()
        module = module.half() if dtype == torch.float16 else module
    mean = torch.tensor(IMAGENET_MEAN, device=device)
    std = torch.tensor(IMAGENET_STD, device=device)

    @torch.inference_mode()
    def logits(images: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(images).to(device, non_blocking=True)
        x = ((x.float() / 255 - mean) / std).permute(0, 3, 1, 2)  # channels_last as it lies
        x = x.half() if dtype == torch.float16 else x
        with torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
            return module(x).float().reshape(-1).cpu().numpy()

    return logits


def _openvino_logits(
    module: nn.Module, size: int, precision: str, batch_size: int, lanes: int
) -> Callable[[np.ndarray], np.ndarray]:
    network = OpenVinoNetwork(
        ChannelsLast(module),
        torch.zeros(1, size, size, 3),
        precision=precision,
        streams=lanes,
        input_shape=(batch_size, size, size, 3),
    )

    def logits(images: np.ndarray) -> np.ndarray:
        # normalised outside the network: inside, reduced precision would round the pixels
        return network(images * SCALE + SHIFT)[0].reshape(-1)

    return logits


def _onnxruntime_logits(
    module: nn.Module, size: int, precision: str, batch_size: int, device: torch.device
) -> Callable[[np.ndarray], np.ndarray]:
    example = torch.zeros(batch_size, size, size, 3)
    network = OnnxRuntimeNetwork(ChannelsLast(module), example, device=device, precision=precision)

    def logits(images: np.ndarray) -> np.ndarray:
        return network(images * SCALE + SHIFT).reshape(-1)

    return logits
