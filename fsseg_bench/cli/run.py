"""``fsseg-bench run``: train and evaluate methods under a protocol."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import click

from fsseg_bench.cli import complete
from fsseg_bench.cli.config import config_option, said_twice, settings_with
from fsseg_bench.cli.options import (
    parse_folds,
    parse_jobs,
    parse_numbers,
    parse_seeds,
    parse_settings,
    parse_trackers,
    user_folders,
)
from fsseg_bench.engine.share import Jobs
from fsseg_bench.records.request import CacheDtype, Precision

_FEW = 4


@click.command()
@click.option(
    "--method",
    "methods",
    multiple=True,
    required=True,
    shell_complete=complete.methods,
    help="Method; may be repeated. all: every one that there is; training-free: those that work without training, "
    "without training.",
)
@click.option(
    "--dataset",
    required=True,
    shell_complete=complete.datasets,
    help="Protocol: a built-in name, or a TOML file of your own.",
)
@click.option("--shot", default=1, show_default=True, help="Supports of each class (K).")
@click.option("--way", default=1, show_default=True, help="Classes of an episode (N).")
@click.option(
    "--merge",
    metavar="RULE",
    help="N ways from N one-way predictions: max-logit, softmax, background-threshold=T; trains one-way.",
)
@click.option(
    "--fold",
    "folds",
    callback=parse_folds,
    default="all",
    show_default=True,
    shell_complete=complete.folds,
    help="all, or some, as 1,2.",
)
@click.option(
    "--backbone",
    shell_complete=complete.backbones,
    help="Feature extractor; published: each method's own [default: the method's; one for all where methods are "
    "several].",
)
@click.option(
    "--weights",
    shell_complete=complete.weights,
    help="imagenet, none, or a .pth/.safetensors file [default: imagenet; none for images made by code].",
)
@click.option("--data-root", type=click.Path(), help="Folder of the data sets [default: FSSEG_DATA].")
@click.option(
    "--seed",
    "--seeds",
    "seeds",
    callback=parse_seeds,
    default="0",
    show_default=True,
    help="Seed of initialisation and training, or several, as 0,1,2.",
)
@click.option(
    "--device",
    default="auto",
    show_default=True,
    shell_complete=complete.devices,
    help="auto, cpu, cuda or cuda:INDEX.",
)
@click.option(
    "--precision",
    type=click.Choice(get_args(Precision)),
    default="fp32",
    show_default=True,
    help="Of products and features; tf32: on a GPU.",
)
@click.option("--nondeterministic", is_flag=True, help="Let a GPU add in another order each time, for speed.")
@click.option("--iterations", type=int, help="Training steps [default: the recipe's]; 0 does not train.")
@click.option("--episodes", help="A number of test episodes, or a CSV file to replay.")
@click.option("--scales", callback=parse_numbers, default="1", show_default=True, help="Query scales, e.g. 0.7,1,1.3.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    shell_complete=complete.settings,
    help="A switch of the method, recipe.KEY, protocol.SECTION.KEY or stage.NAME.KEY; may be repeated.",
)
@config_option
@click.option(
    "--jobs",
    callback=parse_jobs,
    default="1",
    show_default=True,
    metavar="N",
    shell_complete=complete.jobs,
    help="Runs at a time, each in a process of its own; auto: one a core, or one a GPU, as far as memory allows.",
)
@click.option("--workers", type=int, help="Loader workers [default: one a core that does not compute, at most 8].")
@click.option(
    "--threads",
    type=int,
    help="Threads that compute on the CPU [default: OMP_NUM_THREADS, else the cores; a run its share].",
)
@click.option("--out", type=click.Path(), help="Folder of the records [default: FSSEG_RESULTS, else results/runs].")
@click.option("--eval-only", type=click.Path(), metavar="CHECKPOINT", help="Evaluate this checkpoint or run folder.")
@click.option("--fresh", is_flag=True, help="Start again; an earlier record is moved aside.")
@click.option("--dry-run", is_flag=True, help="Show what would run, where, and about how long it takes; and stop.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document: the plan, or the table of the runs.")
@click.option(
    "--estimate/--no-estimate", default=True, show_default=True, help="Measure a few steps to say how long it takes."
)
@click.option("-v", "--verbose", is_flag=True, help="Say more: what differs between the methods, every warning.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but the table, and errors.")
@user_folders("method", "backbone", "source")
@click.option(
    "--head-batch",
    type=int,
    help="Episodes at a time in the head, at the most [default: 1 on CPU, what fits up to 64 on GPU].",
)
@click.option("--cache-gib", type=float, help="Memory for features in GiB [default: 40% of what is free]; 0: none.")
@click.option(
    "--cache-dtype",
    type=click.Choice(get_args(CacheDtype)),
    default="float32",
    show_default=True,
    help="What features of test images are rounded to, so that twice as many are kept.",
)
@click.option("--no-check", is_flag=True, help="Do not decode the test images once before training.")
@click.option(
    "--checkpoint-every",
    type=float,
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Of training between two checkpoints, from which a killed run goes on; 0: after every step.",
)
@click.option(
    "--keep-checkpoints",
    type=int,
    default=0,
    show_default=True,
    metavar="N",
    help="Keep the states after N equally spaced steps of training; none of them is chosen for anything.",
)
@click.option(
    "--identity",
    metavar="HEX",
    help="Refuse a run whose identity does not begin so: it was planned with other code, data or settings.",
)
@click.option(
    "--stage", metavar="NAME", help="Train only this network that comes before the method, for all runs that need it."
)
@click.option(
    "--track",
    callback=parse_trackers,
    default="",
    metavar="NAMES",
    help="Tell tensorboard, trackio, wandb or mlflow of losses and scores, too; one that fails stops no run.",
)
@click.option("--panels", default=5, show_default=True, help="Pictures of episodes to write for each run.")
@click.pass_context
def run(
    ctx: click.Context,
    /,
    methods: tuple[str, ...],
    folds: tuple[int, ...] | None,
    seeds: tuple[int, ...],
    settings: tuple[str, ...],
    jobs: Jobs,
    dry_run: bool,
    as_json: bool,
    estimate: bool,
    verbose: bool,
    quiet: bool,
    identity: str | None,
    stage: str | None,
    **options: Any,
) -> None:
    """Train and evaluate methods under one protocol, and print the table.

    The same command again goes on where it was stopped; finished runs are not run again.
    """
    if verbose and quiet:
        raise click.UsageError("-v and -q exclude each other", ctx)
    if stage is not None and (dry_run or as_json or jobs != 1 or options["eval_only"] or options["fresh"]):
        raise click.UsageError("--stage and --dry-run, --json, --jobs, --eval-only, --fresh exclude each other", ctx)
    from fsseg_bench.cli.generalised import is_generalised, label_everything
    from fsseg_bench.cli.plan import headline, plan_json, plan_text, say_differences
    from fsseg_bench.engine.batch import plan_all
    from fsseg_bench.engine.distributed import processes
    from fsseg_bench.engine.identity import check_identity
    from fsseg_bench.engine.jobs import run_all, train_stages
    from fsseg_bench.engine.requests import requests_for
    from fsseg_bench.engine.training_data import OpenSources
    from fsseg_bench.progress import Progress
    from fsseg_bench.screen.terminal import screen_progress

    quiet = quiet or processes().rank > 0  # of several processes the first speaks
    estimate = estimate and processes().size == 1
    say = _silent if quiet else _say
    given = parse_settings(settings)
    wanted = requests_for(methods, folds, seeds, settings=settings_with(ctx, given), **options)
    if is_generalised(wanted.requests):
        not_there = {"--dry-run": dry_run, "--jobs": jobs != 1, "--stage": stage, "--identity": identity}
        refused = [name for name, value in not_there.items() if value]
        label_everything(wanted.requests, say, refused=refused, as_json=as_json, quiet=quiet)
        return
    opened: OpenSources = {}
    measuring = _measuring(say) if estimate else None
    batch = plan_all(wanted.requests, opened, here=not dry_run, measuring=measuring, jobs=jobs)
    if identity is not None:
        check_identity(batch, identity, stage)
    if stage is not None:
        for folder in train_stages(batch, opened, stage, Progress() if quiet else screen_progress()):
            say(f"stage {stage}: {folder}")
        return
    if processes().rank:
        if not dry_run:
            run_all(batch, opened)
        return
    notes = [*said_twice(ctx, given), *wanted.notes, *batch.notes]
    if dry_run and as_json:
        click.echo(plan_json(batch, [*notes, *wanted.details, *batch.details]))
    elif dry_run:
        plan_text(batch, notes, [*wanted.details, *batch.details], verbose=verbose)
    else:
        say(headline(batch))
        for note in notes:
            say(note)
        say_differences(batch, say, verbose=verbose)
        _details(say, [*wanted.details, *batch.details], verbose=verbose)
        folders = run_all(batch, opened, Progress() if quiet else screen_progress())
        _print_result(folders, as_json=as_json, quiet=quiet, verbose=verbose)


def _say(note: str) -> None:
    click.echo(note, err=True)


def _silent(_note: str) -> None:
    """For ``--quiet``."""


def _measuring(say: Callable[[str], None]) -> Callable[[str], None]:
    """Says once that something is measured, however many methods there are."""
    said: list[str] = []

    def measuring(method: str) -> None:
        if not said:
            say("measuring a few steps on made-up images ...")
        said.append(method)

    return measuring


def _details(say: Callable[[str], None], details: Sequence[str], *, verbose: bool) -> None:
    """All of them, or how many there are."""
    warnings = [line for line in details if line.startswith("warning: ")]
    for line in details if verbose else ():
        say(line)
    if warnings and not verbose:
        say(f"{len(warnings)} warning{'s' * (len(warnings) > 1)} about few test images or episodes; -v shows them")


def _print_result(folders: Sequence[Path], *, as_json: bool, quiet: bool, verbose: bool) -> None:
    """The table of these runs alone, and where their records are."""
    from fsseg_bench.cli.output import put_tables
    from fsseg_bench.records.read import read_run
    from fsseg_bench.report.collect import open_runs
    from fsseg_bench.report.model import printable
    from fsseg_bench.report.table import runs_tables
    from fsseg_bench.report.text import to_json

    collection = open_runs(folders)
    warnings = [printable(warning.message) for warning in collection.warnings]
    if as_json:
        click.echo(to_json(runs_tables(collection), warnings), nl=False)
        return
    put_tables(runs_tables(collection))
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
    if quiet:
        return
    click.echo()
    for folder in folders if verbose else ():
        if summary := read_run(folder).info.training:
            click.echo(f"training loss of {folder.name}: {summary}")
    if verbose or len(folders) <= _FEW:
        for folder in folders:
            click.echo(f"record: {folder}")
    else:
        root = os.path.commonpath(folders)
        click.echo(
            f"{len(folders)} records under {root}; 'fsseg-bench list runs --results {shlex.quote(root)}' names all"
        )
