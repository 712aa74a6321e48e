from __future__ import annotations

import hashlib
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fsseg_bench.protocol.streams import below, distinct, seed_of, stream
from tests.support.fresh import python


def test_a_seed_is_the_head_of_the_hash_of_its_parts() -> None:
    digest = hashlib.sha256(b"episodes\x1f1385\x1f1").hexdigest()
    assert seed_of("episodes", 1385, 1) == int(digest[:16], 16) // 2


@given(st.lists(st.integers() | st.text(), max_size=4))
def test_seeds_are_63_bit(parts: list[int | str]) -> None:
    assert 0 <= seed_of(*parts) < 2**63


def test_parts_are_kept_apart() -> None:
    assert len({seed_of("ab", "c"), seed_of("a", "bc"), seed_of("abc"), seed_of("c", "ab")}) == 4


def test_a_stream_is_pinned() -> None:
    """The first draws of numpy's Mersenne Twister from the eight 32-bit words of the hash."""
    words = np.frombuffer(hashlib.sha256(b"pin\x1f7").digest(), dtype="<u4")
    expected = np.random.RandomState([int(w) for w in words]).random_sample(3)
    assert stream("pin", 7).random_sample(3).tolist() == expected.tolist()
    assert [below(stream("pin", 7), n) for n in (10, 1000, 2**31)] == [0, 37, 80636137]


def test_streams_are_equal_in_another_process_with_another_hash_seed() -> None:
    code = "from fsseg_bench.protocol.streams import *; print(distinct(stream('x', 1), 1000, 5), seed_of('x', 1))"
    expected = f"{distinct(stream('x', 1), 1000, 5)} {seed_of('x', 1)}"
    assert python(code, PYTHONHASHSEED="77").strip() == expected


@pytest.mark.parametrize("n", [1, 2, 7, 10**6])
def test_below_stays_inside(n: int) -> None:
    rng = stream("inside", n)
    assert all(0 <= below(rng, n) < n for _ in range(200))


@pytest.mark.parametrize("n", [1, 3, 1000, 2**31 - 1, 2**40])
def test_below_never_reaches_n(n: int) -> None:
    class Top(np.random.RandomState):
        def random_sample(self, size: object = None) -> float:  # type: ignore[override]
            return 1 - 2.0**-53

    assert below(Top(), n) == n - 1


def test_below_is_uniform() -> None:
    rng = stream("uniform")
    counts = np.bincount([below(rng, 13) for _ in range(13_000)], minlength=13)
    assert stats.chisquare(counts).pvalue > 1e-3


def test_below_refuses_an_empty_range() -> None:
    with pytest.raises(ValueError, match="n = 0"):
        below(stream("empty"), 0)


@given(st.integers(0, 50).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))), st.integers())
def test_distinct_draws_differ_and_stay_inside(shape: tuple[int, int], seed: int) -> None:
    n, k = shape
    drawn = distinct(stream(seed), n, k)
    assert len(set(drawn)) == len(drawn) == k
    assert set(drawn) <= set(range(n))


def test_distinct_draws_are_a_partial_shuffle() -> None:
    """The same as swapping through a list of all values, written out."""
    for seed in range(50):
        rng, values = stream("shuffle", seed), list(range(20))
        for i in range(8):
            j = i + below(rng, 20 - i)
            values[i], values[j] = values[j], values[i]
        assert distinct(stream("shuffle", seed), 20, 8) == values[:8]


def test_every_ordered_draw_is_as_likely() -> None:
    rng = stream("orders")
    counts = Counter(tuple(distinct(rng, 4, 2)) for _ in range(12_000))
    assert len(counts) == 12
    assert stats.chisquare(list(counts.values())).pvalue > 1e-3


@pytest.mark.parametrize(("n", "k"), [(3, 4), (0, 1), (5, -1)])
def test_distinct_refuses_more_than_there_is(n: int, k: int) -> None:
    with pytest.raises(ValueError, match=f"{k} different values out of {n}"):
        distinct(stream("many"), n, k)
