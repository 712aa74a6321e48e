"""``fsseg-bench run``: train and evaluate methods under a protocol."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from fsseg_bench.cli.options import parse_folds, parse_numbers, parse_settings


@click.command()
@click.option("--method", "methods", multiple=True, required=True, help="Method; may be repeated.")
@click.option("--dataset", required=True, help="Protocol: a built-in name, or a TOML file of your own.")
@click.option("--shot", default=1, show_default=True, help="Supports of each class (K).")
@click.option("--way", default=1, show_default=True, help="Classes of an episode (N).")
@click.option(
    "--fold", "folds", callback=parse_folds, default="all", show_default=True, help="all, or some of 1,2,3,4."
)
@click.option("--backbone", help="Feature extractor [default: the method's].")
@click.option("--weights", help="imagenet, none, or a .pth/.safetensors file [default: imagenet; none for shapes5i].")
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
@click.option("--methods-path", type=click.Path(), help="A folder with further method files.")
@click.option("--head-batch", type=int, help="Episodes at a time in the head [default: 1 on CPU, 16 on GPU].")
@click.option("--cache-gib", type=float, help="Memory for features in GiB [default: 40% of what is free]; 0: none.")
@click.option("--panels", default=5, show_default=True, help="Pictures of episodes to write for each run.")
def run(
    methods: tuple[str, ...],
    folds: tuple[int, ...],
    settings: tuple[str, ...],
    dry_run: bool,
    **options: Any,
) -> None:
    """Train and evaluate methods under one protocol, and print the table.

    The same command again goes on where it was stopped; finished runs are not run again.
    """
    from fsseg_bench.engine.plan import Opened, RunRequest, make_plan

    shared = {**options, "settings": parse_settings(settings)}
    requests = [RunRequest(method=m, fold=f, **shared) for m in methods for f in folds]
    opened: Opened = {}
    if dry_run:
        for request in requests:
            click.echo(json.dumps(make_plan(request, opened).settings, indent=2, ensure_ascii=False))
        return
    records = _execute(requests, opened)
    _print_table(records)


def _execute(requests: Sequence[Any], opened: Any) -> list[Path]:
    from fsseg_bench.cli.progress import screen_progress
    from fsseg_bench.engine.plan import make_plan
    from fsseg_bench.engine.run import execute

    folders, warned = [], set[str]()
    for request in requests:
        plan = make_plan(request, opened)
        if plan.table.digest not in warned:
            warned.add(plan.table.digest)
            _warn_of_few_images(plan)
        progress = screen_progress(f"{request.method} {plan.protocol.label} fold {request.fold} of 4:")
        folders.append(execute(plan, progress).folder)
    return folders


def _warn_of_few_images(plan: Any) -> None:
    from fsseg_bench.protocol.images import EpisodeImages, few_images

    names = dict(enumerate(plan.protocol.classes, start=1))
    for text in few_images(EpisodeImages.of(plan.table), names):
        click.echo(f"warning: {plan.protocol.label} fold {plan.request.fold}: {text}", err=True)


def _print_table(folders: Sequence[Path]) -> None:
    """The table of these runs alone."""
    from fsseg_bench.report.collect import open_runs
    from fsseg_bench.report.markdown import to_markdown
    from fsseg_bench.report.table import runs_tables

    collection = open_runs(folders)
    for table in runs_tables(collection):
        click.echo(to_markdown(table))
    for warning in collection.warnings:
        click.echo(f"warning: {warning.message}", err=True)
    for folder in folders:
        click.echo(f"record: {folder}")
