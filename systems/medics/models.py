"""The eight published models: what they see, how a picture becomes their input, and the files of their weights.

A model takes clips as they are cut, uint8 RGB, 256 x 256; crop, size, normalisation, channel order and class order stay
in here. Class 0 of the 3D networks is FAKE and class 1 REAL; the 2D network's one logit is FAKE's.
"""

import os
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import video

from runtime.errors import OutputError
from runtime.files import whole_file
from systems.checkpoints import CheckpointError, check_weights, read_checkpoint, shown, state_dict_of
from systems.imagenet import IMAGENET_MEAN, IMAGENET_STD
from systems.medics.clips import SIZE
from systems.medics.i3d import I3D
from systems.medics.resnet3d import ResNet34

SYSTEM = "medics"
FAKE, REAL = 0, 1
CROP = 224  # of 256, what the 3D networks see


@dataclass(frozen=True, kw_only=True)
class Normalisation:
    """(pixel / `divisor` - mean) / std, for each channel in the network's order."""

    divisor: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


_IMAGENET = Normalisation(divisor=255, mean=IMAGENET_MEAN, std=IMAGENET_STD)
_MIDDLE = Normalisation(divisor=255, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
_AS_IS = Normalisation(divisor=1, mean=(0, 0, 0), std=(1, 1, 1))


class SEResNeXt50(nn.Module):
    """Float (n, 3, h, w), BGR, to one logit (n,), positive for a fake; timm's network under the published keys."""

    def __init__(self, dropout: float = 0.5):
        super().__init__()
        self.backbone = timm.create_model("legacy_seresnext50_32x4d", pretrained=False, num_classes=0)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(self.backbone.num_features, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.dropout(self.backbone(x)))[:, 0]


def _mc3() -> nn.Module:
    return video.mc3_18(num_classes=2)


def _r2plus1d() -> nn.Module:
    return video.r2plus1d_18(num_classes=2)


def _resnet10() -> nn.Module:
    """A fiftieth of ResNet34's work, for training on a laptop."""
    return ResNet34(blocks=(1, 1, 1, 1), width=16)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "I3D": I3D,
    "ResNet34": ResNet34,
    "mc3_18": _mc3,
    "r2plus1d_18": _r2plus1d,
    "SEResNeXt50": SEResNeXt50,
    "ResNet10": _resnet10,
}
_LEAST_FRAMES = {"I3D": 9}  # its head averages over two positions, each of 8 frames; the others take any number


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A model. `frames` in a clip it is trained on; `size` of its input in pixels; `file` is the published checkpoint,
    or a name for ours."""

    name: str
    network: str
    frames: int
    size: int
    normalisation: Normalisation
    file: str

    @property
    def is_3d(self) -> bool:
        return self.network != "SEResNeXt50"

    @property
    def least_frames(self) -> int:
        """The shortest clip that the network can take."""
        return _LEAST_FRAMES.get(self.network, 1)


def _spec(name: str, network: str, frames: int, size: int, normalisation: Normalisation, file: str) -> ModelSpec:
    return ModelSpec(name=name, network=network, frames=frames, size=size, normalisation=normalisation, file=file)


MODELS = {
    spec.name: spec
    for spec in (
        _spec("i3d", "I3D", 64, 224, _MIDDLE, "j3d_e1_l0.1374.model"),
        # its Kinetics weights were trained on 0 to 255
        _spec("res34", "ResNet34", 32, 224, _AS_IS, "res34_1cy_minaug_nonorm_e4_l0.1794.model"),
        _spec("mc3_112", "mc3_18", 32, 112, _IMAGENET, "mc3_18_112_1cy_lilaug_nonorm_e9_l0.1905.model"),
        _spec("mc3_224", "mc3_18", 32, 224, _IMAGENET, "mc3_18_112t224_1cy_lilaug_nonorm_e7_l0.1901.model"),
        _spec("r2p1_112", "r2plus1d_18", 32, 112, _IMAGENET, "r2p1_18_8_112tr_112te_e12_l0.1741.model"),
        _spec("i3d_cutmix", "I3D", 64, 224, _MIDDLE, "i3dcutmix_e11_l0.1612.model"),
        _spec("r2p1_cutmix", "r2plus1d_18", 32, 112, _IMAGENET, "r2plus1dcutmix_112_e10_l0.1608.model"),
        # RGB's mean and deviation on BGR, as published
        _spec("seresnext50", "SEResNeXt50", 1, 256, _IMAGENET, "SRXT50_094_VM-0.2504.PTH"),
    )
}
OURS = {"res10": _spec("res10", "ResNet10", 16, 112, _IMAGENET, "res10.model")}  # not published: the demo's


class FaceModel(nn.Module):
    """A network with what lies before and behind it. Training feeds it `normalise`d pictures; all else uses `p_fake`.

    The state dict that counts is that of `network`, whose keys are the published ones.
    """

    def __init__(self, spec: ModelSpec, network: nn.Module):
        super().__init__()
        self.spec = spec
        self.network = network
        for name, values in (("mean", spec.normalisation.mean), ("std", spec.normalisation.std)):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32).view(3, 1, 1, 1), persistent=False)

    @property
    def device(self) -> torch.device:
        return self.mean.device

    @abstractmethod
    def normalise(self, clips: torch.Tensor) -> torch.Tensor:
        """The network's input, float32 on its device, of pictures that have its size: uint8 RGB (n, t, h, w, 3)."""

    @abstractmethod
    def logits(self, clips: torch.Tensor) -> torch.Tensor:
        """The network's logits for clips as they are cut, uint8 RGB (n, t, 256, 256, 3)."""

    @abstractmethod
    def p_fake(self, clips: torch.Tensor) -> torch.Tensor:
        """The probability of each clip, float32 (n,), that it is fake; `clips` uint8 RGB (n, t, 256, 256, 3).

        Raises ValueError where clips are of another shape or type, or shorter than the network can take.
        """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(x)

    def _normalised(self, channels: torch.Tensor) -> torch.Tensor:
        """Of uint8 (n, 3, t, h, w) in the network's order of channels; rounded in the published order of operations."""
        pixels = channels.to(self.mean.device, torch.float32, copy=True)
        return pixels.div_(self.spec.normalisation.divisor).sub_(self.mean).div_(self.std)

    def _on_device(self, clips: torch.Tensor) -> torch.Tensor:
        """The clips where the network is, still as uint8: as float32 they would be four times as much to copy."""
        name, shape = self.spec.name, tuple(clips.shape)
        if clips.dtype != torch.uint8 or clips.ndim != 5 or shape[2:] != (SIZE, SIZE, 3):
            raise ValueError(f"{name}: clips are {clips.dtype} {shape}; give uint8 RGB (n, t, {SIZE}, {SIZE}, 3)")
        if shape[1] < self.spec.least_frames:
            raise ValueError(f"{name}: a clip of {shape[1]} frames; it takes {self.spec.least_frames} or more")
        return clips.to(self.device)


