"""Controls as a picture: what each method scores with which support, and whose the variance is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fsseg_bench.report.contender import Contender
from fsseg_bench.report.controls import Number, Reading
from fsseg_bench.report.figures.canvas import OVER, colour, label, middle, new_figure, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROW = 0.5  # inches
_SUPPORTS = {
    "own": ("own support", "D"),
    "wrong": ("wrong class", "o"),
    "empty": ("mask empty", "s"),
    "whole": ("mask whole", "^"),
    "shifted": ("mask shifted", "v"),
}
_PARTS = {"query": ("the query's", "D"), "support": ("the support's", "o"), "interaction": ("both together", "s")}


def controls_figure(contenders: Sequence[Contender], found: Sequence[Reading]) -> Figure:
    """A row for each method: mean-IoU with each kind of support, the share of the pixels that are predicted foreground
    where there is none, both in percent with their intervals, and the shares of the variance of an episode's IoU.

    Raises:
        UserError: matplotlib is not installed.
    """
    figure = new_figure(11, 1.7 + _ROW * len(found))
    scores, alarms, variance = figure.subplots(1, 3, sharey=True, width_ratios=(4, 2, 3))
    for axes, marks in ((scores, _SUPPORTS), (alarms, {"alarm": ("", "o")}), (variance, _PARTS)):
        for i, (kind, (words, marker)) in enumerate(marks.items()):
            # a little above and below each other, so that equal numbers can be told apart
            offset = 0.13 * (i - (len(marks) - 1) / 2)
            _points(axes, [one.number(kind) for one in found], i, marker, words, offset)
    for axes, words in (
        (scores, "mean-IoU (percent)"),
        (alarms, "foreground where\nthere is none (percent)"),
        (variance, "share of the variance (percent)"),
    ):
        axes.set_xlabel(words, fontsize=9)
        axes.set_xlim(left=min(0, axes.get_xlim()[0]))  # an unbiased share may be below 0
        tidy(axes)
    for axes, columns in ((scores, 3), (variance, 1)):
        axes.legend(fontsize=7, ncols=columns, loc="lower left", bbox_to_anchor=(0, 1), frameon=False)
    scores.set_yticks(range(len(found)), [label(one.label) for one in found], fontsize=8)
    scores.set_ylim(len(found) - 0.4, -0.6)
    settings = contenders[0].settings
    figure.suptitle(
        label(f"{settings.protocol_label}, {settings.way}-way {settings.shot}-shot; 95 % {OVER['images']}"),
        fontsize=10,
    )
    return figure


def _points(axes: Axes, numbers: Sequence[Number | None], series: int, marker: str, words: str, offset: float) -> None:
    """A mark for each number, in its row; nothing where there is none."""
    known = [(row + offset, number) for row, number in enumerate(numbers) if number is not None]
    for at, number in known:
        if number.low is not None and number.high is not None:
            centre, half = middle(number.low, number.high)
            axes.errorbar(centre, at, xerr=half, fmt="none", color=colour(series), capsize=2, linewidth=1)
    values = [number.value for _, number in known]
    axes.plot(values, [at for at, _ in known], marker, color=colour(series), markersize=5, label=words)
