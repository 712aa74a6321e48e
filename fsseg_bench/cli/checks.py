"""``fsseg-bench check-method`` and ``check-backbone``: the contract tests of one method, of one backbone."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from fsseg_bench.cli import complete
from fsseg_bench.cli.options import parse_settings, user_folders

if TYPE_CHECKING:
    from fsseg_bench.engine.checks import Check
    from fsseg_bench.method import Method
    from fsseg_bench.nn.backbones import Backbone


@click.command(name="check-method")
@click.argument("name", shell_complete=complete.method_names)
@click.option(
    "--backbone",
    default="resnet18-layer3",
    show_default=True,
    shell_complete=complete.backbone_names,
    help="Feature extractor, random weights.",
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A switch of the method.")
@user_folders("method", "backbone")
def check_method(
    name: str, backbone: str, settings: tuple[str, ...], methods_path: str | None, backbones_path: str | None
) -> None:
    """Test that a method keeps the contract (shapes, determinism, gradients, caching, empty masks).

    Exit code 1 when a test fails.
    """
    from fsseg_bench.engine.build import assemble, geometry_note
    from fsseg_bench.engine.check import check_method as run_checks
    from fsseg_bench.engine.switches import parse_switches
    from fsseg_bench.registry import cards, find_method

    cls = find_method(name, methods_path)
    card = next(card for card in cards(methods_path) if card.name == name)
    given = parse_settings(settings)

    def build() -> Method:
        switches = parse_switches(name, cls, given)
        return assemble(cls, backbone, "none", switches, seed=0, backbones_path=backbones_path)[0]

    if note := geometry_note(name, cls.layout, backbone, backbones_path):
        click.echo(note, err=True)
    _show(f"{name} on {backbone}", run_checks(cls, build, card))


@click.command(name="check-backbone")
@click.argument("name", shell_complete=complete.backbone_names)
@user_folders("backbone")
def check_backbone(name: str, backbones_path: str | None) -> None:
    """Test that a backbone keeps the contract (facts, determinism, gradients, freezing, cuts, weights).

    Exit code 1 when a test fails.
    """
    from fsseg_bench.engine.check_backbone import check_backbone as run_checks
    from fsseg_bench.nn.backbones import build_backbone
    from fsseg_bench.nn.catalogue import find_backbone

    last = find_backbone(name, backbones_path)[1]
    whole = name.removesuffix(f"-{last}")

    def build(stage: str) -> Backbone:
        return build_backbone(f"{whole}-{stage}" if stage else name, path=backbones_path)

    _show(name, run_checks(build))


def _show(what: str, checks: Sequence[Check]) -> None:
    """A line for each test, then how many passed; ends the program with 1 where any failed."""
    for check in checks:
        click.echo(f"{'ok  ' if check.passed else 'FAIL'} {check.name}: {check.detail}")
    failed = sum(not check.passed for check in checks)
    click.echo(f"{what}: {len(checks) - failed} of {len(checks)} contract tests passed")
    if failed:
        sys.exit(1)
