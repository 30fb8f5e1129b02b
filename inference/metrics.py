"""How good scores are: log loss as Kaggle took it, ROC AUC, average precision, accuracy.

    python -c "import numpy as np; from inference.metrics import *; print(log_loss(np.array([1]), np.array([0.5])))"

Input: labels (n,), 1 for fake and 0 for real, and scores (n,), probabilities of "fake". Output: a float; None where the
figure is undefined, as all are for no videos and AUC and average precision for videos of one label.
"""

import numpy as np

EPSILON = 1e-15  # Scores are kept so far from 0 and 1 as in the competition; scikit-learn's log loss uses 2.2e-16.
THRESHOLD = 0.5


def losses(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The log loss of each video, (n,)."""
    clipped = np.clip(scores.astype(np.float64), EPSILON, 1 - EPSILON)
    return -np.log(np.where(labels == 1, clipped, 1 - clipped))


def log_loss(labels: np.ndarray, scores: np.ndarray) -> float | None:
    return float(losses(labels, scores).mean()) if len(labels) else None


def roc_auc(labels: np.ndarray, scores: np.ndarray) -> float | None:
    """The probability that a fake's score exceeds a real video's; equal scores count one half."""
    if not _has_both(labels):
        return None
    from sklearn.metrics import roc_auc_score  # It takes seconds to load.

    return float(roc_auc_score(labels == 1, scores))


def average_precision(labels: np.ndarray, scores: np.ndarray) -> float | None:
    """The sum over falling thresholds of precision times the gain in recall; equal scores are one threshold."""
    if not _has_both(labels):
        return None
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(labels == 1, scores))


def accuracy(labels: np.ndarray, scores: np.ndarray) -> float | None:
    """The share of videos on the right side of 0.5; 0.5 itself is on the side of the real ones."""
    return float(((scores > THRESHOLD) == (labels == 1)).mean()) if len(labels) else None


def _has_both(labels: np.ndarray) -> bool:
    return len(np.unique(labels == 1)) == 2
