"""Options that several commands share, and the parsing of their values."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import click

from fsseg_bench.errors import UserError

C = TypeVar("C", bound=Callable[..., object])


def user_folders(*kinds: str, note: str = "") -> Callable[[C], C]:
    """The options ``--methods-path``, ``--backbones-path``, ... of a command.

    Args:
        kinds: in the singular: ``method``, ``backbone``.
        note: how their help begins.
    """

    def decorated(command: C) -> C:
        for kind in reversed(kinds):
            text = f"{note}{'a' if note else 'A'} folder with further {kind} files."
            command = click.option(f"--{kind}s-path", type=click.Path(), help=text)(command)
        return command

    return decorated


def parse_folds(_ctx: click.Context, _param: click.Parameter, value: str) -> tuple[int, ...] | None:
    """``all`` as None; one fold, or a comma-separated list, as ascending folds; a click callback.

    Raises:
        UserError: neither; whether the protocol has the folds, planning says.
    """
    if value == "all":
        return None
    try:
        given = [int(part) for part in value.split(",")]
    except ValueError:
        given = []
    folds = tuple(sorted(set(given)))
    if not folds or folds[0] < 1:
        raise UserError(f"--fold {value}: use all, or numbers of folds from 1 (comma-separated)")
    if len(folds) < len(given):
        click.echo(f"--fold {value}: a fold that is given twice is run once", err=True)
    return folds


def parse_numbers(_ctx: click.Context, param: click.Parameter, value: str) -> tuple[float, ...]:
    """Comma-separated numbers in the order given; a click callback.

    Raises:
        UserError: something is not a number.
    """
    try:
        return tuple(float(part) for part in value.split(","))
    except ValueError:
        raise UserError(f"{param.opts[-1]} {value}: use numbers separated by commas") from None


def parse_settings(pairs: tuple[str, ...]) -> dict[str, str]:
    """``KEY=VALUE`` texts as a mapping.

    Raises:
        UserError: no ``=``, or a key given twice.
    """
    settings: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UserError(f"--set {pair}: use KEY=VALUE, for example --set recipe.lr=1e-3")
        if key in settings:
            raise UserError(f"--set {key} is given twice")
        settings[key] = value
    return settings
