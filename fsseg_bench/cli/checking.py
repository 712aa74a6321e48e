"""How the outcome of contract tests is shown."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from fsseg_bench.engine.checks import Check


def show(what: str, checks: Sequence[Check]) -> None:
    """A line for each test, then how many passed; ends the program with 1 where any failed."""
    for check in checks:
        click.echo(f"{'ok  ' if check.passed else 'FAIL'} {check.name}: {check.detail}")
    failed = sum(not check.passed for check in checks)
    click.echo(f"{what}: {len(checks) - failed} of {len(checks)} contract tests passed")
    if failed:
        sys.exit(1)