class ClipModel(FaceModel):
    """A 3D network: input (n, 3, t, size, size), logits (n, 2) of FAKE and REAL."""

    def normalise(self, clips: torch.Tensor) -> torch.Tensor:
        return self._normalised(clips.permute(0, 4, 1, 2, 3).contiguous())

    def logits(self, clips: torch.Tensor) -> torch.Tensor:
        clips = self._on_device(clips)
        edge = (SIZE - CROP) // 2
        x = self.normalise(clips[:, :, edge : edge + CROP, edge : edge + CROP])
        if self.spec.size < CROP:  # half of it: inference averages 2 x 2 pixels
            step = CROP // self.spec.size
            x = F.avg_pool3d(x, (1, step, step))
        return self.network(x)

    def p_fake(self, clips: torch.Tensor) -> torch.Tensor:
        return p_fake_of_clips(self.logits(clips))


class FrameModel(FaceModel):
    """The 2D network: input (n * t, 3, size, size), one logit for each frame."""

    def normalise(self, clips: torch.Tensor) -> torch.Tensor:
        bgr = clips.flip(4).permute(0, 1, 4, 2, 3).flatten(0, 1).contiguous()
        return self._normalised(bgr[:, :, None])[:, :, 0]

    def logits(self, clips: torch.Tensor) -> torch.Tensor:
        return self.network(self.normalise(self._on_device(clips))).view(clips.shape[:2])

    def p_fake(self, clips: torch.Tensor) -> torch.Tensor:
        return p_fake_of_frames(self.logits(clips))


def p_fake_of_clips(logits: torch.Tensor) -> torch.Tensor:
    """Probabilities (n,) of a 3D network's logits (n, 2)."""
    return 1 - logits.float().softmax(dim=1)[:, REAL]


def p_fake_of_frames(logits: torch.Tensor) -> torch.Tensor:
    """Probabilities (n,) of the 2D network's logits (n, t): the median, of an even number the lower middle value."""
    return logits.float().sigmoid().median(dim=1).values


def create_model(name: str, *, shortcut_gradient: bool = True) -> FaceModel:
    """A model with new weights, drawn from PyTorch's generator. `shortcut_gradient` is the 3D ResNet-34's (see there).

    Raises ValueError for a name that is unknown.
    """
    spec = model_spec(name)
    network = ResNet34(shortcut_gradient=shortcut_gradient) if spec.network == "ResNet34" else NETWORKS[spec.network]()
    return _model(spec, network)


