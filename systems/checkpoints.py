"""Checkpoint files of any system, PyTorch's and safetensors': read safely, checked strictly."""

import contextlib
import hashlib
import os
import pickle
import reprlib
import sys
from typing import Any

import numpy as np
import torch
from torch import nn

from runtime.checkpoint_files import DamagedRecord, SafetensorsDamage, check_file, safetensors_header
from runtime.errors import UserError
from runtime.files import open_file
from systems.safetensors_files import checkpoint_of

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_DTYPES = (*_FLOATS, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


class CheckpointError(UserError):
    """A checkpoint file can't be used; the message names the file, the reason and the remedy."""

    def __init__(self, path: str | os.PathLike, reason: str):
        super().__init__(f"{os.fspath(path)}: {reason}")
        self._parts = os.fspath(path), reason

    def __reduce__(self):  # an exception goes between processes by what it was made of
        return type(self), self._parts


def file_digest(path: str | os.PathLike, most: int = sys.maxsize) -> str:
    """SHA-256 of a regular file of at most so many bytes, 16 digits. Raises CheckpointError where it can't be read."""
    try:
        with open_file(path, most) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError as error:
        raise CheckpointError(path, f"can't be opened ({error.strerror})") from error


# "bce_best" of the published files is a NumPy scalar, pickled under the names of NumPy 1
_SCALAR = np.float64(0).__reduce__()[0]
_SAFE = [
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_SCALAR, "numpy._core.multiarray.scalar"),
    np.dtype,
    type(np.dtype(np.float32)),
    type(np.dtype(np.float64)),
]


def read_checkpoint(path: str | os.PathLike, *, weights: bool = True) -> dict[str, Any]:
    """A checkpoint file's content, tensors on the CPU: of PyTorch's files, unpickled with `weights_only=True`, and of
    safetensors'. It is never larger in memory than it is on disk. Without `weights` these are left unread, and their
    values are of no use.

    Raises CheckpointError."""
    try:
        with open_file(path, sys.maxsize) as file, torch.serialization.safe_globals(_SAFE):
            header = safetensors_header(file)
            if header is not None:
                return checkpoint_of(file, header, weights=weights)
            check_file(file, whole=weights)
            with contextlib.nullcontext() if weights else torch.serialization.skip_data():
                content = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(path, "no such checkpoint; ./download_weights.sh fetches the published ones") from None
    except OSError as error:
        raise CheckpointError(path, f"can't be opened ({error.strerror or error})") from error
    except SafetensorsDamage as error:
        reason = f"is a damaged safetensors file ({shown(str(error))}); copy or export it again"
        raise CheckpointError(path, reason) from error
    except DamagedRecord as error:
        raise CheckpointError(path, f"is damaged ({error}); download or copy it again") from error
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


def state_dict_of(path: str | os.PathLike, checkpoint: dict) -> dict[str, torch.Tensor]:
    """The weights of a file that was read, bare or under "state_dict", without "module." in front. Raises
    CheckpointError."""
    state = checkpoint.get("state_dict", checkpoint)
    if (
        not isinstance(state, dict)
        or not state
        or not all(isinstance(value, torch.Tensor) for value in dict.values(state))
    ):
        raise CheckpointError(path, "holds no state_dict of tensors: not a checkpoint of a classifier")
    return {key.removeprefix("module."): value for key, value in _with_names(path, state, "state_dict").items()}


def check_weights(path: str | os.PathLike, module: nn.Module, state: dict, *, kind: str, remedy: str) -> None:
    """Raises CheckpointError where weights are not those of `module`, a `kind`, to the letter, or not finite."""
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
            f"is not a {kind}: {len(missing)} tensors missing, {len(surplus)} unknown, {len(other)} of another shape "
            f"(such as {shown(example)}); {remedy}",
        )
    for key, value in state.items():
        if not torch.isfinite(value).all():
            raise CheckpointError(
                path, f"{key} holds numbers that are not finite: training went wrong, or it is damaged"
            )
