"""``fsseg-bench episodes``: print or save the episode table of a fold, drawn or imported."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import click

from fsseg_bench.cli import complete
from fsseg_bench.cli.options import parse_settings, user_folders
from fsseg_bench.errors import UserError
from fsseg_bench.paths import data_root

_FILE = click.Path(dir_okay=False, path_type=Path)
_BASE = click.Choice(["0", "1"])


@click.command()
@click.option(
    "--dataset",
    required=True,
    shell_complete=complete.datasets,
    help="Protocol: a built-in name, or a TOML file of your own.",
)
@click.option("--fold", type=int, help="A fold of the protocol [default: 1; imported: the file's].")
@click.option("--shot", type=int, help="Supports of each class (K) [default: 1; imported: the file's].")
@click.option("--way", type=int, help="Classes of an episode (N) [default: 1; imported: the file's].")
@click.option("--episodes", type=int, help="How many [default: the protocol's].")
@click.option("--data-root", type=click.Path(), help="Folder of the data sets [default: FSSEG_DATA].")
@user_folders("source")
@click.option("--set", "settings", multiple=True, metavar="protocol.KEY=VALUE", help="A change of the protocol.")
@click.option("--out", type=click.Path(), help="Write the CSV here; {fold} in the name is the fold's number.")
@click.option(
    "--import", "source", type=_FILE, metavar="FILE", help="Read another tool's list in place of drawing one."
)
@click.option("--columns", metavar="NAMES", help="Imported: the columns in order, e.g. fold,class,query,support_1,-.")
@click.option("--fold-base", type=_BASE, help="Imported: what the first fold is called.")
@click.option("--class-base", type=_BASE, help="Imported: what the first class is called.")
@click.option("--class-scope", type=click.Choice(["all", "fold", "name"]), help="Imported: what class numbers count.")
@click.option("--no-check", is_flag=True, help="Imported: do not compare with the data.")
def episodes(dataset: str, settings: tuple[str, ...], out: str | None, source: Path | None, **options: Any) -> None:
    """Print a fold's test episodes as CSV (class ids, query, supports) and their digest.

    The file replays with `run --episodes FILE`. With --import, the episodes are those of another tool's list, whatever
    its columns are called and however its folds, classes and images are numbered; what was changed is said.
    """
    from fsseg_bench.protocol.load import load_protocol

    overrides = {key.removeprefix("protocol."): value for key, value in parse_settings(settings).items()}
    protocol = load_protocol(dataset, overrides, options["sources_path"])
    if options["fold"] is not None:
        protocol.check_fold(options["fold"])
    if source is None:
        _refuse(options, ("columns", "fold_base", "class_base", "class_scope", "no_check"), "needs --import")
        tables, runs = _drawn(protocol, options), len(protocol.episodes.seeds)
    else:
        _refuse(options, ("episodes",), "and --import exclude each other")
        tables, runs = _imported(source, protocol, options, out), 1
    _write(tables, out, runs)


def _refuse(options: dict[str, Any], names: tuple[str, ...], why: str) -> None:
    if given := [name for name in names if options[name] not in {None, False}]:
        raise UserError(f"--{given[0].replace('_', '-')} {why}")


def _drawn(protocol: Any, options: dict[str, Any]) -> dict[int, Any]:
    from fsseg_bench.protocol.episodes import sample_episodes
    from fsseg_bench.protocol.load import replace_episodes

    if options["episodes"] is not None:
        protocol = replace_episodes(protocol, options["episodes"])
    fold, way, shot = (1 if options[name] is None else options[name] for name in ("fold", "way", "shot"))
    index = _index(protocol, options["data_root"])
    pairs, order = index.test_pairs(fold), index.test_order(fold)
    return {fold: sample_episodes(protocol, fold, pairs, way, shot, index.copies, order)}


def _index(protocol: Any, root: str | None) -> Any:
    from fsseg_bench.data.index import build_index
    from fsseg_bench.data.open import open_source

    return build_index(open_source(protocol, data_root(root)), protocol)


def _imported(source: Path, protocol: Any, options: dict[str, Any], out: str | None) -> dict[int, Any]:
    from fsseg_bench.protocol.foreign.images import TestImages
    from fsseg_bench.protocol.foreign.importing import import_episodes
    from fsseg_bench.protocol.foreign.readings import Choice

    said = {name: options[name] for name in ("fold", "shot", "way", "class_scope")}
    said |= {name: None if options[name] is None else int(options[name]) for name in ("fold_base", "class_base")}
    said["columns"] = None if options["columns"] is None else tuple(options["columns"].split(","))
    images = None
    if not options["no_check"]:
        index = _index(protocol, options["data_root"])
        ids = index.frame.loc[index.frame["split"] == "test", "image"]
        pairs = {fold: index.test_pairs(fold) for fold in protocol.folds}
        images = TestImages(frozenset(ids), pairs, index.copies)
    imported = import_episodes(source, protocol, Choice(**said), images)
    for note in imported.notes:
        click.echo(f"{source}: {note}", err=True)
    if imported.unchanged:
        click.echo(f"{source}: is in the form of `run --episodes` already; nothing was changed", err=True)
    if len(imported.tables) > 1 and "{fold" not in (out or ""):
        folds = ", ".join(map(str, imported.tables))
        raise UserError(
            f"{source}: holds episodes of the folds {folds}, and a file holds those of one: choose one with --fold, or "
            "write all with --out 'NAME-{fold}.csv'"
        )
    return dict(imported.tables)


def _write(tables: dict[int, Any], out: str | None, runs: int) -> None:
    from fsseg_bench.protocol.lists import list_path

    for fold, table in tables.items():
        if out is None:
            click.echo(table.frame().to_csv(index=False), nl=False)
            where = ""
        else:
            path = list_path(out, fold)
            table.to_csv(path)
            where = f" {path}: {len(table):,} episodes of fold {fold}, {table.ways}-way {table.shots}-shot"
        click.echo(f"sha256 {table.digest}{where}", err=True)
        click.echo(_facts(table, runs), err=True)


def _facts(table: Any, runs: int) -> str:
    """What one should know of a table before one compares its numbers with others."""
    from fsseg_bench.protocol.images import EpisodeImages
    from fsseg_bench.report.intervals import images_words, span

    each = Counter(classes[0] for classes in table.classes)
    texts = [f"{runs} runs of {len(table) // runs:,} episodes"] if runs > 1 else []
    texts.append(f"{len(each):,} classes as the query's, {span(each.values())} episodes each")
    texts.append(images_words([EpisodeImages.of(table)]))
    if table.repeats:
        texts.append(f"{table.repeats:,} of {len(table):,} episodes have an image among their supports several times")
    return "; ".join(texts)
