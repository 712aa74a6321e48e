r"""How much of a score's variance is due to queries, to supports, and to the two together: two-way components.

The score of query q with supports s of the same class is taken as mu + a_q + b_s + d_qs, with mu of the class and
independent effects of variances A, B and D. Not every query meets every set of supports. Over all classes together,

* the scores of a query vary around their mean with variance B + D,
* those of a set of supports with A + D,
* what a least-squares fit of both effects leaves over has variance D for each of its degrees of freedom.

Solved for A, B and D this is the method of moments of an analysis of variance (Henderson's third method), unbiased for
any such design, and where each query meets each set the table of any textbook. A method that is not random has no error
of its own, so D is what is particular to a query with these supports.

The standard errors are of a jackknife: the sum of the variances when each query in turn, and each set of supports, is
left out. What the two have in common is counted twice, so that intervals are a little wide.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fsseg_bench.conventions import Float64
from fsseg_bench.protocol.significance import t_quantile
from fsseg_bench.protocol.statistics import Interval

Ints = npt.NDArray[np.intp]
_ROUNDING = 1e-20


class Part(NamedTuple):
    """The share of the variance that one component has."""

    variance: float
    """Unbiased, and so at times below 0; in the square of the score's unit."""
    share: float
    """Of the sum of the three; of unbiased estimates, and so at times below 0."""
    interval: Interval
    """Of the share, at 95 %; around an unbiased share, so that its ends may lie below 0 or above 1."""


@dataclass(frozen=True)
class Components:
    """The three components of a score's variance within a class."""

    query: Part
    support: Part
    interaction: Part
    queries: int
    """Different ones."""
    supports: int
    """Different sets of supports."""
    cells: int
    """Different pairs of the two."""

    @property
    def total(self) -> float:
        """The sum of the three variances."""
        return self.query.variance + self.support.variance + self.interaction.variance


def components(
    scores: npt.ArrayLike, classes: Sequence[Hashable], queries: Sequence[Hashable], supports: Sequence[Hashable]
) -> Components | None:
    """Of scores (n,) with the class, the query and the supports of each.

    Equal pairs of query and supports, whose scores are equal, count once. Queries of different classes are different.

    Returns:
        None where a component has no degrees of freedom, or nothing varies.
    """
    y = np.asarray(scores, np.float64)
    c = _numbers(classes)
    q, s = (_numbers(zip(c.tolist(), _numbers(one).tolist(), strict=True)) for one in (queries, supports))
    _, first = np.unique(np.stack([q, s], axis=1), axis=0, return_index=True)
    cells = [_Cells(*(part[first][c[first] == one] for part in (y, q, s))) for one in range(int(c.max()) + 1)]
    sums = np.array([of_class.sums() for of_class in cells])
    total = sums.sum(axis=0)
    found = _variances(total)
    if found is None:
        return None
    variance, least = np.zeros(3), len(first)
    for role in ("query", "support"):
        left = [
            total - own + less for of_class, own in zip(cells, sums, strict=True) for less in of_class.without(role)
        ]
        known = np.array([one / one.sum() for one in map(_variances, left) if one is not None])
        if len(known) < 2:
            return None
        variance += (len(known) - 1) / len(known) * ((known - known.mean(axis=0)) ** 2).sum(axis=0)
        least = min(least, len(known))
    half = t_quantile(0.975, least - 1) * np.sqrt(variance)
    query, support, both = (
        Part(float(v), float(share), Interval(float(share - h), float(share + h), float(h)))
        for v, share, h in zip(found, found / found.sum(), half, strict=True)
    )
    return Components(query, support, both, int(q.max()) + 1, int(s.max()) + 1, len(first))


def _numbers(values: Iterable[Hashable]) -> Ints:
    """(n,) equal values get equal numbers from 0."""
    known: dict[Hashable, int] = {}
    return np.array([known.setdefault(value, len(known)) for value in values], np.intp)


def _variances(sums: Float64) -> Float64 | None:
    """(3,) of query, support and interaction; None where one has no degrees of freedom, or nothing varies."""
    if min(sums[1::2]) < 1:
        return None
    of_query, of_support, rest = sums[::2] / sums[1::2]
    found = np.array([of_support - rest, of_query - rest, rest])
    return found if found.sum() > _ROUNDING else None


class _Cells(NamedTuple):
    """The scores of one class, each pair of query and supports once."""

    y: Float64
    query: Ints
    support: Ints

    def sums(self) -> Float64:
        """(6,) squares within queries, within sets of supports, and left over by the fit of both; each with its degrees
        of freedom behind it."""
        (q, queries), (s, supports) = (_in_turn(labels) for labels in self[1:])
        y = self.y - self.y.mean() if len(self.y) else self.y  # for the rounding alone
        of_query = y - (np.bincount(q, y) / np.bincount(q))[q] if len(y) else y
        of_support = y - (np.bincount(s, y) / np.bincount(s))[s] if len(y) else y
        within = float(of_query @ of_query)
        met = np.zeros((queries, supports))
        met[q, s] = 1
        normal = np.diag(met.sum(axis=0)) - met.T @ (met / met.sum(axis=1, keepdims=True))
        right = np.bincount(s, of_query, supports)
        parts = _parts(met)
        fitted = float(right @ np.linalg.solve(normal + (parts[:, None] == parts), right))
        freedom = len(y) - queries - supports + len(np.unique(parts))
        # without freedom the fit is exact: what is left is rounding
        left = max(0.0, within - fitted) if freedom else 0.0
        squares = [within, float(of_support @ of_support), left]
        return np.stack([squares, [len(y) - queries, len(y) - supports, freedom]], axis=1).ravel()

    def without(self, role: str) -> Iterator[Float64]:
        """The sums without each of the queries, or of the sets of supports, in turn."""
        labels: Ints = getattr(self, role)
        for one in np.unique(labels):
            yield _Cells(*(part[labels != one] for part in self)).sums()


def _in_turn(labels: Ints) -> tuple[Ints, int]:
    """Labels numbered from 0 without gaps, and how many there are."""
    names, numbers = np.unique(labels, return_inverse=True)
    return numbers.reshape(-1), len(names)


def _parts(met: Float64) -> Ints:
    """(S,) which of the sets of supports hang together through queries; parts that do not are told apart by no fit."""
    labels = np.arange(met.shape[1])
    there = met > 0
    while True:
        of_query = np.where(there, labels, len(labels)).min(axis=1, initial=len(labels))
        least = np.where(there, of_query[:, None], len(labels)).min(axis=0, initial=len(labels))
        if (least == labels).all():
            return labels
        labels = least
