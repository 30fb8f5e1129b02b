"""Mixup of aligned pairs: an original and its fake, the same face at the same place and time, are blended.

    x = (1 - t) real + t fake,    t ~ Beta(0.5, 0.5),    and t is what the network learns to tell

(arXiv:1710.09412, there of any two images.) A frame model gets a share for each image, a sequence model for each clip.
"""

import numpy as np
import torch
from torch.nn import functional as F

_ALPHA = 0.5


def draw_shares(count: int, draw: np.random.Generator) -> torch.Tensor:
    """Shares of the fake, float32 (count,), mostly near 0 or 1."""
    return torch.from_numpy(draw.beta(_ALPHA, _ALPHA, count).astype(np.float32))


def mix_frames(real: torch.Tensor, fake: torch.Tensor, shares: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Samples of a frame model: float32 (pairs, frames, 3, h, w) to images (frames * pairs, 3, h, w) and targets
    (frames * pairs, 1).

    `shares` (frames * pairs,) are of the images in their order, which is the first frame of all pairs, then the second.
    """
    real, fake = (images.transpose(0, 1).flatten(0, 1) for images in (real, fake))
    return _mix(real, fake, shares), shares[:, None]


def mix_clips(real: torch.Tensor, fake: torch.Tensor, shares: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Samples of a sequence model: float32 (pairs, frames, 3, h, w) to images (pairs * frames, 3, h, w), clip after
    clip, and targets (pairs * frames, 1), the same for all images of a clip. `shares` (pairs,) are of the clips."""
    shares = shares.repeat_interleave(real.shape[1])
    return _mix(real.flatten(0, 1), fake.flatten(0, 1), shares), shares[:, None]


def mixup_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean binary cross-entropy of logits (n, 1), of any float dtype, against shares of the fake (n, 1); in fp32."""
    return F.binary_cross_entropy_with_logits(logits.float(), targets)


def _mix(real: torch.Tensor, fake: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    shares = shares.view(-1, 1, 1, 1)
    return (1 - shares) * real + shares * fake
