"""Files of the classifiers' weights: the published ones, and ours, which say what they hold.

Published: a bare dict of 1200 tensors in half precision, of EfficientNet-B7, under the names of lukemelas'
implementation, in a folder whose name tells the model. Ours: {"system": "ntechlab", "network", "role", "encoder",
"input" (t, h, w), "normalize", "state_dict": the same names, single precision}.
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from runtime.errors import OutputError
from runtime.files import whole_file
from systems.checkpoints import CheckpointError, check_weights, read_checkpoint, shown, state_dict_of
from systems.imagenet import IMAGENET_MEAN, IMAGENET_STD
from systems.ntechlab.models import ENCODERS, HEIGHT, PUBLISHED_ENCODER, ROLES, SEQUENCE, WIDTH, create_network

SYSTEM = "ntechlab"
PUBLISHED_NAMES = {
    "large_crop": "efficientnet-b7_ns_aa-original-mstd0.5_large_crop_100k_v4_cad79a",
    "re": "efficientnet-b7_ns_aa-original-mstd0.5_re_100k_v4_cad79a",
    "seq": "efficientnet-b7_ns_seq_aa-original-mstd0.5_100k_v4_cad79a",
}
PUBLISHED_FILE = "snapshot_100000.fp16.pth"  # in a folder of that name

_OUTSIDE_BLOCKS = {
    "conv_stem": "_conv_stem",
    "bn1": "_bn0",
    "conv_head": "_conv_head",
    "bn2": "_bn1",
    "classifier": "_fc",
}
_IN_BLOCK = {
    "conv_pw": "_expand_conv",
    "bn1": "_bn0",
    "conv_dw": "_depthwise_conv",
    "bn2": "_bn1",
    "se.conv_reduce": "_se_reduce",
    "se.conv_expand": "_se_expand",
    "conv_pwl": "_project_conv",
    "bn3": "_bn2",
}
_IN_BLOCK_WITHOUT_EXPANSION = {
    **{name: _IN_BLOCK[name] for name in ("conv_dw", "se.conv_reduce", "se.conv_expand")},
    "bn1": "_bn1",
    "conv_pw": "_project_conv",
    "bn2": "_bn2",
}
_COUNTER = "num_batches_tracked"  # nothing depends on it; in half precision the published one is infinite


@dataclass(frozen=True, kw_only=True)
class LoadedClassifier:
    """A network in eval mode, fp32, on the CPU, with its role and the name of its encoder."""

    network: nn.Module
    role: str
    encoder: str


def published_keys(network: nn.Module) -> dict[str, str]:
    """timm's name of each tensor of a network of `create_network`: its name in published files."""
    names = dict(_OUTSIDE_BLOCKS)
    blocks = [(stage, place) for stage, inner in enumerate(network.blocks) for place in range(len(inner))]
    for number, (stage, place) in enumerate(blocks):
        expands = hasattr(network.blocks[stage][place], "conv_pwl")
        for timm_name, published in (_IN_BLOCK if expands else _IN_BLOCK_WITHOUT_EXPANSION).items():
            names[f"blocks.{stage}.{place}.{timm_name}"] = f"_blocks.{number}.{published}"
    keys = {}
    for key in network.state_dict():
        module, parameter = key.rsplit(".", 1)
        inner = module.removesuffix(".conv") if module not in names else module  # of a temporal expansion
        keys[key] = names[inner] + module.removeprefix(inner) + f".{parameter}"
    return keys


def published_state(network: nn.Module) -> dict[str, torch.Tensor]:
    """A network's tensors under their published names."""
    keys = published_keys(network)
    return {keys[key]: value for key, value in network.state_dict().items()}


def load_classifier(path: str | os.PathLike, role: str | None = None) -> LoadedClassifier:
    """Load a published file, or one of ours.

    The role is `role`, or what the file says, or what its folder's or its own name says. Keys must match to the letter,
    but counters of batches may be missing. Raises CheckpointError, also where a frame model is to be a sequence model
    or the other way round, and where nothing tells the role of a frame model.
    """
    content = read_checkpoint(path)
    state = _state_dict(path, content)
    encoder = content.get("encoder", PUBLISHED_ENCODER) if "state_dict" in content else PUBLISHED_ENCODER
    if not isinstance(encoder, str) or encoder not in ENCODERS:
        raise CheckpointError(path, f"its encoder {shown(encoder)!r} is unknown; known: {', '.join(ENCODERS)}")
    role = _role(path, role, content.get("role") if "state_dict" in content else None, is_sequence(state))
    with torch.device("meta"):  # no time spent on weights that are replaced at once
        network = create_network(role, encoder)
    _load(path, network, state, encoder)
    return LoadedClassifier(network=network.eval().requires_grad_(False), role=role, encoder=encoder)