def load_model(name: str, path: str | os.PathLike) -> FaceModel:
    """A model with the weights of a checkpoint, published or this project's, in eval mode, fp32, on the CPU.

    Keys must match to the letter, with or without "module." in front. Raises ValueError for a name that is
    unknown, and CheckpointError where the file can't be read, is another model's or holds other tensors.
    """
    spec = model_spec(name)
    with torch.device("meta"):  # no time spent on weights that are replaced at once
        network = NETWORKS[spec.network]()
    state = read_weights(path, spec, network)
    network.load_state_dict(state, assign=True)
    return _model(spec, network.float()).eval().requires_grad_(False)


def save_model(path: str | os.PathLike, model: FaceModel) -> None:
    """Write a checkpoint as published, a bare state dict; whole or not at all. Raises OutputError."""
    _save(path, model.network.state_dict())


def save_checkpoint(path: str | os.PathLike, model: FaceModel, **extra: Any) -> None:
    """Write a checkpoint of ours, which says what it holds; `extra` goes in as it is. Raises OutputError."""
    _save(path, {**extra, **description(model.spec), "state_dict": model.network.state_dict()})


def description(spec: ModelSpec) -> dict[str, Any]:
    """What a checkpoint of ours says of its model."""
    return {
        "system": SYSTEM,
        "model": spec.name,
        "network": spec.network,
        "input": [spec.frames, spec.size, spec.size],
        "normalize": {
            key: value if key == "divisor" else list(value) for key, value in vars(spec.normalisation).items()
        },
    }


def load_weights(path: str | os.PathLike, checkpoint: dict, model: FaceModel) -> None:
    """Copy the weights of a file that was read into a model. Raises CheckpointError where it is of another."""
    told = name_of(path, checkpoint)
    if told not in (None, model.spec.name):
        raise CheckpointError(path, f"is a model {told}, not {model.spec.name}; name the right file or configuration")
    model.network.load_state_dict(_checked(path, checkpoint, model.spec, model.network))


def name_of(path: str | os.PathLike, checkpoint: dict) -> str | None:
    """The model that a checkpoint of ours says it is; None of a published one. Raises CheckpointError where it is none
    of The Medics'."""
    if "state_dict" not in checkpoint or "system" not in checkpoint:
        return None
    system, name = checkpoint["system"], checkpoint.get("model")
    if type(system) is not str or system != SYSTEM:
        raise CheckpointError(path, f"its system is {shown(system)}, not {SYSTEM}; name the right --system")
    if type(name) is not str or name not in {**MODELS, **OURS}:
        raise CheckpointError(path, f"its model {shown(name)!r} is unknown; known: {', '.join({**MODELS, **OURS})}")
    return name


def _save(path: str | os.PathLike, content: dict) -> None:
    with whole_file(path, "free some space or name another folder") as temporary:
        try:
            torch.save(content, temporary)
        except RuntimeError as error:  # how torch's own writer tells of a full disk
            raise OutputError(f"{os.fspath(path)}: can't be written ({error}); free some space") from error


def model_spec(name: str) -> ModelSpec:
    """Raises ValueError for a name that is unknown."""
    known = {**MODELS, **OURS}
    if name not in known:
        raise ValueError(f"unknown model {name!r}; use one of {', '.join(known)}")
    return known[name]


def read_weights(path: str | os.PathLike, spec: ModelSpec, network: nn.Module) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint for a model's network. Raises CheckpointError where others are there."""
    return _checked(path, read_checkpoint(path), spec, network)


def _checked(path: str | os.PathLike, checkpoint: dict, spec: ModelSpec, network: nn.Module) -> dict[str, torch.Tensor]:
    state = state_dict_of(path, checkpoint)
    shapes = {key: value.shape for key, value in state.items()}
    other = next((each for each in NETWORKS if shapes == _shapes(each)), spec.network)
    if other != spec.network:
        names = ", ".join(each.name for each in (*MODELS.values(), *OURS.values()) if each.network == other)
        raise CheckpointError(
            path,
            f"holds the network {other}, and {spec.name} is {spec.network}; use it as one of {names}, or name another "
            "file",
        )
    remedy = f"check that it is a file of one of {', '.join((*MODELS, *OURS))}"
    check_weights(path, network, state, kind=spec.network, remedy=remedy)
    return state


def _model(spec: ModelSpec, network: nn.Module) -> FaceModel:
    return (ClipModel if spec.is_3d else FrameModel)(spec, network)


@cache
def _shapes(network: str) -> dict[str, torch.Size]:
    with torch.device("meta"):
        return {key: value.shape for key, value in NETWORKS[network]().state_dict().items()}
