"""``fsseg-bench compare``: is a difference real?"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import click

from fsseg_bench.cli import complete
from fsseg_bench.cli.options import selected, selecting
from fsseg_bench.cli.output import Form, drawn, put, put_tables
from fsseg_bench.errors import UserError
from fsseg_bench.protocol.spec import Resolution
from fsseg_bench.protocol.statistics import IntervalKind
from fsseg_bench.report.compare import TOO_FEW
from fsseg_bench.report.compare import compare as compare_runs
from fsseg_bench.report.compare_json import compare_json
from fsseg_bench.report.compare_tables import compare_tables
from fsseg_bench.report.latex import to_macros
from fsseg_bench.report.model import printable


@click.command()
@click.argument("contenders", nargs=-1, metavar="BASELINE OTHER [OTHER ...]", shell_complete=complete.method_names)
@selecting
@click.option("--resolution", type=click.Choice(["input", "native"]), help="Where pixels are counted.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "markdown", "latex", "csv", "json"]),
    default="table",
    show_default=True,
    help="table: drawn on a terminal, Markdown elsewhere.",
)
@click.option("--macros", is_flag=True, help="Print a LaTeX macro for each number.")
@click.option("--out", type=click.Path(), help="Write to this file instead of the screen.")
@click.option("--plot", type=click.Path(), help="Also draw the differences into this .png, .svg or .pdf file.")
@click.option("--power", type=float, metavar="DELTA", help="What it takes to resolve DELTA percent points.")
@click.option(
    "--interval",
    type=click.Choice(["images", "episodes"]),
    default="images",
    show_default=True,
    help="What intervals and p-values are over: images and episodes, or other episodes of the same images alone.",
)
@click.option(
    "--resamples",
    type=click.IntRange(100, 1_000_000),
    default=10_000,
    show_default=True,
    help="Of bootstrap and randomisation, for --interval episodes.",
)
@click.option("--resample-seed", type=int, default=0, show_default=True, help="Their seed.")
def compare(
    contenders: tuple[str, ...],
    resolution: Resolution | None,
    form: Form | Literal["json"],
    macros: bool,
    out: str | None,
    plot: str | None,
    power: float | None,
    interval: IntervalKind,
    resamples: int,
    resample_seed: int,
    **filters: Any,
) -> None:
    """Compare methods with a baseline, paired over the same episodes.

    Each of BASELINE and OTHER is a method's name (perhaps with settings: "biopt,steps=5"), a run's folder, a folder
    that holds runs, or a pack. Prints the differences in mean-IoU and binary-IoU for each fold and overall, with paired
    intervals, p-values and Holm's correction, and the differences for each class.
    """
    if power is not None and not 0.001 <= power <= 100:
        raise UserError(
            f"--power {power:g}: give the difference to resolve in percent points, 0.001 to 100, e.g. --power 0.5"
        )
    if len(contenders) < 2:
        raise UserError(TOO_FEW)
    comparison = compare_runs(
        selected(contenders, **filters),
        resolution=resolution,
        interval=interval,
        resamples=resamples,
        seed=resample_seed,
    )
    draws = form == "table" and not macros and drawn(out)
    for note in () if draws else comparison.notes:  # a drawn table has them beneath it, on the same screen
        click.echo(printable(f"note: {note}"), err=True)
    if plot is not None:
        from fsseg_bench.report.figures.canvas import save_as
        from fsseg_bench.report.figures.differences import differences_figure

        save_as(differences_figure(comparison), Path(plot))
        click.echo(f"wrote {plot}", err=True)
    tables = compare_tables(comparison, power)
    if macros:
        put(to_macros(tables), out)
    elif form == "json":
        put(compare_json(comparison, power), out)
    else:
        put_tables(tables, form, out)
