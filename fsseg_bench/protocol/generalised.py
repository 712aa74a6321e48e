"""Generalised few-shot segmentation (Tian et al., CVPR 2022): base and novel classes labelled at once, no episodes.

K supports of each novel class are fixed for a run; every image of the test lists is labelled with background, base and
novel classes; one confusion matrix of all images gives the scores. In print two numbers are called the mean: half the
sum of the base and the novel mean, and the mean over all classes. Both are here, under different names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fsseg_bench.conventions import Float64, Int64
from fsseg_bench.errors import UserError
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.protocol.statistics import Interval, percentile_interval
from fsseg_bench.protocol.streams import distinct, stream

_RESAMPLES = 1000
_LEVEL = 0.95


@dataclass(frozen=True)
class Labels:
    """What the labels of images are: 0 background, then ``classes`` in their order, from 1."""

    classes: tuple[int, ...]
    """Label values of the data set, ascending: base and novel classes together."""
    novel: tuple[int, ...]
    """Those held out, ascending."""

    @classmethod
    def of(cls, protocol: Protocol, fold: int) -> Labels:
        """Those of a fold; classes that are neither base nor novel are background."""
        novel = protocol.novel_classes(fold)
        return cls(tuple(sorted({*protocol.base_classes(fold), *novel})), novel)

    @property
    def size(self) -> int:
        """C + 1, with the background."""
        return len(self.classes) + 1

    def place(self, class_id: int) -> int:
        """The label (1..C) of a class."""
        return self.classes.index(class_id) + 1

    @property
    def novel_places(self) -> tuple[int, ...]:
        """The labels of the novel classes."""
        return tuple(map(self.place, self.novel))

    @property
    def base_places(self) -> tuple[int, ...]:
        """The labels of the base classes, without the background."""
        return tuple(i for i in range(1, self.size) if i not in self.novel_places)


Supports = Mapping[int, tuple[str, ...]]
"""Novel class to its K images."""


def draw_supports(candidates: Mapping[int, Sequence[str]], shot: int, seed: int) -> Supports:
    """K images of each class. What a class gets depends on its own candidates, the seed and nothing else.

    Images differ as long as there are enough; where there are fewer than K, they come again in the same order.

    Args:
        candidates: class to image ids, sorted.
        shot: K.
        seed: of the run.

    Raises:
        UserError: a class has no candidate.
    """
    if empty := [c for c, images in candidates.items() if not images]:
        raise UserError(
            f"no image can support class {', '.join(map(str, empty))}: episodes.support_pixels, support_one_novel or "
            "support_list leave none"
        )
    drawn = {}
    for c, images in candidates.items():
        order = distinct(stream("generalised", seed, c), len(images), min(shot, len(images)))
        drawn[c] = tuple(images[order[i % len(order)]] for i in range(shot))
    return drawn


class Scores(NamedTuple):
    """Each in [0, 1]."""

    base: float
    """Mean IoU of the base classes, and of the background where the protocol counts it among them."""
    novel: float
    """Mean IoU of the novel classes."""
    mean_of_base_and_novel: float
    """Half the sum of the two, however many classes each is over (DIaM's mean)."""
    mean_over_all_classes: float
    """Mean IoU of background, base and novel classes alike (CAPL's and POP's total)."""


NAMES: Mapping[str, str] = {name: name.replace("_", " ") for name in Scores._fields}
"""Field to what tables call it. The two means have no shorter names."""


def iou(confusion: npt.ArrayLike) -> Float64:
    """IoU of each label, (C+1,) float64 in [0, 1]; NaN where no pixel is labelled or predicted so.

    ``confusion`` (C+1, C+1) are integers: rows are labels, columns predictions.
    """
    return _iou(terms_of(np.asarray(confusion, np.int64)[None])[0])


def scores(confusion: npt.ArrayLike, labels: Labels, *, background_in_base: bool) -> Scores:
    """The scores of one confusion matrix (C+1, C+1), of all images.

    Raises:
        UserError: a class has no score, since no pixel is labelled or predicted as it.

    Example:
        Background, a base class and a novel one: IoU 6/8, 4/6 and 2/4.

        >>> made = scores([[6, 1, 1], [0, 4, 1], [0, 0, 2]], Labels((3, 7), (7,)), background_in_base=False)
        >>> [round(value, 4) for value in made]
        [0.6667, 0.5, 0.5833, 0.6389]
    """
    found = iou(confusion)
    if missing := [i for i, value in enumerate(found) if np.isnan(value)]:
        names = ", ".join("background" if i == 0 else f"class {labels.classes[i - 1]}" for i in missing)
        raise UserError(f"no score: no pixel is labelled or predicted as {names}; the test lists must show every class")
    return Scores(*map(float, _means(found, labels, background_in_base)))


def intervals(
    terms: Sequence[Int64], labels: Labels, *, background_in_base: bool, seed: int = 0
) -> dict[str, Interval]:
    """95 % intervals over images, by field of :class:`Scores`: images are resampled with replacement.

    Args:
        terms: of each run (M, 3, C+1), those of each image (:func:`terms_of`), the same M images in the same order. An
            image that a run does not label has zeros.
        labels: what they are of.
        background_in_base: as for :func:`scores`.
        seed: of the resampling.

    Returns:
        Of the means over runs: a resample takes the same images in all of them, so that the intervals are not over
        other supports. A class that a resample does not show is left out of its means.
    """
    count = len(terms[0])
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=_RESAMPLES)
    made = []
    for run in terms:
        sums = draws.astype(np.float64) @ run.reshape(count, -1).astype(np.float64)
        resampled = sums.reshape(_RESAMPLES, 3, labels.size)
        made.append(_means(_iou(resampled), labels, background_in_base))
    means = [np.mean(values, axis=0) for values in zip(*made, strict=True)]
    return {name: percentile_interval(of, _LEVEL) for name, of in zip(Scores._fields, means, strict=True)}


def terms_of(confusions: Int64) -> Int64:
    """Confusion matrices (M, C+1, C+1) as (M, 3, C+1): pixels of each label that are right, labelled, predicted."""
    diagonal = np.diagonal(confusions, axis1=1, axis2=2)
    return np.stack([diagonal, confusions.sum(axis=2), confusions.sum(axis=1)], axis=1)


def _iou(terms: npt.NDArray[np.generic]) -> Float64:
    """(..., 3, L) as (..., L)."""
    both, labelled, predicted = np.moveaxis(terms.astype(np.float64), -2, 0)
    union = labelled + predicted - both
    found: Float64 = np.divide(both, union, out=np.full_like(both, np.nan), where=union > 0)
    return found


def _mean(values: Float64) -> Float64:
    """Over the last axis, without NaNs; NaN where there is nothing else."""
    there = ~np.isnan(values)
    count = there.sum(axis=-1)
    total = np.asarray(np.where(there, values, 0.0).sum(axis=-1))
    mean: Float64 = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    return mean


def _means(values: Float64, labels: Labels, background_in_base: bool) -> tuple[Float64, ...]:
    """The fields of :class:`Scores` from IoUs (..., C+1)."""
    base_places = [*([0] if background_in_base else []), *labels.base_places]
    base, novel, total = (
        _mean(values[..., places]) for places in (base_places, list(labels.novel_places), list(range(labels.size)))
    )
    return base, novel, np.asarray((base + novel) / 2), total
