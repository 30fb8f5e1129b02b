"""Portable models as files, safetensors and ONNX: each gives PyTorch's probabilities before it appears."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engines.onnx_model import to_onnx
from engines.onnxruntime_engine import session
from runtime.errors import ItemError
from runtime.files import whole_file
from systems.portable import PortableModel, open_model
from systems.safetensors_files import CARD, safetensors_of

INPUT, OUTPUT = "pixels", "p_fake"  # as ONNX names them
TOLERANCE = 1e-4  # of a probability
_REMEDY = "free some space or name another folder"
_TRIED = ({"n": 0, "t": 0}, {"n": 1, "t": 3}, {"n": 0, "t": 8})  # more than the least sizes that a model takes


def write_safetensors(path: Path, system: str, model: PortableModel, card: Mapping[str, Any]) -> float:
    """Write a model's weights with its card; returns the largest difference of a probability from PyTorch's. Raises
    OutputError, and ItemError where the file would give others."""

    def reader(written: Path) -> Callable[[torch.Tensor], np.ndarray]:
        module = open_model(system, {}, model.name, written).module
        return lambda pixels: _probabilities(module, pixels)

    return _write_checked(path, safetensors_of(model.state, card), model, reader)


def write_onnx(path: Path, model: PortableModel, card: Mapping[str, Any]) -> float:
    """Write a model from pixels to probabilities, with its card in the metadata. Returns and raises as
    `write_safetensors`."""
    import onnx

    free = {INPUT: _names(model.axes), OUTPUT: _names(model.output)}
    data = to_onnx(model.module, model.pixels(0), input_name=INPUT, output_name=OUTPUT, free=free)
    proto = onnx.load_model_from_string(data)
    onnx.helper.set_model_props(proto, {CARD: json.dumps(card)})
    onnx.checker.check_model(proto)

    def reader(written: Path) -> Callable[[torch.Tensor], np.ndarray]:
        computed = session(written.read_bytes(), torch.device("cpu"))
        return lambda pixels: computed.run([OUTPUT], {INPUT: pixels.numpy()})[0]

    return _write_checked(path, proto.SerializeToString(), model, reader)


def _write_checked(
    path: Path, content: bytes, model: PortableModel, reader: Callable[[Path], Callable[[torch.Tensor], np.ndarray]]
) -> float:
    """`reader` makes a function from pixels to probabilities of the file that was written."""
    with whole_file(path, _REMEDY) as temporary:
        temporary.write_bytes(content)
        computed = reader(temporary)
        largest = 0.0
        for seed, more in enumerate(_TRIED):
            pixels = model.pixels(seed, **{name: least + more[name] for name, least in model.least.items()})
            difference = float(np.abs(computed(pixels) - _probabilities(model.module, pixels)).max())
            if not difference <= TOLERANCE:  # or it is no number
                raise ItemError(
                    f"{path}: not written, as its probabilities differ from PyTorch's by {difference:.2g}, and "
                    f"{TOLERANCE:g} is allowed: try it with the versions of requirements.lock (make setup)"
                )
            largest = max(largest, difference)
    return largest


def _names(axes: tuple[str | int, ...]) -> dict[int, str]:
    return {number: size for number, size in enumerate(axes) if isinstance(size, str)}


@torch.inference_mode()
def _probabilities(module: torch.nn.Module, pixels: torch.Tensor) -> np.ndarray:
    return module(pixels).numpy()
