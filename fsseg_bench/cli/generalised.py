"""``fsseg-bench run`` under a protocol that labels base and novel classes at once: it has no episodes and no plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import click

from fsseg_bench.errors import UserError
from fsseg_bench.records.request import RunRequest, protocol_of


def is_generalised(requests: Sequence[RunRequest]) -> bool:
    """Whether the protocol of the requests has that task; a wrong one is refused later, with whatever else is wrong."""
    try:
        return bool(requests) and protocol_of(requests[0]).episodes.task == "generalised"
    except UserError:
        return False


def label_everything(
    requests: Sequence[RunRequest], say: Callable[[str], None], *, refused: Sequence[str], as_json: bool, quiet: bool
) -> None:
    """Does the runs one after the other, and prints their table.

    Args:
        requests: the runs.
        say: what is told on the way.
        refused: options that were given and that the task has not.
        as_json: whether the tables are printed as one JSON document.
        quiet: whether nothing but the table is printed.

    Raises:
        UserError: options were given that the task has not, or as ``run_generalised``.
    """
    if refused:
        raise UserError(f"{requests[0].dataset} labels base and novel classes at once; leave out {', '.join(refused)}")
    from fsseg_bench.cli.output import put_tables
    from fsseg_bench.engine.generalised.run import run_generalised
    from fsseg_bench.progress import Progress
    from fsseg_bench.records.generalised import read_generalised
    from fsseg_bench.report.generalised import generalised_tables
    from fsseg_bench.report.text import to_json
    from fsseg_bench.screen.terminal import screen_progress

    progress = Progress() if quiet else screen_progress()
    folders: list[Path] = []
    for request in requests:
        say(f"{request.method}, fold {request.fold}")
        folders.append(run_generalised(request, progress))
    tables = generalised_tables([read_generalised(folder) for folder in folders])
    if as_json:
        click.echo(to_json(tables, []), nl=False)
        return
    put_tables(tables)
    for folder in [] if quiet else folders:
        click.echo(f"record: {folder}")
