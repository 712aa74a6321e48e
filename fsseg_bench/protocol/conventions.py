"""How else papers turn predictions into a score: the same counted pixels under every convention in use.

A convention says which pixels count (input or native size, what void is), and how counts become one number. What cannot
be told from a run's counts is not here: other images, masks and lists, supports drawn otherwise, query scales.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np

from fsseg_bench.conventions import Float64, Int64
from fsseg_bench.protocol.scoring import binary_iou, binary_terms, mean_iou, positions, runs_of, summed, way_terms
from fsseg_bench.protocol.spec import Resolution
from fsseg_bench.protocol.statistics import Metric

RUNS = 5
"""Into so many runs of equal length the episodes are split where papers average over runs."""

Pixels = Literal["headline", "other size", "void background", "void foreground"]


class FoldPixels(NamedTuple):
    """What was counted of the E episodes of a fold, N ways."""

    classes: Int64
    """(E, N) label values; the first way is the query's class."""
    novel: tuple[int, ...]
    """The fold's held-out classes."""
    cells: Mapping[Resolution, Int64]
    """(E, N+1, N+1) pixels: rows labels, columns predictions, without void."""
    void: Mapping[Resolution, Int64] | None
    """(E, N+1) predictions at void pixels; None where they were not counted."""
    headline: Resolution
    """The protocol's."""
    runs: int = 1
    """So many runs of equal length the episodes are under the protocol."""

    def counted(self, pixels: Pixels) -> Int64 | None:
        """(E, N+1, N+1) the pixels that count; None where they are not known."""
        if pixels == "other size":
            return self.cells["native" if self.headline == "input" else "input"]
        cells = self.cells[self.headline]
        if pixels == "headline":
            return cells
        if self.void is None:
            return None
        cells = cells.copy()
        cells[:, 0 if pixels == "void background" else 1] += self.void[self.headline]
        return cells


class Counted(NamedTuple):
    """The episodes of a fold as a rule takes them."""

    cells: Int64
    classes: Int64
    novel: tuple[int, ...]
    runs: int = 1

    def part(self, chosen: slice) -> Counted:
        """Some of the episodes, as one run."""
        return Counted(self.cells[chosen], self.classes[chosen], self.novel)


Rule = Callable[[Sequence[Counted]], float]
"""A score in [0, 1] from all folds."""


@dataclass(frozen=True)
class Way:
    """How papers come to a score, in words."""

    name: str
    metric: Metric
    words: str
    """What is done, in a sentence."""
    users: str
    """Whose published numbers are made so; of some, as far as their code tells."""


@dataclass(frozen=True)
class Convention(Way):
    """One way to score the same predictions."""

    rule: Rule
    pixels: Pixels = "headline"
    least_ways: int = 1
    """With fewer ways it is another convention of the list."""

    def score(self, folds: Sequence[FoldPixels]) -> float | None:
        """In [0, 1], over all folds; None where the runs lack what it counts.

        Raises:
            UserError: a class has no episode under this protocol.
        """
        counted = []
        for fold in folds:
            cells = fold.counted(self.pixels)
            if cells is None:
                return None
            counted.append(Counted(cells, fold.classes, fold.novel, fold.runs))
        return self.rule(counted)


def _of_folds(score: Callable[[Counted], float]) -> Rule:
    """The mean over folds."""
    return lambda folds: float(np.mean([score(fold) for fold in folds]))


def _protocols_mean(fold: Counted) -> float:
    return mean_iou(fold.cells, fold.classes, fold.novel, fold.runs)


def _protocols_binary(fold: Counted) -> float:
    return binary_iou(fold.cells, fold.runs)


def _iou(terms: Int64) -> Float64:
    """Of tp, fp and fn (3, ...); NaN where there is no pixel."""
    union = terms.sum(axis=0)
    return np.asarray(np.where(union > 0, terms[0] / np.maximum(union, 1), np.nan))


def _of_classes(terms: Int64, fold: Counted) -> Float64:
    """(C,) from the terms of each way (3, E, N), summed; NaN for a class without a pixel."""
    return _iou(np.stack(summed(terms, positions(fold.classes, fold.novel), len(fold.novel))))


def _class_iou(fold: Counted) -> Float64:
    return _of_classes(way_terms(fold.cells, fold.classes), fold)


def _absent_as_zero(fold: Counted) -> float:
    return float(np.nan_to_num(_class_iou(fold)).mean())


def _absent_left_out(fold: Counted) -> float:
    found = _class_iou(fold)
    return float(found[~np.isnan(found)].mean())


def _own_runs(fold: Counted) -> list[Counted]:
    """The protocol's runs; the fold itself where there is one."""
    return [fold.part(part) for part in runs_of(len(fold.cells), fold.runs)]


def _in_each(score: Callable[[Counted], float]) -> Rule:
    """The mean over folds, and of a protocol of several runs over these as its own scores are."""
    return _of_folds(lambda fold: float(np.mean([score(run) for run in _own_runs(fold)])))


def _of_runs(score: Callable[[Counted], float]) -> Rule:
    """The mean over folds of that over runs of consecutive episodes, each scored by itself."""
    return _of_folds(lambda fold: float(np.mean([score(fold.part(part)) for part in _fifths(fold)])))


def _fifths(fold: Counted) -> list[slice]:
    """The protocol's runs where there are several, else fifths of the episodes, or single ones of fewer than five."""
    if fold.runs > 1:
        return runs_of(len(fold.cells), fold.runs)
    ends = np.linspace(0, len(fold.cells), min(RUNS, len(fold.cells)) + 1).astype(int).tolist()
    return [slice(start, end) for start, end in pairwise(ends)]


