"""``fsseg-bench verify``: whether records are what was recorded. Torch is not needed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fsseg_bench.cli.options import user_folders
from fsseg_bench.errors import UserError
from fsseg_bench.records.info import RUN_FILE
from fsseg_bench.report.model import printable

if TYPE_CHECKING:
    from fsseg_bench.engine.verify import Verdict
    from fsseg_bench.records.read import RecordWarning, StoredRun


@click.command()
@click.argument("records", nargs=-1, required=True, type=click.Path(), metavar="RECORD...")
@click.option("--masks", is_flag=True, help="Compare stored predictions with the data set's masks, too.")
@click.option(
    "--data-root", type=click.Path(), help="--masks: folder of the data sets [default: as recorded, else FSSEG_DATA]."
)
@user_folders("source", note="--masks: ")
@click.option("--parts", is_flag=True, help="A line for each part of every record, not only for what is wrong.")
@click.option("--json", "as_json", is_flag=True, help="The verdicts as one JSON document.")
def verify(
    records: tuple[str, ...], masks: bool, data_root: str | None, sources_path: str | None, parts: bool, as_json: bool
) -> None:
    """Compare records with the checks in them, and count their scores again from the stored counts.

    RECORD is a run's folder, or a folder with such folders below. Exit code 1 where anything is wrong.
    """
    from fsseg_bench.engine.verify import Verdict
    from fsseg_bench.engine.verify import verify as verdicts_on

    look = _masks(data_root, sources_path) if masks else None
    folders, closed = _folders(records)
    found = {str(warning.path): [Verdict("folder", False, warning.message)] for warning in closed}
    for folder in folders:
        found[str(folder)] = verdicts_on(folder, look)
    if not as_json:
        for path, verdicts in found.items():
            _say(path, verdicts, parts=parts)
    wrong = [folder for folder, verdicts in found.items() if not all(v.good for v in verdicts)]
    if as_json:
        click.echo(json.dumps({folder: [v._asdict() for v in own] for folder, own in found.items()}, indent=2))
    elif len(found) > 1:
        click.echo(f"{len(wrong)} of {len(found)} records differ from what was recorded")
    if wrong:
        sys.exit(1)


def _masks(data_root: str | None, sources_path: str | None) -> Callable[[StoredRun], str]:
    from fsseg_bench.report.recorded import DataPlaces, RecordedEpisodes

    return RecordedEpisodes(DataPlaces(data_root, sources_path=sources_path)).recount


def _folders(records: Sequence[str]) -> tuple[list[Path], list[RecordWarning]]:
    """The folders of the records, each once, and the folders that may not be looked into.

    Raises:
        UserError: no such folder, or no record in it.
    """
    from fsseg_bench.records.read import record_folders

    folders: dict[Path, None] = {}
    closed: list[RecordWarning] = []
    for given in records:
        path = Path(given).expanduser()
        path = path.parent if path.name == RUN_FILE else path
        if not path.is_dir():
            raise UserError(f"{given}: no such folder; give a run's folder, or one with such folders below")
        found, warnings = record_folders(path)
        if not found and not warnings:
            raise UserError(f"{given}: holds no record")
        folders |= dict.fromkeys(found)
        closed += warnings
    return list(folders), closed


def _say(folder: str, verdicts: Sequence[Verdict], *, parts: bool) -> None:
    good = all(verdict.good for verdict in verdicts)
    told = "; ".join(verdict.words for verdict in verdicts if good and verdict.part in {"scores", "masks"})
    click.echo(printable(f"{'ok   ' if good else 'WRONG'} {folder}{': ' * bool(told)}{told}"))
    for verdict in verdicts:
        if parts or not verdict.good:
            click.echo(printable(f"  {'ok   ' if verdict.good else 'WRONG'} {verdict.part}: {verdict.words}"))
