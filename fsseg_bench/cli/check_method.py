"""``fsseg-bench check-method``: the contract tests of one method."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from fsseg_bench.cli.options import parse_settings

if TYPE_CHECKING:
    from fsseg_bench.method import Method


@click.command(name="check-method")
@click.argument("name")
@click.option("--backbone", default="resnet18-layer3", show_default=True, help="Feature extractor, random weights.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A switch of the method.")
@click.option("--methods-path", type=click.Path(), help="A folder with further method files.")
def check_method(name: str, backbone: str, settings: tuple[str, ...], methods_path: str | None) -> None:
    """Test that a method keeps the contract (shapes, determinism, gradients, caching, empty masks).

    Exit code 1 when a test fails.
    """
    from fsseg_bench.engine.build import assemble
    from fsseg_bench.engine.check import check_method as run_checks
    from fsseg_bench.engine.switches import parse_switches
    from fsseg_bench.registry import cards, find_method

    cls = find_method(name, methods_path)
    card = next(card for card in cards(methods_path) if card.name == name)
    given = parse_settings(settings)

    def build() -> Method:
        return assemble(cls, backbone, "none", parse_switches(name, cls, given), seed=0)[0]

    checks = run_checks(cls, build, card)
    for check in checks:
        click.echo(f"{'ok  ' if check.passed else 'FAIL'} {check.name}: {check.detail}")
    failed = sum(not check.passed for check in checks)
    click.echo(f"{name} on {backbone}: {len(checks) - failed} of {len(checks)} contract tests passed")
    if failed:
        sys.exit(1)
