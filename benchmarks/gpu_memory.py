"""How much of a GPU's memory each way of working takes, by counting what PyTorch would allocate; needs no GPU.

    python -m benchmarks.gpu_memory

Input: none. Output: a table in Markdown, in MB: weights (in training with gradients and the optimizer's state), and the
most that is held beside them while a batch is computed. Not counted: CUDA itself (about 500 MB), what cuDNN and cuBLAS
take for themselves, what PyTorch keeps for later. A training step is counted to the end of its forward pass, which
holds nearly the most.
"""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from engines.fold import fold_batch_norms
from engines.native.cuda_encoder import CudaEncoder, KernelSteps
from systems.medics.models import MODELS, create_model
from systems.ntechlab.cuda_classifier import flat
from systems.ntechlab.dataset import SAMPLED_FRAMES
from systems.ntechlab.models import HEIGHT, SEQUENCE, WIDTH, create_network
from systems.seferbekov.models import NETWORKS
from tests.fake_gpu import fake_gpu

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
_BLOCK = 512  # bytes, of which PyTorch gives whole ones
_MB = 10**6
_STATES = {"SGD": 1, "Adam": 2, "AdamW": 2}  # tensors like the weights that an optimizer keeps
_FACE = 100  # frames of a face of The Medics'


@dataclass(frozen=True, kw_only=True)
class Case:
    """A way of working: the network that `make` gives, and what it does to a batch. `copies` of its weights are held,
    of other networks like it, or as gradients and an optimizer's state."""

    name: str
    make: Callable[[], nn.Module]
    work: Callable[[nn.Module], Any]
    copies: int = 1
    trains: bool = False


