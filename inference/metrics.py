"""How good scores are: log loss as Kaggle took it, ROC AUC, average precision, accuracy.

    python -c "import numpy as np; from inference.metrics import *; print(log_loss(np.array([1]), np.array([0.5])))"

Input: labels (n,), 1 for fake and 0 for real, and scores (n,), probabilities of "fake". Output: a float; None where the
figure is undefined, as all are for no videos and AUC and average precision for videos of one label.
"""

import numpy as np

EPSILON = 1e-15  # scores are kept so far from 0 and 1, as in the competition
THRESHOLD = 0.5


def losses(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The log loss of each video, (n,)."""
    clipped = np.clip(scores.astype(np.float64), EPSILON, 1 - EPSILON)
    return -np.log(np.where(labels == 1, clipped, 1 - clipped))


def log_loss(labels: np.ndarray, scores: np.ndarray) -> float | None:
    return float(losses(labels, scores).mean()) if len(labels) else None


def roc_auc(labels: np.ndarray, scores: np.ndarray) -> float | None:
    """The probability that a fake's score exceeds a real video's; equal scores count one half (by mid-ranks)."""
    fakes, reals = _counts(labels)
    if not fakes or not reals:
        return None
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(count) - (count - 1) / 2)[place]
    return float((ranks[labels == 1].sum() - fakes * (fakes + 1) / 2) / (fakes * reals))


def average_precision(labels: np.ndarray, scores: np.ndarray) -> float | None:
    """The sum over falling thresholds of precision times the gain in recall; equal scores are one threshold."""
    fakes, reals = _counts(labels)
    if not fakes or not reals:
        return None
    values, place = np.unique(scores, return_inverse=True)
    found = np.bincount(place, weights=labels == 1, minlength=len(values))[::-1]  # fakes at each threshold
    taken = np.cumsum(np.bincount(place, minlength=len(values))[::-1])
    return float((found * np.cumsum(found) / taken).sum() / fakes)


def accuracy(labels: np.ndarray, scores: np.ndarray) -> float | None:
    """The share of videos on the right side of 0.5; 0.5 itself is on the side of the real ones."""
    return float(((scores > THRESHOLD) == (labels == 1)).mean()) if len(labels) else None


def _counts(labels: np.ndarray) -> tuple[int, int]:
    fakes = int((labels == 1).sum())
    return fakes, len(labels) - fakes
