"""How good scores are: all figures of many sets of weights at once, as the bootstrap needs them.

Each figure is scikit-learn's with `sample_weight`, where scikit-learn has it. A weight of 0 leaves a video out.

    log_loss             mean of -log(score of what the video is), with scores kept 1e-15 from 0 and 1
    roc_auc              the probability that a fake's score exceeds a real video's; equal scores count one half
    average_precision    the sum over falling thresholds of precision times the gain in recall
    accuracy             the share on the right side of 0.5; 0.5 itself is on the side of the real ones
    true_positive_rate   the share of the fakes, and
    false_positive_rate  that of the real videos, whose score exceeds 0.5
    eer                  the rate of errors where the share of fakes that are missed equals that of real videos that
                         are accused; between two thresholds on the straight line of the ROC curve
    tpr_at_fpr_X         the largest share of fakes that a threshold finds which accuses at most the share X of the real
    partial_auc          the area of the ROC curve up to a false positive rate of 0.1, in McClish's standard form: 0.5
                         is chance and 1 is perfect (scikit-learn's roc_auc_score(max_fpr=0.1))
    brier                mean square of score - label
    ece                  expected calibration error of ten bins of scores of equal width: the mean over the videos of
                         |share of fakes in the bin - mean score in the bin|
    coverage             the share of the videos whose score is not 0.5, which stands for no face and for no file
"""

import numpy as np

from evaluation.submissions import UNKNOWN
from inference import metrics

RATES = (0.001, 0.01, 0.05, 0.1)  # false positive rates
PARTIAL = 0.1  # the false positive rate that the partial area goes up to
BINS = 10  # of scores
TPR_NAMES = tuple(f"tpr_at_fpr_{rate:g}" for rate in RATES)
NAMES = (
    "log_loss",
    "roc_auc",
    "average_precision",
    "accuracy",
    "true_positive_rate",
    "false_positive_rate",
    "eer",
    *TPR_NAMES,
    "partial_auc",
    "brier",
    "ece",
    "coverage",
)
HIGHER_IS_BETTER = {
    *("roc_auc", "average_precision", "accuracy", "true_positive_rate", *TPR_NAMES, "partial_auc", "coverage")
}


