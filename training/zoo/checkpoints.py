"""Checkpoint files: the published format, read safely and strictly, written whole.

Published: {"state_dict": {"module.encoder...": tensor, ...}, "epoch": int, "bce_best": float}. This project's files say
besides what is needed to use them: "network", "encoder", "input_size".
"""

import os
import pickle
import reprlib
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from runtime.errors import OutputError, UserError
from runtime.files import open_file, whole_file
from training.zoo.checkpoint_files import check_file
from training.zoo.classifiers import ENCODERS, NETWORKS

PUBLISHED = {"network": "DeepFakeClassifier", "encoder": "tf_efficientnet_b7_ns", "input_size": 380}
_SIZES = range(32, 4097)
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_DTYPES = (*_FLOATS, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


class CheckpointError(UserError):
    """A checkpoint file can't be used; the message names the file, the reason and the remedy."""

    def __init__(self, path: str | os.PathLike, reason: str):
        super().__init__(f"{os.fspath(path)}: {reason}")


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A classifier in eval mode, fp32, on the CPU, and the side of its square input in pixels."""

    module: nn.Module
    input_size: int


def load_model(path: str | os.PathLike, *, encoder: str | None = None, input_size: int | None = None) -> LoadedModel:
    """Load a classifier. What the file says of network, encoder and input size counts; `encoder` and `input_size` are
    for files that say nothing (without them: the published DeepFakeClassifier, tf_efficientnet_b7_ns, 380).

    Keys must match to the letter, with or without "module." in front. The file is unpickled with `weights_only=True`,
    so that it can't run code. Raises CheckpointError.
    """
    checkpoint = read_checkpoint(path)
    asked = {"encoder": encoder, "input_size": input_size}
    described = {**PUBLISHED, **{key: value for key, value in asked.items() if value is not None}}
    described |= {key: checkpoint[key] for key in PUBLISHED if key in checkpoint}
    _check_described(path, described)
    state = _state_dict(path, checkpoint)
    with torch.device("meta"):  # no time spent on weights that are replaced at once
        module = NETWORKS[described["network"]](described["encoder"])
    _check_keys(path, module, state, described)
    module.load_state_dict(state, assign=True)
    return LoadedModel(module=module.float().eval().requires_grad_(False), input_size=described["input_size"])


def save_model(
    path: str | os.PathLike, module: nn.Module, *, network: str, encoder: str, input_size: int, **extra
) -> None:
    """Write a checkpoint in the published format with a description of the model; whole or not at all.

    `extra` goes in as it is ("epoch", "bce_best", ...). Raises OutputError.
    """
    state = {key if key.startswith("module.") else f"module.{key}": value for key, value in module.state_dict().items()}
    content = {**extra, "network": network, "encoder": encoder, "input_size": input_size, "state_dict": state}
    with whole_file(path, "free some space or name another folder") as temporary:
        try:
            torch.save(content, temporary)
        except RuntimeError as error:  # how torch's own writer tells of a full disk
            raise OutputError(f"{os.fspath(path)}: can't be written ({error}); free some space") from error


def load_weights(path: str | os.PathLike, checkpoint: dict, module: nn.Module, *, network: str, encoder: str) -> None:
    """Copy the weights of a file that was read into a module. Raises CheckpointError where it is of another kind."""
    for key, wanted in (("network", network), ("encoder", encoder)):
        if type(checkpoint.get(key, wanted)) is not str or checkpoint.get(key, wanted) != wanted:
            reason = f"its {key} is {shown(checkpoint[key])}, not {wanted}; name the right file or configuration"
            raise CheckpointError(path, reason)
    state = _state_dict(path, checkpoint)
    _check_keys(path, module, state, {"network": network, "encoder": encoder})
    module.load_state_dict(state)


# "bce_best" of the published files is a NumPy scalar, pickled under the names of NumPy 1
_SCALAR = np.float64(0).__reduce__()[0]
_SAFE = [
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_SCALAR, "numpy._core.multiarray.scalar"),
    np.dtype,
    type(np.dtype(np.float32)),
    type(np.dtype(np.float64)),
]


def read_checkpoint(path: str | os.PathLike) -> dict[str, Any]:
    """A checkpoint file's content, tensors on the CPU; unpickled with `weights_only=True`, and never larger in memory
    than it is on disk. Raises CheckpointError."""
    try:
        with open_file(path, sys.maxsize) as file, torch.serialization.safe_globals(_SAFE):
            check_file(file)
            content = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(path, "no such checkpoint; ./download_weights.sh fetches the published ones") from None
    except OSError as error:
        raise CheckpointError(path, f"can't be opened ({error.strerror or error})") from error
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            path,
            "refused: it is no plain file of weights (damaged, or a pickle that would run code). "
            "Get it again from a source you trust, or save it anew as a dict of tensors",
        ) from error
    except Exception as error:  # the unpickler fails in many ways on what is no checkpoint
        raise CheckpointError(path, "is not a PyTorch checkpoint, or is damaged; download or copy it again") from error
    if not isinstance(content, dict):
        raise CheckpointError(path, f"holds a {type(content).__name__}, not a checkpoint's dict of weights")
    return _with_names(path, content, "content")


def is_plain(value: Any) -> bool:
    """Whether it is a tensor of numbers that lie in memory: not nested, sparse, quantized, complex, of 8 bits or on
    another device."""
    return (
        type(value) in (torch.Tensor, nn.Parameter)
        and not value.is_nested
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and value.dtype in _DTYPES
    )


def shown(value: Any) -> str:
    """Anything out of a file, short enough for a line."""
    return value[:60] if isinstance(value, str) else reprlib.repr(value)


def _with_names(path: str | os.PathLike, content: dict, what: str) -> dict[str, Any]:
    """A dict of a file as a plain one. Raises CheckpointError where its keys are no names."""
    plain = dict(dict.items(content))  # a subclass may have brought other methods
    if not all(type(key) is str for key in plain):
        raise CheckpointError(path, f"its {what} has keys that are no names: not a checkpoint of a classifier")
    return plain


def _check_described(path: str | os.PathLike, described: dict) -> None:
    for key in ("network", "encoder"):
        if not isinstance(described[key], str):
            raise CheckpointError(path, f"{key} is a {type(described[key]).__name__}, not a name")
    if described["network"] not in NETWORKS:
        raise CheckpointError(path, f"network {shown(described['network'])!r} is unknown; known: {', '.join(NETWORKS)}")
    if described["encoder"] not in ENCODERS:
        raise CheckpointError(path, f"encoder {shown(described['encoder'])!r} is unknown; known: {', '.join(ENCODERS)}")
    size = described["input_size"]
    if type(size) is not int or size not in _SIZES:
        raise CheckpointError(path, f"input_size {shown(size)} is not a whole number from {_SIZES[0]} to {_SIZES[-1]}")


def _state_dict(path: str | os.PathLike, checkpoint: dict) -> dict[str, torch.Tensor]:
    state = checkpoint.get("state_dict", checkpoint)
    if (
        not isinstance(state, dict)
        or not state
        or not all(isinstance(value, torch.Tensor) for value in dict.values(state))
    ):
        raise CheckpointError(path, "holds no state_dict of tensors: not a checkpoint of a classifier")
    return {key.removeprefix("module."): value for key, value in _with_names(path, state, "state_dict").items()}


def _check_keys(path: str | os.PathLike, module: nn.Module, state: dict, described: dict) -> None:
    expected = module.state_dict()
    for key, value in state.items():
        if not is_plain(value) or (key in expected and value.is_floating_point() != expected[key].is_floating_point()):
            raise CheckpointError(path, f"{shown(key)} is no plain tensor of weights ({value.dtype}, {value.layout})")
    missing = [key for key in expected if key not in state]
    surplus = [key for key in state if key not in expected]
    other = [key for key in expected if key in state and expected[key].shape != state[key].shape]
    if missing or surplus or other:
        example = (other or missing or surplus)[0]
        raise CheckpointError(
            path,
            f"is not a {described['network']} on {described['encoder']}: {len(missing)} tensors missing, "
            f"{len(surplus)} unknown, {len(other)} of another shape (such as {shown(example)}); "
            "name its encoder with --encoder, or check that it is the right file",
        )
    for key, value in state.items():
        if not torch.isfinite(value).all():
            raise CheckpointError(
                path, f"{key} holds numbers that are not finite: training went wrong, or it is damaged"
            )
