"""Components of variance: pairs counted one by one, a balanced analysis of variance by hand, and simulation."""

from __future__ import annotations

import numpy as np
import pytest

from fsseg_bench.protocol.components import Components, components

NAMES = ("query", "support", "interaction")


def shares(found: Components) -> list[float]:
    return [getattr(found, name).share for name in NAMES]


def variances(found: Components | None) -> list[float]:
    assert found is not None
    return [getattr(found, name).variance for name in NAMES]


def test_a_balanced_design_is_the_analysis_of_variance_of_any_textbook() -> None:
    y = np.random.RandomState(0).rand(5, 4)  # queries by supports, each once
    rows, columns = y.mean(axis=1), y.mean(axis=0)
    of_rows = 4 * ((rows - y.mean()) ** 2).sum() / 4
    of_columns = 5 * ((columns - y.mean()) ** 2).sum() / 3
    rest = ((y - rows[:, None] - columns + y.mean()) ** 2).sum() / 12
    q, s = np.indices(y.shape)
    found = components(y.ravel(), np.zeros(20).tolist(), q.ravel().tolist(), s.ravel().tolist())
    assert variances(found) == pytest.approx([(of_rows - rest) / 4, (of_columns - rest) / 5, rest])
    assert found is not None
    assert (found.queries, found.supports, found.cells) == (5, 4, 20)


def squares_left(y: np.ndarray, columns: list[list[object]]) -> tuple[float, int]:
    """What a least-squares fit of one constant for each value of each column leaves, and its degrees of freedom."""
    dummies = [[value == one for value in own] for own in columns for one in dict.fromkeys(own)]
    design = np.array(dummies, float).T
    fit, _, rank, _ = np.linalg.lstsq(design, y, rcond=None)
    return float(((y - design @ fit) ** 2).sum()), len(y) - int(rank)


def test_an_incomplete_design_is_what_fits_with_dummies_give() -> None:
    rng = np.random.RandomState(1)
    cells = sorted({(int(c), int(q), int(s)) for c, q, s in rng.randint(0, (2, 6, 5), (30, 3))})
    cells += [(2, 0, 0), (2, 0, 1), (2, 1, 2), (2, 1, 3), (3, 0, 0)]  # two parts that do not meet, and one cell alone
    y = rng.rand(len(cells))
    query, support = ([(c, cell[k]) for c, *cell in cells] for k in (0, 1))
    (q, of_q), (s, of_s), (r, of_r) = (squares_left(y, own) for own in ([query], [support], [query, support]))
    found = components(y, *zip(*cells, strict=True))
    expected = [s / of_s - r / of_r, q / of_q - r / of_r, r / of_r]
    assert variances(found) == pytest.approx(expected)
    again = components(np.tile(y, 2), *zip(*(cells * 2), strict=True))  # repetitions say nothing new
    assert variances(again) == pytest.approx(expected)


def test_supports_that_do_nothing_have_no_share_in_any_design() -> None:
    rng = np.random.RandomState(4)
    cells = [(0, q, int(s)) for q in range(9) for s in rng.permutation(7)[:3]]
    y = rng.rand(9)[[q for _, q, _ in cells]]
    found = components(y, *zip(*cells, strict=True))
    assert found is not None
    assert shares(found) == pytest.approx([1, 0, 0])


def test_intervals_are_a_jackknifes() -> None:
    rng = np.random.RandomState(2)
    cells = [(0, q, s) for q in range(7) for s in range(6) if (q + s) % 3]
    y = rng.rand(len(cells))
    found = components(y, *zip(*cells, strict=True))
    assert found is not None
    variance = np.zeros(3)
    for place, count in ((1, 7), (2, 6)):
        left = []
        for one in range(count):
            kept = [i for i, cell in enumerate(cells) if cell[place] != one]
            part = components(y[kept], *zip(*(cells[i] for i in kept), strict=True))
            assert part is not None
            left.append(shares(part))
        variance += (count - 1) ** 2 / count * np.var(left, axis=0, ddof=1)
    halves = [getattr(found, name).interval.half for name in NAMES]
    assert halves == pytest.approx((2.570582 * np.sqrt(variance)).tolist(), rel=1e-5)  # t of 5 degrees of freedom


@pytest.mark.parametrize("truth", [(4.0, 1.0, 2.0), (0.0, 3.0, 1.0), (2.0, 0.0, 1.0)])
def test_simulated_components_are_found_and_covered(truth: tuple[float, float, float]) -> None:
    """Three classes with means of their own, 40 queries and 20 sets of supports each, four draws a query."""
    rng = np.random.RandomState(3)
    draws = []
    covered = np.zeros(3)
    wanted = np.array(truth) / sum(truth)
    for _ in range(60):
        cells = [(c, q, int(s)) for c in range(3) for q in range(40) for s in rng.permutation(20)[:4]]
        a, b = rng.randn(3, 40) * truth[0] ** 0.5, rng.randn(3, 20) * truth[1] ** 0.5
        d = rng.randn(3, 40, 20) * truth[2] ** 0.5
        y = [10 * c + a[c, q] + b[c, s] + d[c, q, s] for c, q, s in cells]
        found = components(y, *zip(*cells, strict=True))
        draws.append(variances(found))
        assert found is not None
        ends = [getattr(found, name).interval for name in NAMES]
        covered += [end.low <= own <= end.high for end, own in zip(ends, wanted, strict=True)]
    error = np.std(draws, axis=0) / 60**0.5
    assert (np.abs(np.mean(draws, axis=0) - truth) < 4 * error + 1e-12).all()
    assert (covered >= 60 * 0.88).all()


def test_where_there_is_nothing_to_tell() -> None:
    assert components([1.0, 1.0, 1.0, 1.0], [0] * 4, [0, 0, 1, 1], [0, 1, 0, 1]) is None
    assert components([0.1, 0.2, 0.3], [0] * 3, [0, 1, 2], [0, 1, 2]) is None  # no query with two supports
