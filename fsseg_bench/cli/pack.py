"""``fsseg-bench pack`` and ``unpack``: records in one file, for others to check. Torch is not needed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fsseg_bench.cli import complete
from fsseg_bench.errors import UserError
from fsseg_bench.paths import results_root
from fsseg_bench.records.info import RUN_FILE
from fsseg_bench.report.model import printable

if TYPE_CHECKING:
    from fsseg_bench.records.read import StoredRun


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", shell_complete=complete.method_names)
@click.option("--results", type=click.Path(), help="Folder of the records [default: FSSEG_RESULTS, else results/runs].")
@click.option("--out", required=True, type=click.Path(), help="The file to write; by custom NAME.fsseg.zip.")
@click.option("--by", metavar="NAME", help="Whose the records are, as tables are to say it.")
@click.option("--predictions", is_flag=True, help="Take what was predicted along, too.")
@click.option("--private", is_flag=True, help="Leave out paths and the names of machines.")
def pack(
    runs: tuple[str, ...], results: str | None, out: str, by: str | None, predictions: bool, private: bool
) -> None:
    """Put finished records into one file that others can check, without weights, checkpoints and pictures.

    RUN is a run's folder, a folder with such folders below, or a method's name (perhaps with settings:
    "biopt,steps=5") for all its runs. Equal records give an equal file. Each record is verified first; a damaged one
    is refused. What a pack says of its maker's machine is printed.
    """
    from fsseg_bench.records.pack import write_pack

    found = _finished(runs, results_root(results))
    manifest, digest = write_pack(found, Path(out).expanduser(), by=by, predictions=predictions, private=private)
    size = Path(out).expanduser().stat().st_size
    told = f"{len(manifest.records):,} records in {len(manifest.files):,} files, {size:,} bytes"
    click.echo(printable(f"{out}: {told}"))
    click.echo(f"sha256 {digest}")
    _left_out(sorted({Path(name).parts[0] for record in manifest.records for name in record.left_out}), predictions)
    _of_machine(found, private=private)


def _finished(given: Sequence[str], root: Path) -> list[StoredRun]:
    """The finished runs, verified; says how many are not finished.

    Raises:
        UserError: no such folder or method, or a record that cannot be used or is not what was recorded.
    """
    from fsseg_bench.engine.verify import verify
    from fsseg_bench.records.generalised import generalised_folders
    from fsseg_bench.records.read import find_records
    from fsseg_bench.report.select import named_runs

    found: dict[Path, StoredRun] = {}
    generalised = 0
    for text in given:
        path = Path(text).expanduser()
        if not path.exists() and len(path.parts) == 1:
            records, unusable = named_runs(text, root)
            if unusable:
                told = f"{len(unusable)} records, perhaps of {text}, cannot be used and are left out"
                click.echo(printable(f"{told}: {unusable[0].message}"), err=True)
            found |= {run.folder: run for run in records}
            continue
        generalised += sum(1 for _ in generalised_folders(path))
        records, warnings = find_records(path.parent if path.name == RUN_FILE else path)
        if warnings:
            raise UserError(f"{warnings[0].message}; a pack holds sound records only: name the others one by one")
        found |= {run.folder: run for run in records}
    done = [run for run in found.values() if run.status == "done"]
    for run in done:
        if wrong := [f"{verdict.part}: {verdict.words}" for verdict in verify(run.folder) if not verdict.good]:
            raise UserError(f"{run.folder}: not what was recorded, so it is not packed: {'; '.join(wrong)}")
    if generalised:
        click.echo(f"{generalised} generalised records are left out: packs hold runs of episodes", err=True)
    if len(done) < len(found):
        click.echo(f"{len(found) - len(done)} of {len(found)} records are not finished and are left out", err=True)
    return done


def _left_out(parts: Sequence[str], predictions: bool) -> None:
    told = ", ".join(["weights and checkpoints", *parts])
    more = "" if predictions else " (--predictions takes what was predicted along)"
    click.echo(f"left out: {told}{more}", err=True)


def _of_machine(runs: Sequence[StoredRun], *, private: bool) -> None:
    """Says what is in the pack of paths and machines: of each place an example."""
    from fsseg_bench.records.privacy import told_of

    every = [told_of(run.info, private=private) for run in runs]
    counts = Counter(name for told in every for name in told)
    example = {name: value for told in reversed(every) for name, value in told.items()}
    if not counts:
        click.echo("no path and no name of a machine is in it", err=True)
        return
    advice = "part of the identity, so it cannot be left out" if private else "--private leaves them out"
    click.echo(f"in it for everybody to read, with an example each ({advice}):", err=True)
    for name, count in sorted(counts.items()):
        click.echo(printable(f"  {name} in {count} of {len(runs)}: {example[name]}"), err=True)


@click.command()
@click.argument("pack_file", type=click.Path(), metavar="FILE")
@click.option("--out", type=click.Path(), help="Folder for the records [default: named as the file, here].")
def unpack(pack_file: str, out: str | None) -> None:
    """Write a pack's records as folders, each with a note of whose it is (pack.json). A damaged pack is refused.

    What is in the records is not judged: that is what 'fsseg-bench verify FILE' does.
    """
    from fsseg_bench.records.unpack import unpack as write_records

    path = Path(pack_file).expanduser()
    folder = Path(out).expanduser() if out else Path(path.name.partition(".")[0] or "pack")
    unpacked = write_records(path, folder)
    click.echo(printable(f"{folder}: {len(unpacked.folders):,} records"))
    click.echo(f"sha256 {unpacked.digest}")
