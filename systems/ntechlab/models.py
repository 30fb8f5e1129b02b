"""The classifiers: EfficientNets of timm on single face images, and on sequences of seven, each image with its logit.

    network = create_network("seq", "tf_efficientnet_b7_ns", pretrained=True)
    logits = network(images)  # (7 n, 3, 224, 192), clip after clip, to (7 n, 1)

Images are RGB, normalised by ImageNet's mean and standard deviation. A sequence model is a frame model whose expansions
look at the frames before and behind too. `checkpoints.py` reads and writes their weights.
"""

import numpy as np
import timm
import torch
from torch import nn
from torch.nn import functional as F

from engines.gpu import in_halves
from systems.imagenet import IMAGENET_MEAN, IMAGENET_STD, PretrainedWeightsError

ROLES = ("large_crop", "re", "seq")  # two frame models, trained on other crops, and the sequence model
HEIGHT, WIDTH = 224, 192  # of an image, in pixels
SEQUENCE = 7  # images of a clip
ENCODERS = {f"tf_efficientnet_b{size}_ns": f"tf_efficientnet_b{size}.ns_jft_in1k" for size in range(8)}
PUBLISHED_ENCODER = "tf_efficientnet_b7_ns"
BN_MOMENTUM = 0.01  # of batch norms' statistics, as published: it takes some hundred steps to forget where they began
_REMEDY = "give a smaller --batch-size, or end what else runs on it"


class TemporalExpansion(nn.Module):
    """A block's expansion that looks at three neighbouring images of a clip: (7 n, c, h, w) to (7 n, outputs, h, w).

    `conv.weight` is (outputs, c, 3, 1, 1). A third of the weights of the 1x1 convolution that it replaces goes to each
    image: in the middle of a clip of one image seven times nothing changes.

    It is computed as a 1x1 convolution of the three images' channels side by side: libraries are a quarter faster at
    that than at the same in three dimensions.
    """

    def __init__(self, expansion: nn.Conv2d):
        super().__init__()
        self.conv = nn.Conv3d(expansion.in_channels, expansion.out_channels, (3, 1, 1), padding=(1, 0, 0), bias=False)
        self.conv.weight.data = (expansion.weight.detach() / 3)[:, :, None].repeat(1, 1, 3, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        around = F.pad(x.unflatten(0, (-1, SEQUENCE)), (0, 0, 0, 0, 0, 0, 1, 1))  # blank before and behind each clip
        three = torch.cat([around[:, place : place + SEQUENCE] for place in range(3)], dim=2)
        weight = self.conv.weight.flatten(2).transpose(1, 2).flatten(1)
        return F.conv2d(three.flatten(0, 1), weight[:, :, None, None])


def create_network(
    role: str, encoder: str = PUBLISHED_ENCODER, pretrained: bool = False, bn_momentum: float = BN_MOMENTUM
) -> nn.Module:
    """A network for one of `ROLES`, float32 (n, 3, h, w) to logits (n, 1); `n` of a sequence model is 7 times clips.

    Dropout 0.5 and drop path to 0.2, as published. `pretrained` loads Noisy-Student
    weights (a download), but for the classifier. Raises ValueError for an unknown role or encoder, and
    PretrainedWeightsError where the weights can't be fetched.
    """
    if role not in ROLES:
        raise ValueError(f"unknown role {role!r}; use one of {', '.join(ROLES)}")
    if encoder not in ENCODERS:
        raise ValueError(f"unknown encoder {encoder!r}; use one of {', '.join(ENCODERS)}")
    name = ENCODERS[encoder]
    try:
        network = timm.create_model(
            name,
            pretrained=pretrained,
            num_classes=1,
            drop_rate=0.5,
            drop_path_rate=0.2,
            bn_momentum=bn_momentum,
            bn_eps=1e-3,
        )
    except Exception as error:
        if not pretrained:
            raise
        raise PretrainedWeightsError(
            f"{name}: the pretrained weights could not be loaded ({type(error).__name__}: {error}). Run once with "
            f"internet access, or copy the Hugging Face cache (~/.cache/huggingface) with timm/{name} from elsewhere."
        ) from error
    network.classifier.reset_parameters()  # as PyTorch draws them: timm's are uniform in -1 to 1, for one output
    if role == "seq":
        for block in network.blocks.modules():
            if hasattr(block, "conv_pwl"):
                block.conv_pw = TemporalExpansion(block.conv_pw)
    return network


class Classifier:
    """A network in its role, on a device: uint8 images in, probabilities out.

    `dtype` is what convolutions are computed in, by autocast where it isn't float32.
    """

    def __init__(
        self,
        network: nn.Module,
        role: str,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ):
        self.role = role
        self._device, self._dtype = torch.device(device), dtype
        self._network = network.to(self._device).eval()
        self._mean, self._scale = (
            torch.tensor(values, device=self._device).view(3, 1, 1)
            for values in ([255 * mean for mean in IMAGENET_MEAN], [1 / (255 * std) for std in IMAGENET_STD])
        )

    def p_fake(self, images: np.ndarray) -> np.ndarray:
        """Probabilities "fake", float32 (n,), of uint8 RGB images (n, h, w, 3); for "seq" (n, 7), of (n, 7, h, w, 3).

        Raises ValueError for images of another shape, and DeviceError where a GPU has too little memory for one item.
        """
        clip = (SEQUENCE,) if self.role == "seq" else ()
        if images.ndim != 4 + len(clip) or images.shape[1:-3] != clip or images.shape[-1] != 3:
            wanted = ", ".join(map(str, ("n", *clip, "h", "w", 3)))
            raise ValueError(f"{self.role} takes images ({wanted}), not {images.shape}")
        if not len(images):
            return np.zeros((0, *clip), np.float32)
        return np.stack(in_halves(self._probabilities, images, _REMEDY))

    @torch.inference_mode()
    def _probabilities(self, images: np.ndarray) -> list[np.ndarray]:
        x = torch.from_numpy(np.ascontiguousarray(images)).to(self._device).flatten(0, -4).permute(0, 3, 1, 2)
        x = (x.float() - self._mean) * self._scale
        with torch.autocast(self._device.type, self._dtype, enabled=self._dtype != torch.float32):
            logits = self._network(x)
        return list(logits.float().sigmoid().view(images.shape[:-3]).cpu().numpy())
