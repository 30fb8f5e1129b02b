"""The classifiers: an EfficientNet encoder, pooling, dropout and one logit for "fake".

Input: float32 RGB (n, 3, size, size), normalised by ImageNet's mean and standard deviation. Output: logits (n, 1).
State-dict keys are the published ones: `encoder.*` (timm's, with its own unused classifier), `fc.weight`, `fc.bias`.
"""

import timm
import torch
from torch import nn

from systems.imagenet import PretrainedWeightsError

# old timm name: (timm 1.x name, features, drop_path_rate); b0 is added for tests and small machines
_ENCODERS = {
    "tf_efficientnet_b0_ns": ("tf_efficientnet_b0.ns_jft_in1k", 1280, 0.2),
    "tf_efficientnet_b2_ns": ("tf_efficientnet_b2.ns_jft_in1k", 1408, 0.2),
    "tf_efficientnet_b3_ns": ("tf_efficientnet_b3.ns_jft_in1k", 1536, 0.2),
    "tf_efficientnet_b4_ns": ("tf_efficientnet_b4.ns_jft_in1k", 1792, 0.5),
    "tf_efficientnet_b4_ns_03d": ("tf_efficientnet_b4.ns_jft_in1k", 1792, 0.3),
    "tf_efficientnet_b5_ns": ("tf_efficientnet_b5.ns_jft_in1k", 2048, 0.2),
    "tf_efficientnet_b5_ns_03d": ("tf_efficientnet_b5.ns_jft_in1k", 2048, 0.3),
    "tf_efficientnet_b5_ns_04d": ("tf_efficientnet_b5.ns_jft_in1k", 2048, 0.4),
    "tf_efficientnet_b6_ns": ("tf_efficientnet_b6.ns_jft_in1k", 2304, 0.2),
    "tf_efficientnet_b6_ns_04d": ("tf_efficientnet_b6.ns_jft_in1k", 2304, 0.4),
    "tf_efficientnet_b7_ns": ("tf_efficientnet_b7.ns_jft_in1k", 2560, 0.2),
}
ENCODERS = tuple(_ENCODERS)


def encoder_features(encoder: str) -> int:
    """Number of channels that the encoder's last feature map has. Raises ValueError for an unknown name."""
    return _described(encoder)[1]


def create_encoder(encoder: str, pretrained: bool) -> nn.Module:
    """Build an encoder by its old timm name; `pretrained` loads Noisy-Student ImageNet weights (a download).

    Raises ValueError for an unknown name and PretrainedWeightsError where the weights can't be fetched.
    """
    name, _, drop_path_rate = _described(encoder)
    try:
        return timm.create_model(name, pretrained=pretrained, drop_path_rate=drop_path_rate)
    except Exception as error:
        if not pretrained:
            raise
        raise PretrainedWeightsError(
            f"{name}: the pretrained weights could not be loaded ({type(error).__name__}: {error}). "
            "Run once with internet access, or copy the Hugging Face cache (HF_HOME, by default "
            f"~/.cache/huggingface) with timm/{name} from a machine that has it."
        ) from error


def _described(encoder: str) -> tuple[str, int, float]:
    if encoder not in _ENCODERS:
        raise ValueError(f"unknown encoder {encoder!r}; use one of {', '.join(ENCODERS)}")
    return _ENCODERS[encoder]


class GlobalWeightedAveragePool2d(nn.Module):
    """Average over space with learned weights exp(sigmoid(conv1x1(x))) (arXiv:1809.08264): (n, c, h, w) to (n, c)."""

    def __init__(self, features: int):
        super().__init__()
        self.conv = nn.Conv2d(features, 1, kernel_size=1, bias=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights = self.conv(x).sigmoid().exp()
        weights = weights / weights.sum(dim=(2, 3), keepdim=True)
        return (x * weights).sum(dim=(2, 3))


class DeepFakeClassifier(nn.Module):
    """Encoder, global average pool, dropout, linear: the network of the winning ensemble."""

    def __init__(self, encoder: str, dropout_rate: float = 0.0, pretrained: bool = False):
        super().__init__()
        self.encoder = create_encoder(encoder, pretrained)
        self.dropout = nn.Dropout(dropout_rate)
        self.fc = nn.Linear(encoder_features(encoder), 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.dropout(self.encoder.forward_features(x).mean((2, 3))))


class DeepFakeClassifierGWAP(nn.Module):
    """DeepFakeClassifier with global weighted average pooling."""

    def __init__(self, encoder: str, dropout_rate: float = 0.5, pretrained: bool = False):
        super().__init__()
        self.encoder = create_encoder(encoder, pretrained)
        self.avg_pool = GlobalWeightedAveragePool2d(encoder_features(encoder))
        self.dropout = nn.Dropout(dropout_rate)
        self.fc = nn.Linear(encoder_features(encoder), 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.dropout(self.avg_pool(self.encoder.forward_features(x))))


class DeepFakeClassifierSRM(nn.Module):
    """DeepFakeClassifier over the image's noise: three fixed SRM filters in front (Zhou et al., CVPR 2018)."""

    def __init__(self, encoder: str, dropout_rate: float = 0.5, pretrained: bool = False):
        super().__init__()
        self.encoder = create_encoder(encoder, pretrained)
        self.srm_conv = _srm_convolution()
        self.dropout = nn.Dropout(dropout_rate)
        self.fc = nn.Linear(encoder_features(encoder), 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.dropout(self.encoder.forward_features(self.srm_conv(x)).mean((2, 3))))


def _srm_convolution() -> nn.Conv2d:
    """A 5x5 convolution from 3 to 3 channels that is not trained; each kernel sees all three colours alike."""
    first = [[0, 0, 0, 0, 0], [0, -1, 2, -1, 0], [0, 2, -4, 2, 0], [0, -1, 2, -1, 0], [0, 0, 0, 0, 0]]
    second = [[-1, 2, -2, 2, -1], [2, -6, 8, -6, 2], [-2, 8, -12, 8, -2], [2, -6, 8, -6, 2], [-1, 2, -2, 2, -1]]
    third = [[0, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 1, -2, 1, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]]
    kernels = torch.stack([torch.tensor(first) / 4, torch.tensor(second) / 12, torch.tensor(third) / 2])
    convolution = nn.Conv2d(3, 3, kernel_size=5, padding=2, bias=False)
    convolution.weight = nn.Parameter(kernels[:, None].repeat(1, 3, 1, 1), requires_grad=False)
    return convolution


NETWORKS = {cls.__name__: cls for cls in (DeepFakeClassifier, DeepFakeClassifierSRM, DeepFakeClassifierGWAP)}
