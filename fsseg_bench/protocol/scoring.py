"""Scores from counted pixels. Counts are summed over episodes first; nothing is averaged over images.

The counts of E episodes of N ways are E confusion matrices, int64 (E, N+1, N+1): rows are labels, columns
predictions, 0 is background, void pixels are in no cell. ``classes`` (E, N) is the label value of each way.

The loss of a predictor that looks at no image is the reference beside a training loss. Most pixels are background, so
that a cross-entropy looks low long before anything is learnt. The best prediction that is the same at every pixel gives
each label its share of the pixels; its cross-entropy is the entropy of these shares.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fsseg_bench.conventions import Float64, Int64
from fsseg_bench.errors import UserError


class ClassCounts(NamedTuple):
    """Pixels of each held-out class, summed over all episodes; int64 arrays in the order of ``novel``."""

    tp: Int64
    """Labelled and predicted as the class."""
    fp: Int64
    """Predicted as the class, labelled as something else."""
    fn: Int64
    """Labelled as the class, predicted as something else."""


def class_counts(confusion: npt.ArrayLike, classes: npt.ArrayLike, novel: Sequence[int]) -> ClassCounts:
    """Adds the counts of each way to its class.

    Args:
        confusion: (E, N+1, N+1) integers, see the module.
        classes: (E, N) label values.
        novel: the held-out classes, in the order wanted.

    Raises:
        ValueError: shapes that do not fit, counts that are not integers, a class that is not in ``novel``.
    """
    return summed(way_terms(confusion, classes), positions(classes, novel), len(novel))


def summed(terms: Int64, where: npt.NDArray[np.intp], count: int) -> ClassCounts:
    """Adds tp, fp and fn of each way (:func:`way_terms`) at its class's place among ``count`` (:func:`positions`)."""
    totals = np.zeros((3, count), np.int64)
    flat = where.ravel()  # in one dimension numpy adds many times as fast
    for total, term in zip(totals, terms.reshape(3, -1), strict=True):
        np.add.at(total, flat, term)
    return ClassCounts(*totals)


def class_iou(confusion: npt.ArrayLike, classes: npt.ArrayLike, novel: Sequence[int], runs: int = 1) -> Float64:
    """Intersection over union tp / (tp + fp + fn) of each class, (len(novel),) float64 in [0, 1].

    With ``runs`` above 1 the episodes are so many runs of equal length, one behind the other: each class's IoU is the
    mean of those that the runs' own sums give.

    Raises:
        UserError: a class has no episode (of a run), or no pixel in any label or prediction.
        ValueError: as :func:`class_counts`, or the episodes are no such runs.
    """
    if runs > 1:
        parts = runs_of(len(np.asarray(classes)), runs)
        cells, ways = np.asarray(confusion), np.asarray(classes)
        return np.asarray(np.mean([class_iou(cells[part], ways[part], novel) for part in parts], axis=0))
    tp, fp, fn = class_counts(confusion, classes, novel)
    union = tp + fp + fn
    check_defined(union, classes, novel)
    return np.asarray(tp / union, np.float64)


def runs_of(episodes: int, runs: int) -> list[slice]:
    """Which episodes each of several runs has.

    Raises:
        ValueError: the runs are not of equal length.
    """
    length, rest = divmod(episodes, runs)
    if rest or not length:
        raise ValueError(f"{episodes} episodes are no {runs} runs of equal length")
    return [slice(i * length, (i + 1) * length) for i in range(runs)]


def check_defined(union: Int64, classes: npt.ArrayLike, novel: Sequence[int]) -> None:
    """Whether each held-out class has a score.

    Args:
        union: (len(novel),) the pixels that are labelled or predicted as the class.
        classes: (E, N) label values.
        novel: the held-out classes.

    Raises:
        UserError: a class has no episode, or no pixel in any label or prediction.
    """
    if union.all():  # a class without an episode has no pixel either
        return
    absent = sorted(set(novel) - set(np.unique(np.asarray(classes)).tolist()))
    if absent:
        raise UserError(f"no score: no episode of class {_listing(absent)}; evaluate more episodes")
    empty = [c for c, pixels in zip(novel, union, strict=True) if pixels == 0]
    if empty:
        raise UserError(
            f"no score: no pixel is labelled or predicted as class {_listing(empty)}; evaluate more episodes"
        )


