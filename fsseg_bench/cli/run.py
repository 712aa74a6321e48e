"""``fsseg-bench run``: train and evaluate methods under a protocol."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fsseg_bench.cli.options import parse_folds, parse_numbers, parse_settings, user_folders
from fsseg_bench.cli.output import show

if TYPE_CHECKING:
    from fsseg_bench.engine.plan import OpenSources


@click.command()
@click.option("--method", "methods", multiple=True, required=True, help="Method; may be repeated.")
@click.option("--dataset", required=True, help="Protocol: a built-in name, or a TOML file of your own.")
@click.option("--shot", default=1, show_default=True, help="Supports of each class (K).")
@click.option("--way", default=1, show_default=True, help="Classes of an episode (N).")
@click.option("--fold", "folds", callback=parse_folds, default="all", show_default=True, help="all, or some, as 1,2.")
@click.option(
    "--backbone",
    help="Feature extractor; published: each method's own [default: the method's; one for all where methods are "
    "several].",
)
@click.option(
    "--weights", help="imagenet, none, or a .pth/.safetensors file [default: imagenet; none for images made by code]."
)
@click.option("--data-root", type=click.Path(), help="Folder of the data sets [default: FSSEG_DATA].")
@click.option("--seed", default=0, show_default=True, help="Seed of initialisation and training.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:INDEX.")
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True)
@click.option("--iterations", type=int, help="Training steps [default: the recipe's]; 0 does not train.")
@click.option("--episodes", help="A number of test episodes, or a CSV file to replay.")
@click.option("--scales", callback=parse_numbers, default="1", show_default=True, help="Query scales, e.g. 0.7,1,1.3.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="A switch of the method, recipe.KEY or protocol.SECTION.KEY; may be repeated.",
)
@click.option("--workers", type=int, help="Loader workers [default: one a core, at most 8].")
@click.option("--out", type=click.Path(), help="Folder of the records [default: FSSEG_RESULTS, else results/runs].")
@click.option("--eval-only", type=click.Path(), metavar="CHECKPOINT", help="Evaluate this checkpoint or run folder.")
@click.option("--fresh", is_flag=True, help="Start again; an earlier record is moved aside.")
@click.option("--dry-run", is_flag=True, help="Show what would run, and stop.")
@user_folders("method", "backbone", "source")
@click.option("--head-batch", type=int, help="Episodes at a time in the head [default: 1 on CPU, 16 on GPU].")
@click.option("--cache-gib", type=float, help="Memory for features in GiB [default: 40% of what is free]; 0: none.")
@click.option("--no-check", is_flag=True, help="Do not decode the test images once before training.")
@click.option("--panels", default=5, show_default=True, help="Pictures of episodes to write for each run.")
def run(
    methods: tuple[str, ...],
    folds: tuple[int, ...] | None,
    settings: tuple[str, ...],
    dry_run: bool,
    **options: Any,
) -> None:
    """Train and evaluate methods under one protocol, and print the table.

    The same command again goes on where it was stopped; finished runs are not run again.
    """
    from fsseg_bench.engine.batch import plan_all, requests_for
    from fsseg_bench.engine.jobs import run_all
    from fsseg_bench.report.recipes import differences_table
    from fsseg_bench.screen.terminal import screen_progress

    wanted = requests_for(methods, folds, settings=parse_settings(settings), **options)
    _say(wanted.notes)
    opened: OpenSources = {}
    batch = plan_all(wanted.requests, opened, here=not dry_run)
    _say(batch.notes)
    if table := differences_table([(planned.shown.method, planned.shown) for planned in batch.runs]):
        show([table], stderr=True)
    if dry_run:
        for planned in batch.runs:
            click.echo(json.dumps(planned.settings.to_json(), indent=2, ensure_ascii=False))
        return
    _print_table(run_all(batch, opened, screen_progress()))


def _say(notes: Sequence[str]) -> None:
    for note in notes:
        click.echo(note, err=True)


def _print_table(folders: Sequence[Path]) -> None:
    """The table of these runs alone, and how their trainings ended."""
    from fsseg_bench.records.read import read_run
    from fsseg_bench.report.collect import open_runs
    from fsseg_bench.report.model import printable
    from fsseg_bench.report.table import runs_tables
    from fsseg_bench.report.text import to_markdown

    collection = open_runs(folders)
    for table in runs_tables(collection):
        click.echo(to_markdown(table))
    for warning in collection.warnings:
        click.echo(printable(f"warning: {warning.message}"), err=True)
    for folder in folders:
        if summary := read_run(folder).info.training:
            click.echo(f"training loss: {summary}")
        click.echo(f"record: {folder}")
