"""``fsseg-bench check-method``: the contract tests of one method."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fsseg_bench.cli.options import parse_settings, user_folders

if TYPE_CHECKING:
    from fsseg_bench.method import Method


@click.command(name="check-method")
@click.argument("name")
@click.option("--backbone", default="resnet18-layer3", show_default=True, help="Feature extractor, random weights.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A switch of the method.")
@user_folders("method", "backbone")
def check_method(
    name: str, backbone: str, settings: tuple[str, ...], methods_path: str | None, backbones_path: str | None
) -> None:
    """Test that a method keeps the contract (shapes, determinism, gradients, caching, empty masks).

    Exit code 1 when a test fails.
    """
    from fsseg_bench.cli.checking import show
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
    show(f"{name} on {backbone}", run_checks(cls, build, card))
