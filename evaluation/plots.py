"""What scores look like: ROC and DET curves, reliability, and how many videos got which score. matplotlib figures."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator
from scipy.special import ndtri

from evaluation.assessment import Assessment
from evaluation.bootstrap import intervals, replicate
from evaluation.estimates import Sample
from evaluation.exact import binomial_interval
from evaluation.figures import BINS, RATES, TPR_NAMES, bins_of
from inference import metrics

_FAKE, _REAL, _CURVE, _SOFT = "#d55e00", "#0072b2", "#222222", "#777777"  # told apart by the colour-blind too
_SIZE, _DPI = (6.4, 5.8), 130  # inches
_HISTOGRAM_BINS = 25
_DET_TICKS = (0.0001, 0.001, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.99, 0.999, 0.9999)


def plots_of(assessment: Assessment) -> dict[str, Figure]:
    """Figures by name. Curves are left out where all videos are fake, or all are real."""
    sample = assessment.sample
    curves = (roc, roc_log, det) if len(np.unique(sample.labels)) == 2 else ()
    return {
        **{curve.__name__: curve(assessment) for curve in curves},
        "reliability": reliability(assessment),
        "histogram": histogram(sample),
    }


def roc(assessment: Assessment) -> Figure:
    """Fakes found against real videos accused."""
    figure, axes = _curve_plot(assessment, "ROC curve")
    axes.plot([0, 1], [0, 1], color=_SOFT, linestyle=":", label="chance")
    axes.set_xlim(-0.02, 1.02)
    axes.legend(loc="lower right", fontsize=9)
    return figure


def roc_log(assessment: Assessment) -> Figure:
    """The same by the logarithm of the false positive rate, where the small ones are seen."""
    real = int((assessment.sample.labels == 0).sum())
    least = min(1e-3, 0.5 / real)
    figure, axes = _curve_plot(assessment, "ROC curve, small false positive rates")
    rates = np.geomspace(least, 1, 200)
    axes.plot(rates, rates, color=_SOFT, linestyle=":", label="chance")
    axes.axvspan(least, 1 / real, color="0.93", label=f"less than one of {real} real videos")
    axes.set_xscale("log")
    axes.set_xlim(least, 1)
    axes.xaxis.set_major_formatter(_percent)
    axes.legend(loc="best", fontsize=9)
    return figure


def _curve_plot(assessment: Assessment, title: str) -> tuple[Figure, Axes]:
    """The curve, and the shares of fakes found at the false positive rates that are told, with their intervals."""
    from sklearn.metrics import roc_curve

    sample = assessment.sample
    fpr, tpr, _ = roc_curve(sample.labels, sample.scores)
    figure = Figure(figsize=_SIZE, dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.step(fpr, tpr, where="post", color=_CURVE, linewidth=1.8, label="these videos")
    marks = [(rate, assessment.figures[name]) for rate, name in zip(RATES, TPR_NAMES, strict=True)]
    for rate, each in marks:
        if each.low is not None:
            axes.vlines(rate, each.low, each.high, color=_FAKE)
    marks = [(rate, each.value) for rate, each in marks if each.value is not None]
    if marks:
        axes.plot(*zip(*marks, strict=True), "o", color=_FAKE, label="at a fixed rate, 95 % interval")
    axes.set_xlabel("false positive rate: real videos accused")
    axes.set_ylabel("true positive rate: fakes found")
    axes.set_ylim(-0.02, 1.02)
    axes.xaxis.set_major_formatter(_percent)
    axes.yaxis.set_major_formatter(_percent)
    axes.grid(alpha=0.3)
    axes.set_title(f"{title}\n{_counts(sample)}", fontsize=12)
    return figure, axes


def det(assessment: Assessment) -> Figure:
    """Both errors on normal scales, where scores that are normally distributed make a straight line."""
    from sklearn.metrics import det_curve

    sample = assessment.sample
    fakes, real = int(sample.labels.sum()), int((1 - sample.labels).sum())
    accused, missed, _ = det_curve(sample.labels, sample.scores)
    figure = Figure(figsize=_SIZE, dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    least = min(0.5 / max(fakes, real), 0.1)  # a rate of 0 is infinitely far away
    across, up = (ndtri(np.clip(rates, least, 1 - least)) for rates in (accused, missed))
    axes.plot(across, up, color=_CURVE, linewidth=1.8, marker="." if len(across) < 50 else None)
    low, high = ndtri(least), ndtri(1 - least)
    axes.plot([low, high], [low, high], color=_SOFT, linestyle=":", label="equal errors")
    eer = assessment.figures["eer"].value
    where = ndtri(np.clip(eer, least, 1 - least))
    axes.plot([where], [where], "o", color=_FAKE, clip_on=False, label=f"equal error rate {_percent(eer)}")
    ticks = [rate for rate in _DET_TICKS if least <= rate <= 1 - least]
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks([float(ndtri(rate)) for rate in ticks], [_percent(rate) for rate in ticks])
        axis.set_minor_locator(NullLocator())
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.set_aspect("equal")
    axes.tick_params(axis="x", rotation=45)
    axes.set_xlabel("real videos accused")
    axes.set_ylabel("fakes missed")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper right", fontsize=9)
    axes.set_title(f"Detection error trade-off\n{_counts(sample)}", fontsize=12)
    return figure


def reliability(assessment: Assessment) -> Figure:
    """The share of fakes among videos of about one score, with its interval, over their mean score."""
    means, shares, bounds, counts = _reliability_of(assessment)
    figure = Figure(figsize=_SIZE, dpi=_DPI, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    above.plot([0, 1], [0, 1], color=_SOFT, linestyle=":", label="scores that are probabilities")
    above.vlines(means, bounds[:, 0], bounds[:, 1], color=_CURVE, alpha=0.6, linewidth=2)
    above.plot(means, shares, "o-", color=_CURVE, linewidth=1, label="videos of a tenth of the scores, 95 % interval")
    above.set_ylabel("share of fakes")
    above.set_ylim(-0.03, 1.03)
    above.set_xlim(-0.02, 1.02)
    above.grid(alpha=0.3)
    error = assessment.figures["ece"].value
    above.set_title(f"Reliability: calibration error {error:.3f}\n{_counts(assessment.sample)}", fontsize=12)
    below.bar((np.arange(BINS) + 0.5) / BINS, counts, width=0.9 / BINS, color=_SOFT)
    below.set_ylabel("videos")
    below.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=3))
    below.set_xlabel("score")
    figure.legend(loc="outside lower center", fontsize=9, ncols=2, frameon=False)
    return figure


def _reliability_of(assessment: Assessment) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of the bins that have videos, (b,): the mean score, the share of fakes, and (b, 2) its interval, NaN where it has
    none. Of all bins the number of videos."""
    sample, bins = assessment.sample, bins_of(assessment.sample.scores)
    members = (bins[:, None] == np.arange(BINS)).astype(np.float64)

    def shares(weights: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return weights @ (members * sample.labels[:, None]) / (weights @ members)

    drawn = replicate(shares, sample.clusters, draws=assessment.draws, seed=assessment.seed)
    bounds, counts = intervals(drawn), members.sum(axis=0)
    for number in np.flatnonzero(np.isin(drawn.value, (0, 1))):  # of which draws tell nothing
        clusters = len(np.unique(sample.clusters[bins == number]))
        bounds[number] = binomial_interval(clusters * int(drawn.value[number]), clusters)
    there = counts > 0
    means = (members * sample.scores[:, None]).sum(axis=0)[there] / counts[there]
    return means, drawn.value[there], bounds[there], counts


def histogram(sample: Sample) -> Figure:
    """How many fakes and real videos got which score."""
    figure = Figure(figsize=_SIZE, dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    edges = np.linspace(0, 1, _HISTOGRAM_BINS + 1)
    for label, colour, hatch, name in ((0, _REAL, "//", "real"), (1, _FAKE, "", "fake")):
        scores = sample.scores[sample.labels == label]
        axes.hist(scores, edges, color=colour, alpha=0.6, hatch=hatch, edgecolor="white", label=f"{len(scores)} {name}")
    axes.axvline(metrics.THRESHOLD, color=_CURVE, linewidth=1, linestyle="--")
    axes.set_xlabel("score")
    axes.set_ylabel("videos")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(0, 1)
    axes.legend(fontsize=9)
    axes.set_title("Scores of fakes and of real videos", fontsize=12)
    return figure


def _counts(sample: Sample) -> str:
    fakes = int(sample.labels.sum())
    return f"{fakes} fake and {len(sample) - fakes} real videos"


def _percent(rate: float, place: int | None = None) -> str:
    """`place` is what matplotlib numbers its ticks by."""
    return f"{100 * rate:.2g} %" if abs(rate) < 0.995 else f"{100 * rate:.4g} %"
