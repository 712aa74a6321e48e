"""A comparison as a picture: every difference with its interval, beside the line of no difference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsseg_bench.protocol.statistics import METRICS
from fsseg_bench.report.compare import Comparison
from fsseg_bench.report.compare_cells import p_text
from fsseg_bench.report.compare_tables import places
from fsseg_bench.report.figures.canvas import OVER, colour, label, middle, new_figure, tidy
from fsseg_bench.report.words import METRIC_NAMES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROW = 0.26  # inches


def differences_figure(comparison: Comparison) -> Figure:
    """One axes a metric: a row for each method and fold, differences from the baseline in percent points.

    Error bars are the paired intervals, where there are any; the right margin has the corrected p-values. The mean over
    the folds is drawn with a larger mark.

    Raises:
        UserError: matplotlib is not installed.
    """
    rows = sum(len(places(comparison, versus, "mean")) + 1 for versus in comparison.versus)
    figure = new_figure(9.5, 1.3 + _ROW * rows)
    settings = comparison.baseline.settings
    for metric, axes in zip(METRICS, figure.subplots(1, len(METRICS), sharey=True), strict=True):
        ticks: list[tuple[int, str]] = []
        at = 0
        for i, versus in enumerate(comparison.versus):
            for where, own in places(comparison, versus, metric):
                found = own.difference
                whole = own is versus.overall[metric]
                if found.low is not None and found.high is not None:
                    centre, half = middle(100 * found.low, 100 * found.high)
                    axes.errorbar(
                        centre, at, xerr=half, fmt="none", color=colour(i), capsize=3, linewidth=2 if whole else 1.2
                    )
                axes.plot(100 * found.value, at, "D" if whole else "o", color=colour(i), markersize=7 if whole else 4.5)
                axes.annotate(
                    f"p {p_text(own.p_holm)}", (1.01, at), xycoords=("axes fraction", "data"), va="center", fontsize=7
                )
                ticks.append((at, label(f"{versus.other.label}, {where}")))
                at += 1
            at += 1
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_title(f"{METRIC_NAMES[metric]}", fontsize=10)
        axes.set_xlabel(label(f"difference from {comparison.baseline.label} (percent points)"), fontsize=9)
        axes.set_yticks([place for place, _ in ticks], [text for _, text in ticks], fontsize=8)
        axes.set_ylim(at - 1.4, -0.6)
        tidy(axes)
    figure.suptitle(
        label(
            f"{settings.protocol_label}, {settings.way}-way {settings.shot}-shot; "
            f"{100 * comparison.level:g} % paired {OVER[comparison.interval]}, p corrected (Holm)"
        ),
        fontsize=10,
    )
    return figure
