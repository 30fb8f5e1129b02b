"""Portable models as files, safetensors and ONNX: each gives what PyTorch gives before it appears."""

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

INPUT, OUTPUTS = "pixels", ("p_fake", "logit")  # as ONNX names them
TOLERANCE = 1e-4  # of a probability
_OF_LOGITS = 1e-3  # of one's size, of 1 at least: a probability of nearly 0 or 1 would hide what is wrong
_LARGE = 30  # of a logit, beyond which nothing is told: a probability is 0 or 1 by then
_TRIED = ({"n": 0, "t": 0}, {"n": 1, "t": 3}, {"n": 0, "t": 8})  # more than the least sizes that a model takes
_REMEDY = "free some space or name another folder"

Computed = Callable[[torch.Tensor], list[np.ndarray]]  # pixels to probabilities and logits


def write_safetensors(path: Path, system: str, model: PortableModel, card: Mapping[str, Any]) -> float:
    """Write a model's weights with its card; returns the largest difference of a probability from PyTorch's. Raises
    OutputError, and ItemError where the file would give others."""

    def reader(written: Path) -> Computed:
        module = open_model(system, {}, model.name, written).module
        return lambda pixels: _in_torch(module, pixels)

    return _write_checked(path, safetensors_of(model.state, card), model, reader)


def write_onnx(path: Path, model: PortableModel, card: Mapping[str, Any]) -> float:
    """Write a model from pixels to probabilities and logits, with its card in the metadata. Returns and raises as
    `write_safetensors`."""
    import onnx

    free = {INPUT: _names(model.axes), **{output: _names(model.output) for output in OUTPUTS}}
    data = to_onnx(model.module, model.pixels(0), input_name=INPUT, output_names=OUTPUTS, free=free)
    proto = onnx.load_model_from_string(data)
    onnx.helper.set_model_props(proto, {CARD: json.dumps(card)})
    onnx.checker.check_model(proto)

    def reader(written: Path) -> Computed:
        computed = session(written.read_bytes(), torch.device("cpu"))
        return lambda pixels: computed.run(list(OUTPUTS), {INPUT: pixels.numpy()})

    return _write_checked(path, proto.SerializeToString(), model, reader)


def _write_checked(path: Path, content: bytes, model: PortableModel, reader: Callable[[Path], Computed]) -> float:
    """`reader` makes a function of the file that was written."""
    with whole_file(path, _REMEDY) as temporary:
        temporary.write_bytes(content)
        computed = reader(temporary)
        largest = 0.0
        for seed, more in enumerate(_TRIED):
            pixels = model.pixels(seed, **{name: least + more[name] for name, least in model.least.items()})
            p_fake, logits = computed(pixels)
            expected, expected_logits = _in_torch(model.module, pixels)
            difference = float(np.abs(p_fake - expected).max())
            logits, expected_logits = (np.clip(each, -_LARGE, _LARGE) for each in (logits, expected_logits))
            of_logits = float((np.abs(logits - expected_logits) / np.maximum(1, np.abs(expected_logits))).max())
            if not (difference <= TOLERANCE and of_logits <= _OF_LOGITS):  # or they are no numbers
                raise ItemError(
                    f"{path}: not written, as its probabilities differ from PyTorch's by {difference:.2g}, and its "
                    f"logits by {of_logits:.2g} of their size; {TOLERANCE:g} and {_OF_LOGITS:g} are allowed: try the "
                    "versions of requirements.lock (make setup)"
                )
            largest = max(largest, difference)
    return largest


def _names(axes: tuple[str | int, ...]) -> dict[int, str]:
    return {number: size for number, size in enumerate(axes) if isinstance(size, str)}


@torch.inference_mode()
def _in_torch(module: torch.nn.Module, pixels: torch.Tensor) -> list[np.ndarray]:
    return [values.numpy() for values in module(pixels)]