class PeakMemory(TorchDispatchMode):
    """Counts what lies on a GPU that is not there (tests/fake_gpu.py), but for what another has counted. `peak`: the
    most bytes at a time."""

    def __init__(self, beside: "PeakMemory | None" = None):
        super().__init__()
        self.peak = self._held = 0
        self._live: dict[int, tuple[StorageWeakRef, int]] = {}
        self._others = beside._live if beside else {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and tensor.device.type == "cuda":
                self._add(tensor.untyped_storage())
        if self._held > self.peak:
            self.peak = max(self.peak, self.held())
        return result

    def held(self) -> int:
        """Bytes that are held now."""
        for key in [key for key, (storage, _) in self._live.items() if storage.expired()]:
            self._held -= self._live.pop(key)[1]
        return self._held

    def _add(self, storage: torch.UntypedStorage) -> None:
        # a number that stays taken while it is referred to, weakly too
        if storage._cdata not in self._live and storage._cdata not in self._others:
            size = math.ceil(storage.nbytes() / _BLOCK) * _BLOCK
            self._live[storage._cdata] = StorageWeakRef(storage), size
            self._held += size


def megabytes(case: Case) -> tuple[int, int]:
    """Of a case: weights, and what a batch takes beside them."""
    with fake_gpu() as gpu, gpu:
        with torch.set_grad_enabled(case.trains), PeakMemory() as making:
            network = case.make()
        with torch.set_grad_enabled(case.trains), PeakMemory(beside=making) as working:
            result = case.work(network)  # which keeps what a backward pass wants
        weights = making.held() * case.copies
    del result
    return round(weights / _MB), round(working.peak / _MB)


def cases() -> Iterator[Case]:
    yield from (prediction_in_fp16(), prediction_in_fp32())
    for role in ("large_crop", "seq"):
        yield from (ntechlab_in_fp16(role), ntechlab_in_fp32(role))
    for name in MODELS:
        if not name.endswith("_cutmix"):  # which is another's network
            yield from (medics(name, torch.float16), medics(name, torch.float32))
    for name in ("b7", "b5"):
        yield trained_seferbekov(name)
    for name in ("large_crop", "seq"):
        yield trained_ntechlab(name)
    for name in MODELS:
        yield trained_medics(name)


# prediction, in batches as they are where the user does not say


def prediction_in_fp16() -> Case:
    return Case(
        name="prediction, seferbekov: 7 B7, fp16, `native`, 64 faces",
        make=lambda: _encoder(_b7().encoder),
        work=lambda encoder: encoder.forward_features(torch.zeros(64, 3, 380, 380, dtype=torch.float16)),
        copies=7,
    )


def prediction_in_fp32() -> Case:
    return Case(
        name="prediction, seferbekov: 7 B7, fp32, 64 faces",
        make=_b7,
        work=lambda network: network(torch.zeros(64, 3, 380, 380)),
        copies=7,
    )


def ntechlab_in_fp16(role: str) -> Case:
    return Case(
        name=f"prediction, ntechlab: {role}, fp16, `native`, 32 samples",
        make=lambda: _encoder(_folded(role)),
        work=lambda encoder: encoder.forward_features(_samples(32, role).half()),
    )


def ntechlab_in_fp32(role: str) -> Case:
    return Case(
        name=f"prediction, ntechlab: {role}, fp32, 32 samples",
        make=lambda: _folded(role),
        work=lambda network: network(_samples(32, role)),
    )


def medics(name: str, dtype: torch.dtype) -> Case:
    def work(model: nn.Module) -> torch.Tensor:
        count = 8 if MODELS[name].is_3d else 4  # with their mirror images
        faces = torch.zeros(count, _FACE, 256, 256, 3, dtype=torch.uint8)
        with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
            return model.p_fake(faces)

    precision = "fp32" if dtype == torch.float32 else "fp16"
    return Case(
        name=f"prediction, medics: {name}, {precision}, 4 faces of {_FACE} frames",
        make=lambda: create_model(name).eval().requires_grad_(False),
        work=work,
    )


# training, as configured


def trained_seferbekov(name: str) -> Case:
    config = _config(f"{name}.json")
    batch, size = config["optimizer"]["batch_size"], config["size"]
    return _trained(
        f"training, {name}.json: {batch} faces of {size} pixels",
        config,
        lambda: NETWORKS[config["network"]](config["encoder"]).train(),
        lambda: torch.zeros(batch, 3, size, size),
    )


def trained_ntechlab(name: str) -> Case:
    config = _config(f"ntechlab/{name}.json")
    pairs = config["optimizer"]["batch_size"]
    frames = len(SAMPLED_FRAMES[config["role"]])
    return _trained(
        f"training, ntechlab/{name}.json: {pairs} pairs of {frames} frames",
        config,
        lambda: create_network(config["role"]).train(),
        lambda: torch.zeros(pairs * frames, 3, HEIGHT, WIDTH),
    )


def trained_medics(name: str) -> Case:
    config, spec = _config(f"medics/{name}.json"), MODELS[name]
    batch = config["optimizer"]["batch_size"]
    frames = (spec.frames,) if spec.is_3d else ()
    return _trained(
        f"training, medics/{name}.json: {batch} of {spec.frames} frame(s) of {spec.size} pixels",
        config,
        lambda: create_model(name).train(),
        lambda: torch.zeros(batch, 3, *frames, spec.size, spec.size),
    )


def _trained(
    name: str, config: dict[str, Any], make: Callable[[], nn.Module], images: Callable[[], torch.Tensor]
) -> Case:
    def work(network: nn.Module) -> torch.Tensor:
        x = images()
        if x.ndim == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cuda", torch.float16):
            return network(x)

    state = _STATES[config["optimizer"]["type"]]
    return Case(name=f"{name}, fp16", make=make, work=work, copies=2 + state, trains=True)


def _config(name: str) -> dict[str, Any]:
    return json.loads((CONFIGS / name).read_text())


def _b7() -> nn.Module:
    return fold_batch_norms(NETWORKS["DeepFakeClassifier"]("tf_efficientnet_b7_ns").eval().requires_grad_(False))


def _folded(role: str) -> nn.Module:
    return fold_batch_norms(flat(create_network(role).eval().requires_grad_(False)))


def _encoder(network: nn.Module) -> CudaEncoder:
    """On our kernels, but for their running."""
    steps = KernelSteps.__new__(KernelSteps)
    steps._launch = lambda *_: None
    return CudaEncoder(network, steps, torch.device("cuda", 1))


def _samples(count: int, role: str) -> torch.Tensor:
    return torch.zeros(count * (SEQUENCE if role == "seq" else 1), 3, HEIGHT, WIDTH)


def main() -> None:
    print("| | weights MB | a batch MB |\n|---|---|---|")
    for case in cases():
        weights, batch = megabytes(case)
        print(f"| {case.name} | {weights} | {batch} |", flush=True)


if __name__ == "__main__":
    main()
