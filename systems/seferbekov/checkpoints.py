"""Checkpoint files: the published format, read safely and strictly, written whole.

Published: {"state_dict": {"module.encoder...": tensor, ...}, "epoch": int, "bce_best": float}. This project's files say
besides what is needed to use them: "system", "network", "encoder", "input_size", and as files of all systems do
"input" (t, h, w) and "normalize".
"""

import os
from dataclasses import dataclass

import torch
from torch import nn

from runtime.errors import OutputError
from runtime.files import whole_file
from systems.checkpoints import CheckpointError, check_weights, read_checkpoint, shown, state_dict_of
from systems.imagenet import IMAGENET_MEAN, IMAGENET_STD
from systems.seferbekov.models import ENCODERS, NETWORKS

PUBLISHED = {"network": "DeepFakeClassifier", "encoder": "tf_efficientnet_b7_ns", "input_size": 380}
SYSTEM = "seferbekov"
_NORMALIZE = {"mean": list(IMAGENET_MEAN), "std": list(IMAGENET_STD)}  # of RGB from 0 to 1
_SIZES = range(32, 4097)


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A classifier in eval mode, fp32, on the CPU, its encoder's name, and the side of its square input in pixels."""

    module: nn.Module
    encoder: str
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
    _check_described(path, checkpoint, described)
    state = state_dict_of(path, checkpoint)
    with torch.device("meta"):  # no time spent on weights that are replaced at once
        module = NETWORKS[described["network"]](described["encoder"])
    _check_weights(path, module, state, described)
    module.load_state_dict(state, assign=True)
    module = module.float().eval().requires_grad_(False)
    return LoadedModel(module=module, encoder=described["encoder"], input_size=described["input_size"])


def description(*, network: str, encoder: str, input_size: int) -> dict:
    """What a file of ours says of its model."""
    return {
        "system": SYSTEM,
        "network": network,
        "encoder": encoder,
        "input_size": input_size,
        "input": [1, input_size, input_size],
        "normalize": _NORMALIZE,
    }


def save_model(
    path: str | os.PathLike, module: nn.Module, *, network: str, encoder: str, input_size: int, **extra
) -> None:
    """Write a checkpoint in the published format with a description of the model; whole or not at all.

    `extra` goes in as it is ("epoch", "bce_best", ...). Raises OutputError.
    """
    state = {key if key.startswith("module.") else f"module.{key}": value for key, value in module.state_dict().items()}
    described = description(network=network, encoder=encoder, input_size=input_size)
    content = {**extra, **described, "state_dict": state}
    with whole_file(path, "free some space or name another folder") as temporary:
        try:
            torch.save(content, temporary)
        except RuntimeError as error:  # how torch's own writer tells of a full disk
            raise OutputError(f"{os.fspath(path)}: can't be written ({error}); free some space") from error


def load_weights(path: str | os.PathLike, checkpoint: dict, module: nn.Module, *, network: str, encoder: str) -> None:
    """Copy the weights of a file that was read into a module. Raises CheckpointError where it is of another kind."""
    for key, wanted in (("system", SYSTEM), ("network", network), ("encoder", encoder)):
        if type(checkpoint.get(key, wanted)) is not str or checkpoint.get(key, wanted) != wanted:
            reason = f"its {key} is {shown(checkpoint[key])}, not {wanted}; name the right file or configuration"
            raise CheckpointError(path, reason)
    state = state_dict_of(path, checkpoint)
    _check_weights(path, module, state, {"network": network, "encoder": encoder})
    module.load_state_dict(state)


def _check_described(path: str | os.PathLike, checkpoint: dict, described: dict) -> None:
    system = checkpoint.get("system", SYSTEM)
    if type(system) is not str or system != SYSTEM:
        reason = f"its system is {shown(system)}, not {SYSTEM}; name the right file, or the right --system"
        raise CheckpointError(path, reason)
    if repr(checkpoint.get("normalize", _NORMALIZE)) != repr(_NORMALIZE):  # which no kind of value can break
        raise CheckpointError(path, "its images are not normalized by ImageNet's mean and std, which is all we know")
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


def _check_weights(path: str | os.PathLike, module: nn.Module, state: dict, described: dict) -> None:
    kind = f"{described['network']} on {described['encoder']}"
    remedy = "name its encoder with --encoder, or check that it is the right file"
    check_weights(path, module, state, kind=kind, remedy=remedy)
