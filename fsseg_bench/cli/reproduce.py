"""``fsseg-bench reproduce``: a recorded run made again, and whether it comes out alike."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fsseg_bench.cli import complete
from fsseg_bench.cli.options import user_folders
from fsseg_bench.errors import UserError
from fsseg_bench.records.generalised import is_generalised
from fsseg_bench.records.info import RUN_FILE
from fsseg_bench.report.model import printable

if TYPE_CHECKING:
    from fsseg_bench.engine.verify import Verdict


@click.command()
@click.argument("record", type=click.Path())
@click.option("--retrain", is_flag=True, help="Train again, too [default: evaluate the record's checkpoint].")
@click.option("--out", type=click.Path(), default="results/reproduced", show_default=True, help="For the new record.")
@click.option("--dry-run", is_flag=True, help="Compare what the run depends on, and stop.")
@click.option("--dataset-file", type=click.Path(), help="The protocol's file, where it has moved.")
@click.option("--data-root", type=click.Path(), help="Folder of the data sets, where it has moved.")
@click.option("--weights", help="The weights file, where it has moved.")
@click.option("--checkpoint", type=click.Path(), help="What the run evaluated, where it has moved.")
@click.option(
    "--device", help="auto, cpu, cuda or cuda:INDEX [default: as the run had].", shell_complete=complete.devices
)
@click.option("--workers", type=int, help="Loader workers.")
@user_folders("method", "backbone", "source")
def reproduce(
    record: str,
    retrain: bool,
    out: str,
    dry_run: bool,
    dataset_file: str | None,
    checkpoint: str | None,
    device: str | None,
    **places: str,
) -> None:
    """Make a recorded run again in a new folder, and say whether it is identical or what differs.

    RECORD is the folder of a finished run. Data, episodes, weights, code and versions are compared first. Exit code 1
    where the counts are not the same.
    """
    from fsseg_bench.engine.open_run import RunPlaces
    from fsseg_bench.engine.reproduce import recorded_device, repetition
    from fsseg_bench.records.read import read_run
    from fsseg_bench.screen.terminal import screen_progress

    path = Path(record).expanduser()
    if is_generalised(path):
        raise UserError(
            f"{record}: labels base and novel classes at once, which reproduce does not compare; 'fsseg-bench run' "
            "with its options (show --json) and another --out makes it again, and verify counts its scores again"
        )
    folder = path.parent if path.name == RUN_FILE else path
    named = RunPlaces(dataset=dataset_file, device=device or recorded_device(read_run(folder)), **places)  # type: ignore[arg-type]
    again = repetition(folder, Path(out).expanduser(), named, retrain=retrain, checkpoint=checkpoint)
    other = [check.part for check in again.checks if not check.good]
    _say(again.checks)
    for note in again.notes:
        click.echo(printable(note))
    if dry_run:
        return
    made, found = again.run_again(screen_progress())
    _say(found)
    alike = all(verdict.good for verdict in found)
    verdict = "identical" if alike and not other else "the same numbers" if alike else "not identical"
    click.echo(f"{verdict}, though not all is as it was: {', '.join(other)}" if other else verdict)
    click.echo(printable(f"record: {made}"))
    if not alike:
        sys.exit(1)


def _say(verdicts: Iterable[Verdict]) -> None:
    for verdict in verdicts:
        click.echo(printable(f"{'same ' if verdict.good else 'OTHER'} {verdict.part}: {verdict.words}"))
