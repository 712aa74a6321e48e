"""``fsseg-bench data``: get data sets, verify them, say what there is; propose a protocol for one's own images."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fsseg_bench.cli.options import user_folders
from fsseg_bench.errors import UserError

if TYPE_CHECKING:
    from fsseg_bench.data.prepare.plan import Plan
    from fsseg_bench.data.prepare.sources import Dataset

_SHOWN = 100


def _shared(command: Callable[..., None]) -> Callable[..., None]:
    """The argument and options of the commands about a known data set."""
    decorators = (
        click.argument("name"),
        click.option("--root", type=click.Path(path_type=Path), help="Folder of the data sets [default: FSSEG_DATA]."),
        click.option("--year", type=int, help="Edition of COCO: 2014 or 2017 [default: 2014]."),
        click.option(
            "--sources",
            type=click.Path(path_type=Path),
            envvar="FSSEG_SOURCES",
            help="A sources file of your own [default: FSSEG_SOURCES, else the one that comes with the package].",
        ),
    )
    for decorator in reversed(decorators):
        command = decorator(command)
    return command


@click.group()
def data() -> None:
    """Get the data sets, verify them, and say what there is."""


@data.command()
@_shared
@click.option(
    "--from",
    "given",
    multiple=True,
    type=click.Path(path_type=Path),
    help="An archive, a folder of archives, or a folder with the files; used in place of a download. Repeatable.",
)
@click.option("--subset", is_flag=True, help="What --from holds is a part of the data set, and all there is to be.")
@click.option(
    "--mirror",
    "mirrors",
    multiple=True,
    envvar="FSSEG_MIRROR",
    help="Address of a folder that holds the archives; asked first [default: FSSEG_MIRROR]. Repeatable.",
)
@click.option("--keep-archives", is_flag=True, help="Keep downloads after they are unpacked.")
@click.option("--timeout", default=30.0, show_default=True, help="Seconds without a byte before asking again.")
@click.option("--yes", is_flag=True, help="Do not ask before downloading.")
def prepare(
    name: str,
    root: Path | None,
    year: int | None,
    sources: Path | None,
    given: tuple[Path, ...],
    subset: bool,
    mirrors: tuple[str, ...],
    keep_archives: bool,
    timeout: float,
    yes: bool,
) -> None:
    """Download, verify, unpack and index NAME: pascal5i, coco20i or shapes5i.

    Says first what it will download and how much room that takes. Stopped at any point, the same command goes on.
    """
    from fsseg_bench.cli.progress import screen_progress
    from fsseg_bench.data.prepare.download import Patience
    from fsseg_bench.data.prepare.prepare import Options, prepare_dataset

    if subset and not given:
        raise UserError("--subset: name the folder or the archives with --from")
    if _is_file(name):
        raise UserError(
            f"{name}: nothing is known to download for a protocol of your own; check its data with data verify"
        )
    dataset = _dataset(name, year, sources)
    patience = Patience(timeout=timeout)
    options = Options(tuple(path.expanduser() for path in given), subset, mirrors, keep_archives, patience)

    def confirm(plan: Plan) -> None:
        if plan.download and not yes:
            if not sys.stdin.isatty():
                raise UserError("nothing is downloaded without a yes: add --yes")
            click.confirm("go on?", abort=True, err=True)

    record = prepare_dataset(dataset, _root(dataset, root), options, confirm, screen_progress())
    lists = ", ".join(f"{list_name} {count:,}" for list_name, count in record.images.items())
    click.echo(f"{dataset.name} is ready: {lists} images; fingerprint {record.fingerprint}")
    click.echo(_example(dataset, root))


@data.command()
@_shared
@user_folders("source")
@click.option("--fast", is_flag=True, help="Lists, names and sizes alone; no image or mask is read.")
def verify(
    name: str, root: Path | None, year: int | None, sources: Path | None, sources_path: str | None, fast: bool
) -> None:
    """Check the data of NAME, or of a protocol file, for damage. Exit code 1 when there is any; each names a file."""
    from fsseg_bench.cli.progress import screen_progress
    from fsseg_bench.data.prepare.prepare import protocol_of
    from fsseg_bench.data.prepare.verify import verify as run_checks

    dataset = _dataset(name, year, sources)
    protocol = protocol_of(dataset, name, sources_path)
    found = run_checks(dataset, protocol, _root(dataset, root), screen_progress(), fast)
    for note in found.notes:
        click.echo(note)
    for problem in found.problems[:_SHOWN]:
        click.echo(f"PROBLEM {problem}")
    if len(found.problems) > _SHOWN:
        click.echo(f"and {len(found.problems) - _SHOWN:,} problems more")
    if found.problems:
        click.echo(f"{dataset.name}: {len(found.problems):,} problem{'s' if len(found.problems) > 1 else ''}")
        sys.exit(1)
    click.echo(f"{dataset.name}: no problem found" + (" (images and masks were not read)" if fast else ""))


@data.command()
@_shared
@user_folders("source")
def info(name: str, root: Path | None, year: int | None, sources: Path | None, sources_path: str | None) -> None:
    """Show where the data of NAME, or of a protocol file, are, their fingerprint, and the images of each class."""
    from fsseg_bench.data.prepare.prepare import protocol_of
    from fsseg_bench.data.prepare.verify import describe

    dataset = _dataset(name, year, sources)
    protocol = protocol_of(dataset, name, sources_path)
    click.echo(describe(dataset, protocol, _root(dataset, root)))
    click.echo(_example(dataset, root, sources_path))


@data.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--name", help="Name of the protocol [default: the folder's].")
@click.option("--folds", type=click.IntRange(1), help="How many folds [default: 4, or one a class if these are fewer].")
@click.option("--force", is_flag=True, help="Replace a protocol.toml that is there.")
def init(folder: Path, name: str | None, folds: int | None, force: bool) -> None:
    """Look at FOLDER and write FOLDER/protocol.toml, with folds proposed and every choice explained.

    FOLDER is in VOC's layout (JPEGImages/, SegmentationClass/), has COCO's annotations/instances_*.json, or holds one
    folder a class with images/ and masks/. Images and masks are only read.
    """
    from fsseg_bench.data.own.proposal import PROTOCOL_FILE, propose
    from fsseg_bench.storage.files import write_atomic

    path = folder / PROTOCOL_FILE
    if path.exists() and not force:
        raise UserError(f"{path}: is there already; --force replaces it, and the changes in it are lost")
    proposal = propose(folder, name, folds)
    for file in proposal.files:
        if (folder / file).exists() and file != PROTOCOL_FILE and not force:
            raise UserError(f"{folder / file}: is there already, and this name is needed; rename it, or give --force")
    for file in sorted(proposal.files, key=lambda file: file == PROTOCOL_FILE):
        write_atomic(folder / file, proposal.files[file])
    episodes, only_test, warnings, remarks = _tried_out(path)
    click.echo("\n".join([proposal.summary, *remarks]))
    for warning in warnings:
        click.echo(f"warning: {warning}")
    click.echo(f"wrote {path}; tried out: {episodes} test episodes in each fold")
    untrained = " --iterations 0" if only_test else ""
    click.echo(f"next: fsseg-bench run --method baseline --dataset {path} --shot 1{untrained}")


def _dataset(name: str, year: int | None, sources: Path | None) -> Dataset:
    from fsseg_bench.data.prepare.sources import find_dataset, of_protocol_file

    if _is_file(name):
        if year is not None:
            raise UserError(f"--year {year}: {name} says the edition itself, as data.year")
        return of_protocol_file(name)
    return find_dataset(name, year, sources)


def _is_file(name: str) -> bool:
    return name.endswith(".toml") or "/" in name


def _root(dataset: Dataset, given: Path | None) -> Path | None:
    from fsseg_bench.paths import data_root

    root = data_root(given)
    if root is None and dataset.parts:
        raise UserError(f"{dataset.name}: name the folder of the data sets with --root or FSSEG_DATA")
    return root


def _example(dataset: Dataset, root: Path | None, sources_path: str | None = None) -> str:
    place = f" --data-root {root}" if root is not None and (dataset.parts or _is_file(dataset.name)) else ""
    place += f" --sources-path {sources_path}" if sources_path else ""
    year = f" --set protocol.data.year={dataset.year}" if dataset.year == 2017 else ""
    return f"for example: fsseg-bench run --method baseline --dataset {dataset.protocols[0]}{year}{place}"


def _tried_out(path: Path) -> tuple[int, bool, list[str], list[str]]:
    """Draws the 1-shot episodes of every fold, as ``run`` will; keeps the pair index.

    Returns:
        Their number, whether nothing can be trained, what to say of episodes that repeat one another or of classes with
        few images, and what the source says of its images.
    """
    from fsseg_bench.data.index import build_index
    from fsseg_bench.data.open import open_source
    from fsseg_bench.protocol.episodes import sample_episodes
    from fsseg_bench.protocol.images import EpisodeImages, few_images
    from fsseg_bench.protocol.load import load_protocol

    protocol = load_protocol(path)
    names = dict(enumerate(protocol.classes, start=1))
    index = build_index(open_source(protocol), protocol)
    warnings = []
    for fold in protocol.folds:
        table = sample_episodes(protocol, fold, index.test_pairs(fold), way=1, shot=1)
        warnings += [f"fold {fold}: {text}" for text in few_images(EpisodeImages.of(table), names)]
    return protocol.episodes.count, len(protocol.folds) == 1, warnings, list(index.source_remarks)