def mean_iou(confusion: npt.ArrayLike, classes: npt.ArrayLike, novel: Sequence[int], runs: int = 1) -> float:
    """The mean of :func:`class_iou` over the held-out classes, background excluded; in [0, 1].

    Of several runs it is the mean of theirs.

    Raises:
        UserError, ValueError: as :func:`class_iou`.

    Example:
        Two 1-way episodes, of the classes 7 and 9; rows are labels, columns predictions.

        >>> counts = [[[50, 10], [5, 35]], [[60, 0], [20, 20]]]
        >>> class_iou(counts, [[7], [9]], novel=(7, 9)).tolist()  # 35 / 50 and 20 / 40
        [0.7, 0.5]
        >>> round(mean_iou(counts, [[7], [9]], novel=(7, 9)), 6)
        0.6
    """
    return float(class_iou(confusion, classes, novel, runs).mean())


def binary_iou(confusion: npt.ArrayLike, runs: int = 1) -> float:
    """The mean of foreground and background IoU, all classes and episodes pooled; in [0, 1].

    Foreground is any way, in the label as in the prediction: confusing two ways is no error here. Of several ``runs``
    (as in :func:`class_iou`) it is the mean of theirs.

    Raises:
        UserError: foreground or background is nowhere, neither labelled nor predicted.
        ValueError: the shape does not fit or the counts are not integers.

    Example:
        >>> binary_iou([[[60, 0], [20, 20]]])  # foreground 20 / 40, background 60 / 80
        0.625
    """
    if runs > 1:
        cells = np.asarray(confusion)
        return float(np.mean([binary_iou(cells[part]) for part in runs_of(len(cells), runs)]))
    intersection, union = binary_terms(confusion).sum(axis=0).T
    if not union.all():
        raise UserError("no score: foreground or background has no pixel in any episode; evaluate more episodes")
    return float((intersection / union).mean())


def boundary_iou(bands: npt.ArrayLike, classes: npt.ArrayLike, novel: Sequence[int], runs: int = 1) -> float:
    """Boundary-IoU, in [0, 1]: as :func:`mean_iou`, of the bands along the outlines alone.

    Args:
        bands: (E, N, 3) integers, the pixels of each way in both bands, in the predicted one alone, in the true one
            alone. Like all counts they are summed over episodes before they are divided.
        classes: (E, N) label values.
        novel: the held-out classes.
        runs: the episodes are so many runs, as in :func:`class_iou`.

    Raises:
        UserError: a class has no episode, or no pixel in any band.
        ValueError: shapes that do not fit, or counts that are not integers.

    Example:
        >>> boundary_iou([[[6, 2, 2]], [[1, 3, 0]]], [[7], [9]], novel=(7, 9))  # 6 / 10 and 1 / 4
        0.425
    """
    terms, values = boundary_terms(bands, classes), np.asarray(classes)
    scores = []
    for part in runs_of(len(values), runs):
        tp, fp, fn = summed(terms[:, part], positions(values[part], novel), len(novel))
        union = tp + fp + fn
        check_defined(union, values[part], novel)
        scores.append((tp / union).mean())
    return float(np.mean(scores))


def boundary_terms(bands: npt.ArrayLike, classes: npt.ArrayLike) -> Int64:
    """tp, fp and fn of the bands of each way of each episode, int64 (3, E, N); see :func:`boundary_iou`.

    Raises:
        ValueError: shapes that do not fit, or counts that are not integers.
    """
    cells = np.asarray(bands)
    if cells.dtype.kind not in "iu" or cells.shape != (*np.shape(classes), 3):
        raise ValueError(f"bands {cells.shape} of {cells.dtype} do not fit classes {np.shape(classes)}")
    return np.ascontiguousarray(np.moveaxis(cells.astype(np.int64, copy=False), -1, 0))


def episode_ious(confusion: npt.ArrayLike) -> Float64:
    """Foreground IoU of each single episode, (E,) float64 in [0, 1], to rank episodes by: it is no score of a method.

    Foreground is any way, as in :func:`binary_iou`; 0 where there is neither label nor prediction.

    Raises:
        ValueError: the shape does not fit or the counts are not integers.
    """
    intersection, union = binary_terms(confusion)[:, 0].T
    return np.asarray(intersection / np.maximum(union, 1), np.float64)


