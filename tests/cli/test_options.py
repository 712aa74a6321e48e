"""Values of shared options."""

from __future__ import annotations

import pytest

from fsseg_bench.cli.options import Folds, Numbers, parse_settings
from fsseg_bench.errors import UserError


def test_folds() -> None:
    convert = Folds().convert
    assert convert("all", None, None) == (1, 2, 3, 4)
    assert convert("3", None, None) == (3,)
    assert convert("4,1,1", None, None) == (1, 4)


@pytest.mark.parametrize("text", ["0", "5", "x", "", "1,,2"])
def test_folds_that_do_not_exist(text: str) -> None:
    with pytest.raises(UserError, match="use all, or one or more of 1, 2, 3, 4"):
        Folds().convert(text, None, None)


def test_numbers() -> None:
    assert Numbers().convert("0.7,1,1.3", None, None) == (0.7, 1.0, 1.3)
    with pytest.raises(UserError, match="numbers separated by commas"):
        Numbers().convert("a", None, None)


def test_settings() -> None:
    assert parse_settings(("recipe.lr=1e-3", "steps=5", "x=a=b")) == {"recipe.lr": "1e-3", "steps": "5", "x": "a=b"}
    for wrong in ("steps", "=5"):
        with pytest.raises(UserError, match="use KEY=VALUE"):
            parse_settings((wrong,))
    with pytest.raises(UserError, match="given twice"):
        parse_settings(("a=1", "a=2"))
