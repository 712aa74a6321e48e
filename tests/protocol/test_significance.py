"""Holm, power and spread: by hand, by simulation, against scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from fsseg_bench.protocol.paired_episodes import paired_by_episodes
from fsseg_bench.protocol.significance import Detection, holm, seed_spread, t_quantile, two_sided_p
from tests.support.pairs import joined, pair

# Holm


def test_holm_by_hand() -> None:
    """Sorted 0.005, 0.01, 0.03, 0.04: times 4, 3, 2, 1 are 0.02, 0.03, 0.06, 0.04, and the last is raised to 0.06."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02), abs=1e-15)
    assert holm([0.5, 0.9, 0.7]) == (1.0, 1.0, 1.0)
    assert holm([0.2]) == (0.2,)
    assert holm([0.02, 0.02]) == (0.04, 0.04)
    assert holm([]) == ()


def test_holm_rejects_as_the_step_down_procedure_does() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        values, alpha = rng.uniform(0, 0.2, rng.integers(1, 8)).tolist(), float(rng.uniform(0.01, 0.2))
        rejected = [False] * len(values)
        for rank, i in enumerate(np.argsort(values).tolist()):
            if values[i] > alpha / (len(values) - rank):
                break
            rejected[i] = True
        assert [p <= alpha for p in holm(values)] == rejected


@pytest.mark.parametrize("wrong", [-0.1, 1.1, math.nan])
def test_p_values_out_of_range(wrong: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm([0.5, wrong])


# Power


def test_a_resolvable_difference_is_found_as_often_as_asked() -> None:
    for level, power in ((0.95, 0.8), (0.99, 0.5)):
        difference = Detection(level=level, power=power).resolvable(2.0)
        threshold = stats.norm.ppf((1 + level) / 2) * 2.0
        assert stats.norm.sf(threshold, loc=difference, scale=2.0) == pytest.approx(power, abs=1e-9)


def test_episodes_needed_by_hand() -> None:
    """2.8016 standard errors of 0.01 are 0.028016; a third of that takes nine times the episodes."""
    assert Detection().resolvable(0.01) == pytest.approx(0.028016, abs=1e-6)
    assert Detection().episodes_needed(0.01, 1000, 0.028016) in {1000, 1001}
    assert Detection().episodes_needed(0.01, 1000, -0.028016 / 3) == pytest.approx(9000, abs=2)
    assert Detection().episodes_needed(0.01, 1000, 50.0) == 1
    assert Detection().episodes_needed(0.0, 1000, 0.01) == 1
    with pytest.raises(ValueError, match="difference of 0"):
        Detection().episodes_needed(0.01, 1000, 0.0)


@pytest.mark.slow
def test_that_many_episodes_do_find_the_difference_in_four_of_five_draws() -> None:
    """A pilot's standard error against draws of the number of episodes that it asks for."""
    everything = pair(3, sizes=(20_000, 20_000), gain=0.06)
    members = [np.flatnonzero(np.asarray(everything[0].classes)[:, 0] == c) for c in everything[0].novel]
    rng = np.random.RandomState(1)

    def drawn(each: int, seed: int):
        rows = np.concatenate([m[rng.randint(0, len(m), each)] for m in members])
        a, b = (joined(side, rows) for side in everything)
        return paired_by_episodes([[a]], [[b]], resamples=400, seed=seed).scores["mean"].overall

    truth = paired_by_episodes([[everything[0]]], [[everything[1]]], resamples=1).scores["mean"].overall.value
    pilot = drawn(150, 0)
    needed = Detection().episodes_needed(pilot.error, 300, truth)
    assert needed is not None
    assert 60 < needed < 3000
    found = [drawn(round(needed / 2), i) for i in range(1, 301)]
    share = sum(abs(d.value) > 1.96 * d.error for d in found) / len(found)
    assert 0.68 < share < 0.92  # the pilot's error is itself uncertain


# Seeds


def test_spread_by_hand() -> None:
    assert seed_spread([0.50, 0.52, 0.57]) == pytest.approx((0.53, 0.0360555, 3), abs=1e-6)
    assert seed_spread([0.4]) == (0.4, None, 1)
    with pytest.raises(ValueError, match="no scores"):
        seed_spread([])


DEGREES = (1, 2, 3, 4, 7, 15, 30, 101, 1000, 40_000)


@pytest.mark.parametrize("df", DEGREES)
def test_quantiles_are_scipys(df: int) -> None:
    for probability in (0.5, 0.5001, 0.6, 0.8, 0.9, 0.95, 0.975, 0.995, 0.99999, 0.2, 0.025, 1e-6):
        expected = stats.t.ppf(probability, df)
        assert t_quantile(probability, df) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("df", (*DEGREES, 0.5, 2.5, 88.2))
def test_p_values_are_scipys_far_into_the_tails(df: float) -> None:
    for t in (0.0, 1e-9, 0.01, 0.5, 1.0, 1.96, 2.5, 6.0, 40.0, 1e4, 1e8):
        expected = 2 * stats.t.sf(t, df)
        assert two_sided_p(t, df) == pytest.approx(expected, rel=1e-9, abs=1e-300)
        assert two_sided_p(-t, df) == two_sided_p(t, df)
    assert two_sided_p(math.inf, df) == two_sided_p(1e200, df) == 0


def test_a_quantile_is_where_the_p_value_is_what_it_leaves() -> None:
    for df in range(1, 60):
        assert two_sided_p(t_quantile(0.975, df), df) == pytest.approx(0.05, rel=1e-10)


def test_arguments_out_of_range() -> None:
    for t, df in ((math.nan, 3), (1.0, 0), (1.0, -1.0), (1.0, math.nan)):
        with pytest.raises(ValueError, match="degrees of freedom"):
            two_sided_p(t, df)
    for probability, df in ((0.0, 3), (1.0, 3), (0.5, 0), (math.nan, 3)):
        with pytest.raises(ValueError, match="no quantile"):
            t_quantile(probability, df)
