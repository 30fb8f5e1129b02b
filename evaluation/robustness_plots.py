"""How far figures fall with each variant, and how many faces are left. matplotlib figures."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluation.estimates import Estimate
from evaluation.robustness import Table
from evaluation.robustness_text import SHOWN
from evaluation.text import TITLES

_VALUE, _CHANGE, _SOFT = "#222222", "#d55e00", "#777777"
_WIDTH, _DPI = 6.4, 130  # inches
_OF_A_ROW, _BESIDE_ROWS = 0.3, 1.5  # inches of height


def plots_of(table: Table) -> dict[str, Figure]:
    """Figures by name: one for each figure that is shown and has values, and one of faces and verdicts."""
    told = [name for name in SHOWN if any(row.figures[name].value is not None for row in table.rows)]
    return {**{name: figure_plot(table, name) for name in told}, "videos": videos_plot(table)}


def figure_plot(table: Table, name: str) -> Figure:
    """The figure with its interval, and beside it its difference from that of the files themselves."""
    figure, (left, right) = _panels(table)
    _intervals(left, [row.figures[name] for row in table.rows], _VALUE)
    _intervals(right, [row.differences[name] for row in table.rows], _CHANGE)
    right.axvline(0, color=_SOFT, linewidth=1, linestyle="--")
    left.set_xlabel(TITLES[name])
    right.set_xlabel("change from the files themselves")
    figure.suptitle(f"{TITLES[name]}, 95 % intervals", fontsize=12)
    return figure


def videos_plot(table: Table) -> Figure:
    """The share of faces that are still found, and of videos that are on the other side of 0.5."""
    figure, (left, right) = _panels(table)
    shares = [np.nan if row.faces_share is None else 100 * row.faces_share for row in table.rows]
    changed = [100 * len(row.verdicts_changed) / row.videos if row.videos else np.nan for row in table.rows]
    places = np.arange(len(table.rows))
    left.barh(places, shares, color=_SOFT)
    left.axvline(100, color=_VALUE, linewidth=1, linestyle="--")
    right.barh(places, changed, color=_CHANGE)
    right.set_xlim(0, max(1, 1.05 * np.nanmax([*changed, 0])))
    left.set_xlabel("faces, in % of those before")
    right.set_xlabel("videos with another verdict, in %")
    figure.suptitle("Faces that are found, verdicts that change", fontsize=12)
    return figure


def _panels(table: Table) -> tuple[Figure, tuple[Axes, Axes]]:
    rows = len(table.rows)
    figure = Figure(figsize=(_WIDTH, _BESIDE_ROWS + _OF_A_ROW * rows), dpi=_DPI, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    left.set_yticks(range(rows), [row.variant for row in table.rows])
    left.set_ylim(rows - 0.4, -0.6)
    for axes in (left, right):
        axes.grid(alpha=0.3, axis="x")
        axes.set_axisbelow(True)
    return figure, (left, right)


def _intervals(axes: Axes, estimates: list[Estimate], colour: str) -> None:
    for place, each in enumerate(estimates):
        if each.low is not None and each.high is not None:
            axes.hlines(place, each.low, each.high, color=colour, linewidth=2, alpha=0.6)
        if each.value is not None:
            axes.plot([each.value], [place], "o", color=colour, markersize=5)
