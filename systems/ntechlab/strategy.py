"""A video's score from all probabilities of its faces, whichever model gave them."""

from collections.abc import Sequence

import numpy as np

UNKNOWN = 0.5  # the score of a video in which no face could be followed
_POWER = 0.65
_LOWEST, _HIGHEST = 0.01, 0.99


def weighted_mean(probabilities: Sequence[float]) -> float:
    """Probabilities "fake" (n,) to one, in single precision as published: stretched away from 0.5, clipped to 0.01 and
    0.99, and weighted by their distance from it. `UNKNOWN` where there are none."""
    if not len(probabilities):
        return UNKNOWN
    stretched, weights = stretch(np.asarray(probabilities, np.float32))
    return float((stretched * weights).sum() / weights.sum())


def stretch(probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For float32 (n,): the probabilities moved away from 0.5, and the weight of each."""
    distance = probabilities - np.float32(0.5)
    stretched = np.float32(0.5) + np.sign(distance) * np.abs(distance) ** np.float32(_POWER)
    return np.clip(stretched, _LOWEST, _HIGHEST), np.abs(distance) + np.float32(1e-4)
