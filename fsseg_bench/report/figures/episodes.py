"""Episodes in pictures (the BiOpt paper's Figure 6), chosen by rule from the recorded counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from fsseg_bench.errors import UserError
from fsseg_bench.pictures.overlay import colour, kinds
from fsseg_bench.protocol.scoring import episode_ious
from fsseg_bench.records.read import StoredRun
from fsseg_bench.report.contender import Contender, match
from fsseg_bench.report.episode_choice import Choice, Episodes
from fsseg_bench.report.figures.canvas import label, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

_TILE = 1.45  # inches
_CAPTION = 0.2
_TITLE_POINTS = 12  # height of a tile's title


class EpisodeRow(NamedTuple):
    """One row of the figure."""

    caption: str
    tiles: Sequence[tuple[str, npt.NDArray[np.uint8]]]
    """Titles and pictures (S, S, 3)."""


def choose_episodes(contenders: Sequence[Contender]) -> tuple[list[Choice], dict[int, tuple[StoredRun, ...]]]:
    """The best, the median and the worst episode of the last contender, and where it leads and trails the first most.

    Episodes of all common folds are ranked together by foreground IoU at the input size; of equal ones the first
    counts. The second value has by fold the run of each contender.

    Raises:
        UserError: fewer than two contenders, or as :func:`fsseg_bench.report.compare.match`.
    """
    if len(contenders) < 2:
        raise UserError("the figure compares predictions: give at least two methods")
    matched = match(contenders)
    runs = {
        fold: tuple(c.runs[fold][seeds[0]] for c, seeds in zip(contenders, matched.seeds, strict=True))
        for fold in matched.folds
    }
    ious = {fold: np.stack([episode_ious(run.counts().input) for run in own]) for fold, own in runs.items()}
    episodes = Episodes.of(ious)
    order = episodes.ranked(episodes.ious[-1])
    lead = episodes.ious[-1] - episodes.ious[0]
    first, last = contenders[0].label, contenders[-1].label
    rules = {
        f"best of {last}": order[-1],
        f"median of {last}": order[len(order) // 2],
        f"worst of {last}": order[0],
        f"{last} furthest ahead of {first}": np.argmax(lead),
        f"{last} furthest behind {first}": np.argmin(lead),
    }
    return episodes.by_rules(rules), runs


def episodes_figure(rows: Sequence[EpisodeRow], about: str, ways: int = 1) -> Figure:
    """One row an episode: its caption, then its tiles with their titles; below, what the colours of N ways mean.

    Raises:
        UserError: matplotlib is not installed, or there are no rows.
    """
    if not rows:
        raise UserError("no episode to show")
    across = max(len(row.tiles) for row in rows)
    figure = new_figure(_TILE * across + 0.4, (_TILE + 0.15 + _CAPTION) * len(rows) + 0.8)
    figure.set_layout_engine("constrained", h_pad=_CAPTION / 2, w_pad=0.03)
    grid = figure.subplots(len(rows), across, squeeze=False)
    for row, axes in zip(rows, grid, strict=True):
        for one in axes:
            one.set_axis_off()
        for one, (title, pixels) in zip(axes, row.tiles, strict=False):
            one.imshow(pixels, interpolation="nearest")
            one.set_title(label(title), fontsize=6.5, pad=2)
        caption = axes[0].annotate(
            label(row.caption),
            (0, 1),
            xytext=(0, _TITLE_POINTS),
            xycoords="axes fraction",
            textcoords="offset points",
            fontsize=7,
            fontweight="bold",
            annotation_clip=False,
        )
        caption.set_in_layout(False)  # it stands over several tiles, in the rows' padding
    chosen = "episodes chosen by foreground IoU at the input size"
    figure.suptitle(label(f"{about}; {chosen}"), fontsize=8)
    figure.legend(handles=_legend(ways), loc="outside lower center", ncols=2, fontsize=7, frameon=False)
    return figure


def _legend(ways: int) -> list[Patch]:
    from matplotlib.patches import Patch

    patches = []
    for kind in kinds(ways):
        rgb = np.asarray(kind.colour or colour(1)) / 255
        patches.append(Patch(facecolor=(*rgb, 0.45), edgecolor=tuple(rgb), hatch=2 * kind.hatch, label=kind.words))
    return patches
