"""``fsseg-bench data``: get data sets, verify them, say what there is; propose a protocol for one's own images."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
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
    """Download or take, verify, unpack and index NAME: pascal5i, coco20i, shapes5i, or one of the benchmarks of
    docs/howto/benchmarks.md (fss1000, lvis92i-1shot, isaid5i, deepglobe, pascal-part, perseg, ...).

    Says first what it will download and how much room that takes. Stopped at any point, the same command goes on.
    """
    from fsseg_bench.data.prepare.download import Patience
    from fsseg_bench.data.prepare.prepare import Options, prepare_dataset
    from fsseg_bench.screen.terminal import screen_progress

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
    for line in record.said:
        click.echo(line)
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
    """Check the data of NAME, a protocol file or its folder, for damage. Exit code 1 when there is any."""
    from fsseg_bench.data.prepare.prepare import protocol_of
    from fsseg_bench.data.prepare.verify import verify as run_checks
    from fsseg_bench.screen.terminal import screen_progress

    name = _protocol_file(name)
    dataset = _dataset(name, year, sources)
    place = _root(dataset, root)
    protocol = protocol_of(dataset, name, sources_path, place)
    found = run_checks(dataset, protocol, place, screen_progress(), fast)
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
    """Show where the data of NAME, a protocol file or its folder, are, their fingerprint, and each class's images."""
    from fsseg_bench.data.prepare.prepare import protocol_of
    from fsseg_bench.data.prepare.verify import describe

    name = _protocol_file(name)
    dataset = _dataset(name, year, sources)
    place = _root(dataset, root)
    click.echo(describe(dataset, protocol_of(dataset, name, sources_path, place), place))
    click.echo(_example(dataset, root, sources_path))


