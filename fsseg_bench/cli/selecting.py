"""The options that say which finished runs a command is about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from fsseg_bench.paths import results_root
from fsseg_bench.report.conditions import conditions_of

Command = TypeVar("Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--results", type=click.Path(), help="Folder of the records [default: FSSEG_RESULTS, else results/runs]."
    ),
    click.option("--dataset", help="Only runs of this protocol (its label, name or file)."),
    click.option("--backbone", help="Only runs with this backbone."),
    click.option("--shot", type=int, help="Only K-shot runs."),
    click.option("--way", type=int, help="Only N-way runs."),
    click.option("--seed", type=int, help="Only runs with this training seed."),
    click.option(
        "--where", multiple=True, metavar="KEY=VALUE", help="Only runs with this setting, e.g. recipe.iterations=0."
    ),
)


@dataclass(frozen=True)
class Chosen:
    """The values of these options."""

    root: Path
    where: dict[str, str]
    """Setting to value, as :func:`fsseg_bench.report.select.select` takes them."""


def selecting(command: Command) -> Command:
    """Adds the options; the command takes them as keyword arguments and hands them to :func:`chosen`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def chosen(results: str | None, where: tuple[str, ...], **filters: str | int | None) -> Chosen:
    """What the options mean.

    Raises:
        UserError: a malformed ``--where``.
    """
    given = {key: str(value) for key, value in filters.items() if value is not None}
    return Chosen(results_root(results), {**given, **conditions_of(where, "--where")})