def _first_run(fold: Counted) -> float:
    return _absent_as_zero(fold.part(_fifths(fold)[0]))


def _mean_of_episodes(fold: Counted) -> float:
    """First over the episodes of a class, then over classes."""
    found, where = _iou(way_terms(fold.cells, fold.classes)), positions(fold.classes, fold.novel)
    of_class = [found[where == c] for c in range(len(fold.novel))]
    return float(np.mean([one[~np.isnan(one)].mean() for one in of_class if (~np.isnan(one)).any()]))


def _empty_targets_left_out(fold: Counted) -> float:
    """Without a way's counts in episodes whose query shows no pixel of it: what was found there is no false alarm."""
    terms = way_terms(fold.cells, fold.classes)
    shown = terms[0] + terms[2] > 0
    return float(np.nan_to_num(_of_classes(terms * shown, fold)).mean())


def _halves(terms: Int64) -> Float64:
    """IoU of foreground and background, from (2, 2) intersections and unions."""
    return np.asarray(terms[:, 0] / terms[:, 1], np.float64)


def _foreground(fold: Counted) -> float:
    return float(_halves(binary_terms(fold.cells).sum(axis=0))[0])


def _all_folds(folds: Sequence[Counted]) -> float:
    """Of a protocol of several runs, the mean over the runs."""
    runs = zip(*map(_own_runs, folds), strict=True)
    pooled = [np.sum([binary_terms(fold.cells).sum(axis=0) for fold in run], axis=0) for run in runs]
    return float(np.mean([_halves(total).mean() for total in pooled]))


def _confused_twice(fold: Counted) -> float:
    """A pixel of one way that is predicted as another is a miss of the first and a false alarm of the second."""
    tp, fp, fn = way_terms(fold.cells, fold.classes).sum(axis=(1, 2))
    background = _halves(binary_terms(fold.cells).sum(axis=0))[1]
    return float((tp / (tp + fp + fn) + background) / 2)


CONVENTIONS: tuple[Convention, ...] = (
    Convention(
        "this protocol",
        "mean",
        "void ignored; pixels summed over the episodes of a fold (of a run), IoU of each held-out class, means",
        "most, but for what follows",
        _of_folds(_protocols_mean),
    ),
    Convention(
        "other size",
        "mean",
        "pixels are counted at the images' own size where the protocol counts at input size, or the other way round",
        "own size: SG-One, SSP, PFENet and BAM by default; input size: OSLSM, PANet, PPNet, HSNet, RePRI, Matcher",
        _of_folds(_protocols_mean),
        "other size",
    ),
    Convention(
        "void is background",
        "mean",
        "void pixels are background: what is predicted there is a false alarm",
        "OSLSM, SG-One, RPMMs",
        _of_folds(_protocols_mean),
        "void background",
    ),
    Convention(
        "void is foreground",
        "mean",
        "void pixels are of the query's class",
        "none of the thirteen repositories that were read",
        _of_folds(_protocols_mean),
        "void foreground",
    ),
    Convention(
        "mean of episodes",
        "mean",
        "IoU of each episode, mean over the episodes of a class, then over classes",
        "none of them for its tables (CANet prints it)",
        _in_each(_mean_of_episodes),
    ),
    Convention(
        "mean of runs, absent is 0",
        "mean",
        f"the episodes as {RUNS} runs (the protocol's own where it has several), each scored by itself; a class "
        "without a pixel in a run is 0",
        "PANet, PPNet and BAM (runs); OSLSM, SG-One, RPMMs, PFENet, BAM, HSNet and Matcher (0)",
        _of_runs(_absent_as_zero),
    ),
    Convention(
        "mean of runs, absent left out",
        "mean",
        "the same, but such a class is left out of its run",
        "RePRI, SSP",
        _of_runs(_absent_left_out),
    ),
    Convention(
        "first run alone",
        "mean",
        "the first of these runs alone; a class without a pixel counts as 0",
        "whoever tests on fewer episodes",
        _of_folds(_first_run),
    ),
    Convention(
        "empty targets left out",
        "mean",
        "an episode whose resized query shows no pixel of a way does not count for it, so that false alarms vanish",
        "PANet, PPNet",
        _in_each(_empty_targets_left_out),
    ),
    Convention(
        "this protocol",
        "binary",
        "foreground and background pooled over a fold's episodes, mean of the two IoUs, mean over folds",
        "PANet and PPNet (one way), PFENet, BAM, HSNet, Matcher",
        _of_folds(_protocols_binary),
    ),
    Convention("other size", "binary", "as above", "as above", _of_folds(_protocols_binary), "other size"),
    Convention("void is background", "binary", "as above", "SG-One", _of_folds(_protocols_binary), "void background"),
    Convention(
        "foreground alone",
        "binary",
        "the IoU of the pooled foreground, without that of the background",
        "co-FCN and guided networks (revolver)",
        _in_each(_foreground),
    ),
    Convention(
        "all folds pooled",
        "binary",
        "pixels pooled over all folds before the IoUs are taken",
        "SG-One",
        _all_folds,
    ),
    Convention(
        "confusions twice",
        "binary",
        "a pixel of one way predicted as another is a miss and a false alarm, no foreground found",
        "PANet (several ways)",
        _in_each(_confused_twice),
        least_ways=2,
    ),
)
"""Those that thirteen repositories use, the protocol's own first for each metric."""