@data.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--name", help="Name of the protocol [default: the folder's].")
@click.option("--folds", type=click.IntRange(1), help="How many folds [default: 4, or one a class if these are fewer].")
@click.option("--out", type=click.Path(path_type=Path), help="The file [default: FOLDER/protocol.toml].")
@click.option("--force", is_flag=True, help="Replace a protocol.toml that is there.")
def init(folder: Path, name: str | None, folds: int | None, out: Path | None, force: bool) -> None:
    """Look at FOLDER and write FOLDER/protocol.toml, with folds proposed and every choice explained.

    FOLDER is in VOC's layout (JPEGImages/, SegmentationClass/), has COCO's annotations/instances_*.json, or holds one
    folder a class with images and masks, in any of the ways that docs/reference/layouts.md shows. Images and masks are
    only read. With --out, nothing is written into FOLDER.
    """
    from fsseg_bench.data.own.proposal import PROTOCOL_FILE, propose
    from fsseg_bench.storage.files import make_folder

    path = folder / PROTOCOL_FILE if out is None else out / PROTOCOL_FILE if out.is_dir() else out
    if path.suffix != ".toml":
        raise UserError(f"--out {out}: the name of a protocol file ends in .toml")
    if path.exists() and not force:
        raise UserError(f"{path}: is there already; --force replaces it, and the changes in it are lost")
    proposal = propose(folder, name, folds, beside=path.parent.resolve() == folder.resolve())
    files = {path.parent / file: text for file, text in proposal.files.items() if file != PROTOCOL_FILE}
    for file, text in files.items():
        if not force and file.exists() and not (file.is_file() and file.read_bytes() == text.encode()):
            raise UserError(f"{file}: is there already, and this name is needed; rename it, or give --force")
    make_folder(path.parent)
    with _written({**files, path: proposal.files[PROTOCOL_FILE]}, "--out FILE writes it to another place"):
        episodes, only_test, warnings, remarks = _tried_out(path)
    click.echo("\n".join([proposal.summary, *remarks]))
    for warning in warnings:
        click.echo(f"warning: {warning}")
    click.echo(f"wrote {path}; tried out: {episodes} test episodes in each fold")
    untrained = " --iterations 0" if only_test else ""
    click.echo(f"next: fsseg-bench run --method baseline --dataset {shlex.quote(str(path))} --shot 1{untrained}")


@data.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the result [default: FOLDER itself].")
@click.option("--force", is_flag=True, help="Replace annotations/instances_*.json that are there.")
def convert(folder: Path, out: Path | None, force: bool) -> None:
    """Write what labelme, Supervisely, Label Studio or YOLO have exported to FOLDER as COCO's instances.

    The result is annotations/instances_<list>.json; data init reads it. With --out, FOLDER stays as it is, and the
    result has a link to it, images/, in place of its images.
    """
    from fsseg_bench.data.own.convert import convert as converted
    from fsseg_bench.storage.files import make_folder, writing

    place = folder if out is None else out
    there = sorted((place / "annotations").glob("instances_*.json"))
    if there and not force:
        raise UserError(f"{there[0]}: is there already; --force replaces it, or remove it")
    result = converted(folder)
    make_folder(place / "annotations", "--out FOLDER writes it to another place")
    link = place / "images"
    if out is not None and not link.exists():
        with writing(link):
            link.symlink_to(folder.resolve(), target_is_directory=True)
    elif out is not None and link.resolve() != folder.resolve():
        raise UserError(f"{link}: is there already; name another folder with --out")
    with _written({place / name: text for name, text in result.files.items()}):
        pass
    for line in result.said:
        click.echo(line)
    for name in result.files:
        click.echo(f"wrote {place / name}")
    if stale := [path for path in there if str(path.relative_to(place)) not in result.files]:
        click.echo(f"warning: {', '.join(map(str, stale))} were there before and are read as well; remove them")
    click.echo(f"next: fsseg-bench data init {shlex.quote(str(place))}")


@contextmanager
def _written(files: Mapping[Path, str], advice: str = "") -> Iterator[None]:
    """Writes ``files``; where that or the block fails, all is as it was before."""
    from fsseg_bench.storage.files import atomic_writer, write_atomic

    before = {path: path.read_bytes() if path.is_file() else None for path in files}
    try:
        for path, text in files.items():
            with atomic_writer(path, advice=advice) as file:
                file.write(text.encode())
        yield
    except BaseException:
        for path, content in before.items():
            with suppress(UserError, OSError):
                if content is None:
                    path.unlink(missing_ok=True)
                else:
                    write_atomic(path, content)
        raise


def _protocol_file(name: str) -> str:
    """``name``; of a folder of one's own, its protocol file."""
    from fsseg_bench.data.prepare.sources import find_dataset

    folder = Path(name)
    if name.endswith(".toml") or not folder.is_dir():
        return name
    if not _is_file(name):
        with suppress(UserError):
            find_dataset(name)
            return name
    if not (folder / "protocol.toml").is_file():
        raise UserError(f"{name}: has no protocol.toml; to write one: fsseg-bench data init {shlex.quote(name)}")
    return str(folder / "protocol.toml")


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
    from fsseg_bench.protocol.find import PREPARED, prepared_protocols

    place = (
        f" --data-root {shlex.quote(str(root))}"
        if root is not None and (dataset.parts or _is_file(dataset.name))
        else ""
    )
    place += f" --sources-path {shlex.quote(sources_path)}" if sources_path else ""
    year = f" --set protocol.data.year={dataset.year}" if dataset.year == 2017 else ""
    name = dataset.protocols[0]
    if root is not None and name in prepared_protocols():
        name = str(root / name / PREPARED)
    return f"for example: fsseg-bench run --method baseline --dataset {shlex.quote(name)}{year}{place}"


def _tried_out(path: Path) -> tuple[int, bool, list[str], list[str]]:
    """Draws the 1-shot episodes of every fold, as ``run`` will; keeps the pair index.

    Returns:
        Their number, whether nothing can be trained, what to say of photos with several names, of episodes that repeat
        one another or of classes with few images, and what the source says of its images.
    """
    from fsseg_bench.data.index import build_index
    from fsseg_bench.data.open import open_source
    from fsseg_bench.protocol.episodes import sample_episodes
    from fsseg_bench.protocol.images import EpisodeImages, few_images
    from fsseg_bench.protocol.load import load_protocol

    protocol = load_protocol(path)
    names = dict(enumerate(protocol.classes, start=1))
    index = build_index(open_source(protocol), protocol)
    warnings = index.remarks(protocol.folds)
    for fold in protocol.folds:
        pairs, order = index.test_pairs(fold), index.test_order(fold)
        table = sample_episodes(protocol, fold, pairs, 1, 1, index.copies, order)
        warnings += [f"fold {fold}: {text}" for text in few_images(EpisodeImages.of(table), names)]
    return len(table), len(protocol.folds) == 1, warnings, list(index.source_remarks)
