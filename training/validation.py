"""Validation: each video's score is the mean of its frames' probabilities."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_LEAST = 1e-15  # probabilities are kept so far from 0 and 1


@dataclass(frozen=True, kw_only=True)
class Validation:
    """Log loss over fake and over real videos, and each video's probability and label."""

    fake_loss: float
    real_loss: float
    probs: dict[str, float]
    targets: dict[str, int]

    @property
    def bce(self) -> float:
        return (self.fake_loss + self.real_loss) / 2


def score_videos(frames: Sequence[tuple[str, int, float]]) -> Validation:
    """From (video, label, probability) of each frame. Videos of both labels must be there."""
    by_video: dict[str, list[float]] = defaultdict(list)
    targets = {}
    for video, label, probability in frames:
        by_video[video].append(probability)
        targets[video] = label
    probs = {video: float(np.mean(by_video[video])) for video in sorted(by_video)}
    scores = np.array(list(probs.values()))
    labels = np.array([targets[video] for video in probs])
    return Validation(
        fake_loss=log_loss(scores[labels == 1], 1),
        real_loss=log_loss(scores[labels == 0], 0),
        probs=probs,
        targets={video: targets[video] for video in probs},
    )


def log_loss(probabilities: np.ndarray, label: int) -> float:
    """Mean binary log loss of probabilities of "fake", (n,), whose label is the same for all."""
    clipped = np.clip(probabilities.astype(np.float64), _LEAST, 1 - _LEAST)
    return float(-np.log(clipped if label else 1 - clipped).mean())
