"""``fsseg-bench check-backbone``: the contract tests of one backbone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fsseg_bench.cli.options import user_folders

if TYPE_CHECKING:
    from fsseg_bench.nn.backbones import Backbone


@click.command(name="check-backbone")
@click.argument("name")
@user_folders("backbone")
def check_backbone(name: str, backbones_path: str | None) -> None:
    """Test that a backbone keeps the contract (facts, determinism, gradients, freezing, cuts, weights).

    Exit code 1 when a test fails.
    """
    from fsseg_bench.cli.checking import show
    from fsseg_bench.engine.check_backbone import check_backbone as run_checks
    from fsseg_bench.nn.backbones import build_backbone
    from fsseg_bench.nn.catalogue import find_backbone

    last = find_backbone(name, backbones_path)[1]
    whole = name.removesuffix(f"-{last}")

    def build(stage: str) -> Backbone:
        return build_backbone(f"{whole}-{stage}" if stage else name, path=backbones_path)

    show(name, run_checks(build))
