"""``fsseg-bench controls``: what a method does with its support."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from fsseg_bench.cli import complete
from fsseg_bench.cli.options import places_of, run_places, selected, selecting
from fsseg_bench.cli.output import put, put_tables
from fsseg_bench.errors import UserError
from fsseg_bench.protocol.controls import DRAWS
from fsseg_bench.records.controls import find_controls
from fsseg_bench.records.read import RecordError, StoredRun
from fsseg_bench.report.controls import controls_json, controls_table, readings

if TYPE_CHECKING:
    from fsseg_bench.report.contender import Contender


@click.command()
@click.argument("contenders", nargs=-1, metavar="RUNS [RUNS ...]", shell_complete=complete.method_names)
@selecting
@click.option("--draws", default=DRAWS, show_default=True, help="How often each query gets other supports; 2 or more.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "markdown", "latex", "csv", "json"]),
    default="table",
    show_default=True,
    help="table: drawn on a terminal, Markdown elsewhere.",
)
@click.option("--out", type=click.Path(), help="Write to this file instead of the screen.")
@click.option("--plot", type=click.Path(), help="Also draw them into this .png, .svg or .pdf file.")
@run_places()
def controls(
    contenders: tuple[str, ...],
    draws: int,
    form: Literal["table", "markdown", "latex", "csv", "json"],
    out: str | None,
    plot: str | None,
    **options: Any,
) -> None:
    """Does a method use its support? Evaluate finished runs again with other supports.

    RUNS are methods' names (perhaps with settings: "biopt,steps=5"), run folders, or folders that hold runs, as of
    compare. Each run's queries are predicted with supports of a wrong class, of a class that the query does not show,
    with the masks empty, whole and shifted, and with several draws of supports. What is measured already is taken from
    the run's folder.
    """
    if not contenders:
        raise UserError("controls: name runs: methods, run folders, or folders that hold runs")
    places = places_of(options)
    chosen = selected(contenders, **options)
    _measure(chosen, draws, places)
    notes, found = readings(chosen)
    if plot is not None:
        from fsseg_bench.report.figures.canvas import save_as
        from fsseg_bench.report.figures.controls import controls_figure

        save_as(controls_figure(chosen, found), Path(plot))
        click.echo(f"wrote {plot}", err=True)
    if form == "json":
        put(controls_json(chosen, notes, found), out)
    else:
        put_tables([controls_table(chosen, notes, found)], form, out)


def _measure(contenders: Sequence[Contender], draws: int, places: dict[str, Any]) -> None:
    """Measures the runs that lack it, fold by fold and seed by seed."""
    from fsseg_bench.engine.controls import measure_controls
    from fsseg_bench.engine.open_run import RunPlaces
    from fsseg_bench.engine.training_data import OpenSources
    from fsseg_bench.screen.terminal import screen_progress

    opened: OpenSources = {}
    for contender in contenders:
        for fold, seeds in contender.runs.items():
            for seed, run in seeds.items():
                if not _are_there(run, draws):
                    progress = screen_progress(f"{contender.label} fold {fold} seed {seed}, controls:")
                    measure_controls(run.folder, draws, RunPlaces(**places), progress, opened)


def _are_there(run: StoredRun, draws: int) -> bool:
    """Whether a run has its controls; damaged ones are measured again, and the engine says so.

    Raises:
        UserError: the run came in a pack, with other ones.
    """
    try:
        stored = find_controls(run)
    except RecordError:
        return False
    if stored is not None and stored.draws != draws and run.owner:
        raise UserError(
            f"the pack of {run.owner} holds controls of {stored.draws} draws: give --draws {stored.draws} (others can "
            "be measured by whoever has the run's checkpoint and data)"
        )
    return stored is not None and stored.draws == draws
