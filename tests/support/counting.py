"""Counts pixels one by one, as slowly and as plainly as can be: the reference for everything that counts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def confusion_of(label: npt.ArrayLike, prediction: npt.ArrayLike, ways: int) -> npt.NDArray[np.int64]:
    """(N+1, N+1) counts of one episode: rows are labels, columns predictions; void (255) is left out."""
    cells = [[0] * (ways + 1) for _ in range(ways + 1)]
    for true, predicted in zip(np.ravel(label).tolist(), np.ravel(prediction).tolist(), strict=True):
        if true != 255:
            cells[true][predicted] += 1
    return np.array(cells, np.int64)


def pooled_iou(
    labels: Sequence[npt.ArrayLike],
    predictions: Sequence[npt.ArrayLike],
    classes: Sequence[Sequence[int]],
    class_id: int,
) -> float:
    """IoU of one class over all pixels of all episodes that have it."""
    both = either = 0
    for label, prediction, ways in zip(labels, predictions, classes, strict=True):
        if class_id not in ways:
            continue
        way = list(ways).index(class_id) + 1
        for true, predicted in zip(np.ravel(label).tolist(), np.ravel(prediction).tolist(), strict=True):
            if true != 255:
                both += true == way and predicted == way
                either += way in (true, predicted)
    return both / either