def load_weights(path: str | os.PathLike, checkpoint: dict, network: nn.Module, *, role: str, encoder: str) -> None:
    """Copy the weights of a file that was read into a network of the same kind. Raises CheckpointError where it is of
    another."""
    state = _state_dict(path, checkpoint)
    for key, wanted in (("role", role), ("encoder", encoder)) if "state_dict" in checkpoint else ():
        if type(checkpoint.get(key)) is not str or checkpoint[key] != wanted:
            reason = f"its {key} is {shown(checkpoint.get(key))}, not {wanted}; name the right file or configuration"
            raise CheckpointError(path, reason)
    _load(path, network, state, encoder)


def save_classifier(path: str | os.PathLike, network: nn.Module, *, role: str, encoder: str, **extra) -> None:
    """Write a file of ours, whole or not at all; `extra` goes in as it is. Raises OutputError."""
    described = description(role=role, encoder=encoder)
    _save(path, {**extra, **described, "state_dict": published_state(network)})


def description(*, role: str, encoder: str) -> dict:
    """What a file of ours says of its network."""
    return {
        "system": SYSTEM,
        "network": "SequenceClassifier" if role == "seq" else "FrameClassifier",
        "role": role,
        "encoder": encoder,
        "input": [SEQUENCE if role == "seq" else 1, HEIGHT, WIDTH],
        "normalize": {"mean": list(IMAGENET_MEAN), "std": list(IMAGENET_STD)},
    }


def export_published(path: str | os.PathLike, network: nn.Module) -> None:
    """Write a file as published: bare tensors in half precision. Raises OutputError, also where a weight is too large
    for that."""
    state = {key: value.detach().cpu().half() for key, value in published_state(network).items()}
    for key, value in state.items():
        if not key.endswith(_COUNTER) and not torch.isfinite(value).all():
            raise OutputError(f"{os.fspath(path)}: {key} has numbers beyond half precision; keep the file as it is")
    _save(path, state)


def role_by_name(path: str | os.PathLike) -> str | None:
    """The role that the published name of a file, or of the folder that it is in, tells; None for other names."""
    for name in (Path(path).name, Path(path).absolute().parent.name):
        for role, published in PUBLISHED_NAMES.items():
            if name.startswith(published.partition("_v4_")[0]):
                return role
    return None


def is_sequence(keys: Iterable[str]) -> bool:
    """Whether published names of tensors are a sequence model's."""
    return any(re.fullmatch(r"_blocks\.\d+\._expand_conv\.conv\.weight", key) for key in keys)


def _role(path: str | os.PathLike, asked: str | None, told: object, sequence: bool) -> str:
    role = asked or told or role_by_name(path) or ("seq" if sequence else None)
    if role is None:
        raise CheckpointError(
            path,
            f"neither it nor its folder's name tells its role; name one of {', '.join(ROLES[:2])}, as it was trained",
        )
    if role not in ROLES:
        raise CheckpointError(path, f"its role {shown(role)!r} is unknown; known: {', '.join(ROLES)}")
    if sequence != (role == "seq"):
        kind, wanted = ("sequence", "frame") if sequence else ("frame", "sequence")
        raise CheckpointError(
            path, f"is a {kind} model, and {role} is the role of a {wanted} model; name the right file"
        )
    return role


def _state_dict(path: str | os.PathLike, content: dict) -> dict[str, torch.Tensor]:
    if "state_dict" in content and content.get("system") != SYSTEM:
        raise CheckpointError(
            path, "is no checkpoint of NtechLab's system; name one of its files, or the right --system"
        )
    return state_dict_of(path, content)


def _load(path: str | os.PathLike, network: nn.Module, state: dict[str, torch.Tensor], encoder: str) -> None:
    keys = published_keys(network)
    timm_keys = {published: key for key, published in keys.items()}
    state = {timm_keys.get(key, key): value for key, value in state.items()}
    for key in keys:
        if key.endswith(_COUNTER) and (key not in state or state[key].is_floating_point()):
            state[key] = torch.zeros((), dtype=torch.int64)
    kind = f"classifier of NtechLab's on {encoder}"
    check_weights(path, network, state, kind=kind, remedy="check that it is the right file")
    state = {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
    network.load_state_dict(state, assign=next(network.parameters()).is_meta)


def _save(path: str | os.PathLike, content: dict) -> None:
    with whole_file(path, "free some space or name another folder") as temporary:
        try:
            torch.save(content, temporary)
        except RuntimeError as error:  # how torch's own writer tells of a full disk
            raise OutputError(f"{os.fspath(path)}: can't be written ({error}); free some space") from error
