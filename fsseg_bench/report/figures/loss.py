"""Training losses on one pair of axes (the BiOpt paper's Figure 7), from ``train.jsonl``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fsseg_bench.conventions import Float64
from fsseg_bench.errors import UserError
from fsseg_bench.protocol.scoring import constant_losses
from fsseg_bench.records.info import TRAIN_FILE
from fsseg_bench.records.read import StoredRun
from fsseg_bench.records.training import loss_row
from fsseg_bench.report.compare_tables import overall_name
from fsseg_bench.report.contender import Contender, single_seed
from fsseg_bench.report.figures.canvas import colour, label, new_figure, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FINAL = "final"
"""The name of the part of a loss that the final prediction gives."""
_WINDOWS = 25  # a window of the moving average is this part of the training


@dataclass(frozen=True)
class LossCurve:
    """One method's training loss by iteration, the mean over its folds."""

    name: str
    folds: tuple[int, ...]
    whose: str
    """What the mean over them is called."""
    total: Float64
    """(I,) what was minimised: the sum of the parts."""
    parts: dict[str, Float64]
    """(I,) each, in the order logged."""
    constant: Float64 | None = None
    """(I,) what one constant prediction for the whole training loses; None where the log has no label counts, or the
    loss has several parts."""


def loss_curve(contender: Contender) -> LossCurve:
    """The losses of a contender's training.

    Raises:
        UserError: several training seeds of a fold, a run that was not trained, or a damaged log.
    """
    runs = single_seed(contender)
    logs = [_log(run) for run in runs.values()]
    length = min(map(len, logs))
    names = logs[0][0]["parts"]
    if any(log[0]["parts"].keys() != names.keys() for log in logs):
        raise UserError(f"{contender.label}: the losses of its folds have different parts; they have no mean")
    total = np.mean([[float(row["loss"]) for row in log[:length]] for log in logs], axis=0)
    parts = {
        name: np.mean([[float(row["parts"][name]) for row in log[:length]] for log in logs], axis=0) for name in names
    }
    constant = _constant(logs, length) if len(names) == 1 else None
    folds = tuple(runs)
    whose = overall_name(folds, contender.example.folds, "mean of all folds")
    return LossCurve(contender.label, folds, whose, total, parts, constant)


def _constant(logs: Sequence[Sequence[dict[str, Any]]], length: int) -> Float64 | None:
    """The mean over folds of the constant predictor's loss; None for logs from before labels were counted."""
    if not all("labels" in row for log in logs for row in log[:length]):
        return None
    losses = [constant_losses([row["labels"] for row in log[:length]]) for log in logs]
    return np.asarray(np.mean(losses, axis=0), np.float64)


def _log(run: StoredRun) -> list[dict[str, Any]]:
    rows = run.lines(TRAIN_FILE, loss_row)
    if not rows:
        raise UserError(
            f"{run.folder}: has no training log; choose runs that were trained (--where recipe.iterations=...)"
        )
    path = run.folder / TRAIN_FILE
    if [row["iteration"] for row in rows] != list(range(len(rows))):
        raise UserError(
            f"{path}: the iterations are not numbered 0, 1, 2, ...: lines were lost or edited (run.json says so under "
            "'resumed' where a resumed training noticed)"
        )
    if len({tuple(row["parts"]) for row in rows}) > 1:
        raise UserError(f"{path}: the loss has other parts in some lines; the file was edited or damaged")
    return rows


def smoothed(values: Float64, window: int) -> tuple[Float64, Float64]:
    """A moving average of ``values`` (I,): the whole windows' centres and their means, (I - window + 1,) each.

    A series that is shorter than ``window`` is one window.
    """
    window = min(window, len(values))
    means = np.convolve(values, np.full(window, 1 / window), mode="valid")
    centres = np.arange(len(means), dtype=np.float64) + (window - 1) / 2
    return centres, np.asarray(means, np.float64)


def loss_figure(curves: Sequence[LossCurve], about: str, window: int | None = None) -> Figure:
    """The minimised loss of each method, faint as logged and solid as a moving average.

    A sum of several parts is larger than a loss of one part whatever the model. Its part ``final``, where it has one,
    is that of the final prediction and drawn dashed: it compares with a loss of one part. Beside a loss of one part the
    loss of a constant prediction, the best one for the whole training, is dotted. The title says what the curves are
    ``about``; ``window`` is in iterations (None: a 25th of the longest training).

    Raises:
        UserError: matplotlib is not installed, or a window below 1.
    """
    if window is None:
        window = max(1, max(len(curve.total) for curve in curves) // _WINDOWS)
    if window < 1:
        raise UserError(f"--window {window}: it must be at least 1")
    figure = new_figure(6.4, 4.2)
    axes = figure.subplots()
    for i, curve in enumerate(curves):
        axes.plot(curve.total, color=colour(i), alpha=0.2, linewidth=0.7)
        several = f" (sum of {len(curve.parts)} parts)" if len(curve.parts) > 1 else ""
        axes.plot(*smoothed(curve.total, window), color=colour(i), linewidth=1.8, label=label(curve.name + several))
        if curve.constant is not None:
            reference = smoothed(curve.constant, window)
            name = label(f"{curve.name}'s labels, constant predictor")
            axes.plot(*reference, color=colour(i), linewidth=1.2, linestyle=":", label=name)
        if len(curve.parts) > 1 and FINAL in curve.parts:
            final = smoothed(curve.parts[FINAL], window)
            axes.plot(
                *final, color=colour(i), linewidth=1.4, linestyle="--", label=label(f"{curve.name}, part {FINAL} alone")
            )
    folds = sorted({curve.folds for curve in curves})
    axes.set_xlabel(f"iteration (moving average over {window})")
    whose = curves[0].whose if len(folds) == 1 else "mean of each method's folds"
    axes.set_ylabel(f"training loss, {whose}")
    axes.set_ylim(bottom=0)
    axes.locator_params(axis="x", integer=True)
    axes.set_title(label(about), fontsize=10)
    axes.legend(fontsize=8)
    tidy(axes)
    return figure
