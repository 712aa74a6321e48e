"""Values of shared options."""

from __future__ import annotations

import click
import pytest

from fsseg_bench.cli.options import parse_folds, parse_numbers, parse_settings
from fsseg_bench.errors import UserError

OPTION = click.Option(["--value"])
CONTEXT = click.Context(click.Command("test"))


def test_folds() -> None:
    assert parse_folds(CONTEXT, OPTION, "all") is None
    assert parse_folds(CONTEXT, OPTION, "10") == (10,)
    assert parse_folds(CONTEXT, OPTION, "4,1,1") == (1, 4)


@pytest.mark.parametrize("text", ["0", "-1", "x", "", "1,,2"])
def test_what_is_no_fold(text: str) -> None:
    with pytest.raises(UserError, match="use all, or numbers of folds from 1"):
        parse_folds(CONTEXT, OPTION, text)


def test_numbers() -> None:
    assert parse_numbers(CONTEXT, OPTION, "0.7,1,1.3") == (0.7, 1.0, 1.3)
    with pytest.raises(UserError, match="numbers separated by commas"):
        parse_numbers(CONTEXT, OPTION, "a")


def test_settings() -> None:
    assert parse_settings(("recipe.lr=1e-3", "steps=5", "x=a=b")) == {"recipe.lr": "1e-3", "steps": "5", "x": "a=b"}
    for wrong in ("steps", "=5"):
        with pytest.raises(UserError, match="use KEY=VALUE"):
            parse_settings((wrong,))
    with pytest.raises(UserError, match="given twice"):
        parse_settings(("a=1", "a=2"))