class WeightedFigures:
    """The figures of some videos as a function of their weights.

    `labels` (n,) are 1 for fake and 0 for real, `scores` (n,) probabilities of "fake".
    """

    def __init__(self, labels: np.ndarray, scores: np.ndarray):
        labels, scores = np.asarray(labels) == 1, np.asarray(scores, np.float64)
        thresholds = np.unique(scores)[::-1]
        self._fakes, self._found = _above(thresholds, scores, np.flatnonzero(labels))
        self._real, self._accused = _above(thresholds, scores, np.flatnonzero(~labels))
        flagged = scores > metrics.THRESHOLD
        sums = (
            np.ones(len(scores)),
            labels,
            ~labels,
            labels & flagged,
            ~labels & flagged,
            metrics.losses(labels, scores),
            (scores - labels) ** 2,
            scores != UNKNOWN,
        )
        self._summed = np.stack(sums).astype(np.float64)
        self._gaps = np.zeros((BINS, len(scores)))
        self._gaps[bins_of(scores), np.arange(len(scores))] = labels - scores

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        """Figures (m, len(NAMES)) float64, in the order of NAMES, of weights (m, n): NaN where one is undefined."""
        with np.errstate(invalid="ignore", divide="ignore"):
            total, fakes, real, found, accused, losses, squares, known = _products(self._summed, weights)
            values = {
                "log_loss": losses / total,
                "accuracy": (found + real - accused) / total,
                "true_positive_rate": found / fakes,
                "false_positive_rate": accused / real,
                "brier": squares / total,
                "ece": np.abs(_products(self._gaps, weights)).sum(axis=0) / total,
                "coverage": known / total,
                **self._ranked(weights),
            }
        return np.stack([values[name] for name in NAMES], axis=1)

    def _ranked(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """What depends on the order of the scores alone, (m,) each."""
        found = _sums(weights, self._fakes)[:, self._found]
        accused = _sums(weights, self._real)[:, self._accused]
        tpr, fpr = found / found[:, -1:], accused / accused[:, -1:]
        gains, costs = np.diff(tpr, axis=1), np.diff(fpr, axis=1)
        areas = costs * (tpr[:, 1:] + tpr[:, :-1])  # twice those of the steps of the curve
        flagged = np.maximum(found + accused, np.finfo(np.float64).tiny)
        last = np.array([np.searchsorted(row, (*RATES, PARTIAL), "right") - 1 for row in fpr])
        rows = np.arange(len(weights))
        values = {
            "roc_auc": areas.sum(axis=1) / 2,
            "average_precision": np.einsum("ij,ij->i", gains, found[:, 1:] / flagged[:, 1:]),
            "eer": _equal_error(tpr, fpr),
            "partial_auc": _partial_area(tpr, fpr, areas, last[:, -1]),
            **{name: tpr[rows, last[:, place]] for place, name in enumerate(TPR_NAMES)},
        }
        both = np.isfinite(tpr[:, -1] + fpr[:, -1])
        return {name: np.where(both, value, np.nan) for name, value in values.items()}


def _products(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Sums (k, m) of values (k, n) with weights (m, n). BLAS would start threads for each of thousands of them."""
    return np.einsum("kn,mn->km", values, weights)


def _above(thresholds: np.ndarray, scores: np.ndarray, videos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`videos` by falling score, and how many of them each threshold has at or above it, after a 0 for none at all."""
    ordered = videos[np.argsort(-scores[videos], kind="stable")]
    counts = np.searchsorted(-scores[ordered], -thresholds, "right")
    return ordered, np.append(0, counts)


def _sums(weights: np.ndarray, videos: np.ndarray) -> np.ndarray:
    """The weights (m, v + 1) of the first of the videos, from none to all."""
    sums = np.zeros((len(weights), len(videos) + 1))
    np.cumsum(weights[:, videos], axis=1, out=sums[:, 1:])
    return sums


def _equal_error(tpr: np.ndarray, fpr: np.ndarray) -> np.ndarray:
    """Where the share of fakes that are missed and that of real videos that are accused cross, (m,)."""
    rows, sums = np.arange(len(tpr)), tpr + fpr  # 1 where they cross; never falling
    after = np.clip([np.searchsorted(row, 1.0) for row in sums], 1, tpr.shape[1] - 1)
    before = after - 1
    share = (1 - sums[rows, before]) / (sums[rows, after] - sums[rows, before])
    return fpr[rows, before] + share * (fpr[rows, after] - fpr[rows, before])


def _partial_area(tpr: np.ndarray, fpr: np.ndarray, areas: np.ndarray, last: np.ndarray) -> np.ndarray:
    """`last` (m,) are the last places of the curve whose false positive rate is at most PARTIAL."""
    rows, before = np.arange(len(tpr)), np.clip(last, 0, tpr.shape[1] - 2)
    after = before + 1
    width = PARTIAL - fpr[rows, before]
    slope = (tpr[rows, after] - tpr[rows, before]) / (fpr[rows, after] - fpr[rows, before])
    whole = np.array([row[:end].sum() for row, end in zip(areas, before, strict=True)]) / 2
    area = whole + width * (tpr[rows, before] + width * slope / 2)
    least = PARTIAL**2 / 2
    return (1 + (area - least) / (PARTIAL - least)) / 2


def bins_of(scores: np.ndarray) -> np.ndarray:
    """The number of the bin of each score, (n,), with borders as scikit-learn's calibration_curve has them."""
    return np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], scores)


def figures_of(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> dict[str, float | None]:
    """Each figure by name, None where it is undefined. `weights` (n,) are 1 where they are not given."""
    weights = np.ones(len(scores)) if weights is None else np.asarray(weights, np.float64)
    values = WeightedFigures(labels, scores)(weights[None])[0].tolist()
    return {name: None if np.isnan(value) else value for name, value in zip(NAMES, values, strict=True)}
