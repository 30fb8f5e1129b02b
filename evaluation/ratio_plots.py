"""What likelihood ratios look like: Tippett's plot, their calibration, and ratios over scores. matplotlib figures."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.markers import TICKDOWN, TICKUP
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator, PercentFormatter

from evaluation.calibration import ratio_text
from evaluation.calibrators import log_odds_of
from evaluation.likelihood_ratios import pav
from evaluation.ratio_estimates import Curve
from evaluation.ratio_report import RatioReport

_FAKE, _REAL, _CURVE, _SOFT = "#d55e00", "#0072b2", "#222222", "#777777"  # told apart by the colour-blind too
_SIZE, _DPI = (6.4, 5.4), 130  # inches
_NAMED = (1e-6, 1e-4, 1e-2, 0.1, 0.5, 0.9, 0.99, 1 - 1e-4, 1 - 1e-6)  # scores, on an axis of log-odds
_MARGIN = 0.25  # of log10 ratios, around those that are there


def plots_of(report: RatioReport) -> dict[str, Figure]:
    """Figures by name; that of the curve where the report has one."""
    plots = {"tippett": tippett(report), "calibration": calibration(report)}
    return {"curve": curve(report, report.curve), **plots} if report.curve else plots


def tippett(report: RatioReport) -> Figure:
    """The share of fakes, and of real videos, whose ratio is above what the axis says (Tippett 1968). What misleads is
    what the curve of fakes lacks, and that of real videos has, at a ratio of 1."""
    figure, axes = _figure("Tippett plot: videos whose ratio is above the axis's")
    for label, colour, style, name in ((1, _FAKE, "-", "fake"), (0, _REAL, "--", "real")):
        ratios = report.log10_lr[report.videos.labels == label]
        wrong = 100 * report.figures[f"misleading_{name}"].value
        told = f"{len(ratios)} {name}, {wrong:.3g} % {'below' if label else 'above'} 1"
        axes.ecdf(ratios, complementary=True, color=colour, linestyle=style, linewidth=1.8, label=told)
    axes.axvline(0, color=_SOFT, linewidth=1)
    axes.set_xlim(*_around(report.log10_lr))
    axes.set_ylim(-0.02, 1.02)
    axes.set_ylabel("share of the videos")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    _show_ratios(axes.xaxis)
    axes.set_xlabel("likelihood ratio")
    axes.legend(loc="center", fontsize=9)
    return figure


def calibration(report: RatioReport) -> Figure:
    """The ratios that would have cost least, over those that were given: on the diagonal where these are right."""
    given, best, labels = report.log10_lr, pav(report.log10_lr, report.videos.labels), report.videos.labels
    costs = {name: report.figures[name].value for name in ("cllr", "cllr_cal")}
    figure, axes = _figure(f"Calibration: {costs['cllr_cal']:.3f} of a Cllr of {costs['cllr']:.3f}")
    low, high = _around(given)
    best = np.clip(best, low, high)  # those that are infinite are at the edge
    axes.plot([low, high], [low, high], color=_SOFT, linestyle=":", label="ratios that are right")
    order = np.argsort(given, kind="stable")
    told = "the best in the same order (PAV)"
    axes.step(given[order], best[order], where="mid", color=_CURVE, linewidth=1.5, label=told)
    for label, colour, marker, name in ((1, _FAKE, TICKUP, "fake"), (0, _REAL, TICKDOWN, "real")):
        rows = labels == label
        style = {"linestyle": "", "marker": marker, "color": colour, "alpha": 0.6, "clip_on": False}
        axes.plot(given[rows], best[rows], label=name, **style)
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    _show_ratios(axes.xaxis)
    _show_ratios(axes.yaxis)
    axes.set_xlabel("likelihood ratio that was given")
    axes.set_ylabel("best likelihood ratio")
    axes.legend(loc="upper left", fontsize=9)
    return figure


def curve(report: RatioReport, curve: Curve) -> Figure:
    """The ratio of each score, with its interval and the bounds, and at which scores the videos are."""
    figure, axes = _figure(f"Likelihood ratio of a score ({report.calibration.calibrator.method})")
    axes.fill_between(curve.log_odds, *curve.intervals.T, color=_CURVE, alpha=0.15, linewidth=0, label="95 % interval")
    axes.plot(curve.log_odds, curve.log10_lr, color=_CURVE, linewidth=1.8, label="ratio")
    bounds = report.calibration.bounds
    axes.hlines(bounds, *curve.log_odds[[0, -1]], color=_SOFT, linestyle="--", linewidth=1, label="bounds (ELUB)")
    axes.axhline(0, color=_SOFT, linewidth=1)
    low, high = bounds[0] - 2 * _MARGIN, bounds[1] + 2 * _MARGIN
    for label, colour, height, name in ((1, _FAKE, high - _MARGIN / 2, "fake"), (0, _REAL, low + _MARGIN / 2, "real")):
        places = log_odds_of(report.videos.scores[report.videos.labels == label])
        axes.plot(places, np.full(len(places), height), "|", color=colour, alpha=0.5, label=name)
    axes.set_ylim(low, high)
    places = log_odds_of(np.array(_NAMED))
    axes.xaxis.set_ticks(places, [f"{score:.6g}" for score in _NAMED], rotation=30)
    axes.xaxis.set_minor_locator(NullLocator())
    margin = 0.03 * (curve.log_odds[-1] - curve.log_odds[0])
    axes.set_xlim(curve.log_odds[0] - margin, curve.log_odds[-1] + margin)
    _show_ratios(axes.yaxis)
    axes.set_xlabel("score")
    axes.set_ylabel("likelihood ratio")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 0.12), fontsize=9)
    return figure


def _figure(title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=_SIZE, dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.grid(alpha=0.3)
    axes.set_title(title, fontsize=12)
    return figure, axes


def _around(log10_lr: np.ndarray) -> tuple[float, float]:
    """From below the lowest ratio to above the highest, with 1 between them."""
    return min(float(log10_lr.min()), 0.0) - _MARGIN, max(float(log10_lr.max()), 0.0) + _MARGIN


def _show_ratios(axis: Axis) -> None:
    """An axis of log10 ratios names the ratios."""
    axis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda log10_lr, _: ratio_text(log10_lr)))