def way_terms(confusion: npt.ArrayLike, classes: npt.ArrayLike) -> Int64:
    """tp, fp and fn of each way of each episode, int64 (3, E, N).

    Raises:
        ValueError: shapes that do not fit, or counts that are not integers.
    """
    cells = _cells(confusion)
    if np.shape(classes) != (len(cells), cells.shape[1] - 1):
        raise ValueError(f"classes {np.shape(classes)} do not fit counts {cells.shape}")
    tp = np.diagonal(cells, axis1=1, axis2=2)[:, 1:]
    # column by column: numpy's sum over the short axes of many small matrices takes several times as long
    predicted = np.add.reduce([cells[:, label, 1:] for label in range(cells.shape[1])])
    labelled = np.add.reduce([cells[:, 1:, way] for way in range(cells.shape[2])])
    return np.stack([tp, predicted - tp, labelled - tp])


def binary_terms(confusion: npt.ArrayLike) -> Int64:
    """Intersection and union of foreground and background of each episode, int64 (E, 2, 2).

    Axis 1 is (foreground, background), axis 2 is (intersection, union).

    Raises:
        ValueError: the shape does not fit or the counts are not integers.
    """
    cells = _cells(confusion)
    ways = range(1, cells.shape[1])
    tn = cells[:, 0, 0]
    # column by column, see way_terms
    tp = np.add.reduce([cells[:, label, way] for label in ways for way in ways])
    wrong = np.add.reduce([cells[:, 0, way] + cells[:, way, 0] for way in ways])
    return np.stack([tp, tp + wrong, tn, tn + wrong], axis=1).reshape(-1, 2, 2)


def positions(classes: npt.ArrayLike, novel: Sequence[int]) -> npt.NDArray[np.intp]:
    """Where each label value of ``classes`` stands in ``novel``; the shape is that of ``classes``.

    Raises:
        ValueError: ``novel`` names a class twice, or ``classes`` holds one that is not in ``novel``.
    """
    values, order = np.asarray(classes), np.argsort(novel)
    ascending = np.asarray(novel)[order]
    if len(set(novel)) != len(novel):
        raise ValueError(f"the held-out classes {list(novel)} are not distinct")
    places = np.searchsorted(ascending, values)
    if not len(novel) or (ascending.take(places, mode="clip") != values).any():
        strange = sorted(set(np.unique(values).tolist()) - set(novel))
        if strange:
            raise ValueError(f"classes {strange} are not among the held-out classes {list(novel)}")
    return order[places]


def constant_loss(counts: npt.ArrayLike) -> float:
    """The cross-entropy of the best constant prediction, in nats.

    Args:
        counts: (L,) pixels of each label, void left out; or (I, L), pooled over I steps.

    Returns:
        -sum_l p_l log p_l with p_l the share of label l; 0 where no pixel is labelled, as the loss is.
    """
    pooled = np.atleast_2d(np.asarray(counts, np.float64)).sum(axis=0)
    total = pooled.sum()
    if total == 0:
        return 0.0
    shares = pooled[pooled > 0] / total
    return float(-(shares * np.log(shares)).sum()) + 0.0  # no -0.0


def constant_losses(counts: npt.ArrayLike) -> Float64:
    """(I,) what the best constant prediction of a whole training loses in each step, in nats.

    Args:
        counts: (I, L) pixels of each label by step, void left out; a step without any loses 0.
    """
    table = np.asarray(counts, np.float64)
    totals = table.sum(axis=1)
    pooled = table.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where(pooled > 0, np.log(pooled / pooled.sum()), 0.0)  # a label that never occurs costs nothing
        shares = np.where(totals[:, None] > 0, table / totals[:, None], 0.0)
    losses: Float64 = -shares @ logs
    return losses


def _cells(confusion: npt.ArrayLike) -> Int64:
    cells = np.asarray(confusion)
    if cells.ndim != 3 or cells.shape[1] != cells.shape[2] or cells.shape[1] < 2:
        raise ValueError(f"counts must have the shape (E, N+1, N+1); found {cells.shape}")
    if cells.dtype.kind not in "iu":
        raise ValueError(f"counts must be integers; found {cells.dtype}")
    return cells.astype(np.int64, copy=False)


def _listing(classes: Sequence[int]) -> str:
    return ", ".join(map(str, classes))
