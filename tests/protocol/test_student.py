from __future__ import annotations

import math

import pytest
from scipy import stats

from fsseg_bench.protocol.student import t_quantile, two_sided_p
from tests.support.fresh import python

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


def test_scipy_is_not_needed() -> None:
    code = "import sys, fsseg_bench.protocol.student as s\ns.t_quantile(0.9, 3)\nprint('scipy' in sys.modules)"
    assert python(code).strip() == "False"
