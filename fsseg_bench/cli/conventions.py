"""``fsseg-bench conventions``: what each way to score is worth on the same predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import click

from fsseg_bench.cli import complete
from fsseg_bench.cli.options import places_of, run_places, selected, selecting
from fsseg_bench.cli.output import Form, put, put_tables
from fsseg_bench.errors import UserError
from fsseg_bench.records.kept import kept_steps
from fsseg_bench.report.contender import Contender, match
from fsseg_bench.report.conventions import conventions_tables


@click.command()
@click.argument("contenders", nargs=-1, metavar="RUNS [RUNS ...]", shell_complete=complete.method_names)
@selecting
@click.option(
    "--checkpoints",
    is_flag=True,
    help="Also what choosing the best kept checkpoint on the test episodes is worth; evaluates those not counted yet.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "markdown", "latex", "csv", "json"]),
    default="table",
    show_default=True,
    help="table: drawn on a terminal, Markdown elsewhere.",
)
@click.option("--out", type=click.Path(), help="Write to this file instead of the screen.")
@run_places("--checkpoints: ")
def conventions(
    contenders: tuple[str, ...], checkpoints: bool, form: Form | Literal["json"], out: str | None, **options: Any
) -> None:
    """Score the same predictions under every convention in use.

    RUNS are methods' names (perhaps with settings: "biopt,steps=5"), run folders, or folders that hold runs, as of
    compare. Prints for each convention which papers use it, the scores, their differences to the protocol's, and
    whether the order of the methods changes.
    """
    if not contenders:
        raise UserError("conventions: name runs: methods, run folders, or folders that hold runs")
    places = places_of(options)
    found = selected(contenders, **options)
    if checkpoints:
        _count(found, places)
    tables = conventions_tables(found, checkpoints=checkpoints)
    if form == "json":
        from fsseg_bench.report.text import to_json

        put(to_json(tables), out)
    else:
        put_tables(tables, form, out)


def _count(contenders: Sequence[Contender], places: Mapping[str, Any]) -> None:
    """Evaluates the checkpoints that the runs have kept, where their counts are not there yet."""
    from fsseg_bench.engine.kept_counts import count_kept
    from fsseg_bench.engine.open_run import RunPlaces
    from fsseg_bench.engine.training_data import OpenSources
    from fsseg_bench.screen.terminal import screen_progress

    opened: OpenSources = {}
    matched = match(contenders)
    for contender, seeds in zip(contenders, matched.seeds, strict=True):
        for fold in matched.folds:
            for run in (contender.runs[fold][seed] for seed in seeds):
                if steps := kept_steps(run.folder):
                    progress = screen_progress(f"{contender.label} fold {fold}, {len(steps)} kept checkpoints:")
                    count_kept(run.folder, RunPlaces(**places), progress, opened)
