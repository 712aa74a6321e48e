"""How far the runs that a protocol's episodes are lie apart: beside scores, which are means over the runs."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev
from typing import NamedTuple

from fsseg_bench.protocol.spec import Resolution
from fsseg_bench.protocol.statistics import Metric
from fsseg_bench.report.scored import ScoredRun


class RunSpread(NamedTuple):
    """The scores of R runs, in [0, 1]."""

    runs: int
    """R, at least 2."""
    sd: float
    """Standard deviation, with R - 1 in the denominator."""
    least: float
    most: float

    @property
    def words(self) -> str:
        """For a footnote, in percent."""
        return (
            f"between {self.runs} runs: standard deviation {100 * self.sd:.2f}, {100 * self.least:.2f} to "
            f"{100 * self.most:.2f}"
        )


def run_spread(folds: Sequence[ScoredRun], metric: Metric, resolution: Resolution) -> RunSpread | None:
    """Of one fold, or of the mean over several, of which the first runs belong together, the second ones, and so on.

    None where the protocol has one run, or the folds have different numbers of them.
    """
    counts = {fold.record.runs for fold in folds}
    if len(counts) != 1 or counts == {1}:
        return None
    of_folds = [fold.run_scores(metric, resolution) for fold in folds]
    scores = [fmean(of_run) for of_run in zip(*of_folds, strict=True)]
    return RunSpread(len(scores), stdev(scores), min(scores), max(scores))
