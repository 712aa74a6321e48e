"""``fsseg-bench list``: what there is to run and what has been run. No method is imported, torch for backbones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from fsseg_bench.cli.options import user_folders
from fsseg_bench.cli.output import show
from fsseg_bench.errors import UserError
from fsseg_bench.paths import results_root
from fsseg_bench.records.info import GENERALISED_FILE
from fsseg_bench.report.model import Cell, Column, Table, printable

if TYPE_CHECKING:
    from pathlib import Path

    from fsseg_bench.records.generalised import GeneralisedRun
    from fsseg_bench.records.read import StoredRun

Listing = tuple[Sequence[str], Sequence[Sequence[str]]]
"""Headings and rows."""
Options = Mapping[str, str | None]
"""Those that name a folder."""
_TIMM = (
    'note: also timm:NAME, any model of timm (pip install "fsseg-bench[timm]"): timm:vit_small_patch14_reg4_dinov2, '
    "timm:vit_small_patch16_dinov3; check-backbone timm:NAME shows the stages. DINOv2's weights are under Apache-2.0, "
    "DINOv3's under Meta's DINOv3 License"
)
"""Said beside the list: timm's names are more than a thousand, and need timm."""
_SPARED = ("paper", "stages (stride)")
"""Columns that a narrow terminal does not show."""


@click.command("list")
@click.argument("what", type=click.Choice(["methods", "datasets", "sources", "backbones", "tables", "runs"]))
@click.option(
    "--results", type=click.Path(), help="runs: folder of the records [default: FSSEG_RESULTS, else results/runs]."
)
@user_folders("method", "backbone", "source")
@click.option("--papers-path", type=click.Path(), help="tables: a folder with further papers' tables.")
def list_(what: str, **options: str | None) -> None:
    """List methods, datasets, data sources, backbones, papers' tables or runs."""
    heads, rows = _MAKERS[what](options)
    cells = tuple(tuple(Cell(printable(text)) for text in row) for row in rows)
    columns = tuple(Column((head,), spare=int(head in _SPARED)) for head in heads)
    show([Table(what, "", "", columns, len(heads), cells)])


def _methods(options: Options) -> Listing:
    from fsseg_bench.registry import cards

    rows = [
        (c.name, c.title, " ".join((c.venue, c.year)), c.fidelity, c.summary) for c in cards(options["methods_path"])
    ]
    return ("method", "paper", "venue", "fidelity", "summary"), rows


def _sources(options: Options) -> Listing:
    from fsseg_bench import plugins
    from fsseg_bench.protocol.source import SOURCES

    places = plugins.places(SOURCES, options["sources_path"])
    rows = [(name, plugins.docstring(place).partition("\n")[0], place.origin) for name, place in places.items()]
    return ("source", "summary", "file"), rows


def _datasets(_options: Options) -> Listing:
    from fsseg_bench.protocol.find import builtin_protocols
    from fsseg_bench.protocol.load import load_protocol

    rows = []
    for name in builtin_protocols():
        p = load_protocol(name)
        folds = " + ".join(str(len(names)) for names in p.folds.values())
        counts = " + ".join(str(count or "all") for count in p.episodes.counts)
        rows.append((name, str(p.version), folds, str(p.image.size), counts, p.description))
    return ("dataset", "version", "classes a fold", "size", "episodes", "description"), rows


def _backbones(options: Options) -> Listing:
    from fsseg_bench.nn.catalogue import backbone_names

    rows = [_backbone(name, options["backbones_path"]) for name in backbone_names(options["backbones_path"])]
    click.echo(_TIMM, err=True)
    return ("backbone", "channels", "stride", "parameters", "imagenet weights", "stages (stride)"), rows


def _backbone(name: str, backbones_path: str | None) -> tuple[str, ...]:
    """A row; parameters are counted in the network."""
    from fsseg_bench.nn.backbones import build_backbone, for_shapes

    try:
        backbone = for_shapes(lambda: build_backbone(name, path=backbones_path))
        count = sum(map(backbone.parameters_of, backbone.stages))
    except Exception as error:  # noqa: BLE001 - a user's file may raise anything; the others are listed all the same
        return (name, "?", "?", "?", "?", f"cannot be used: {error}")
    stages = ", ".join(f"{stage.name} ({stage.stride})" for stage in backbone.facts.stages)
    numbers = (str(backbone.out_channels), str(backbone.stride), _short(count))
    return (name, *numbers, backbone.facts.weights or "none", stages)


def _short(count: int) -> str:
    """A number of parameters: 408, 24 k, 23.5 M."""
    if count < 1000:
        return str(count)
    return f"{count / 1e6:.1f} M" if count >= 999_500 else f"{count / 1e3:.0f} k"


def _tables(options: Options) -> Listing:
    from fsseg_bench.report.doubts import paper_doubts
    from fsseg_bench.report.find_papers import papers

    found = papers(options["papers_path"])
    for line in (line for paper in found for line in paper_doubts(paper)):
        click.echo(printable(f"note: {line}"), err=True)
    rows = [
        (t.full_name, t.alias, t.title, ", ".join(p.name for p in t.rules), t.metric, str(len(t.numbers)))
        for paper in found
        for t in paper.tables
    ]
    return ("table", "alias", "title", "protocols", "metric", "numbers"), rows


def _runs(options: Options) -> Listing:
    from fsseg_bench.records.read import find_records

    root = results_root(options["results"])
    found, warnings = find_records(root)
    told = [warning.message for warning in warnings]
    runs = [run for run in found if run.status != "done" or _is_whole(run, told)]
    for message in told:
        click.echo(printable(f"skipped: {message}"), err=True)
    whole = _generalised(root)
    if not runs and not whole:
        raise UserError(f"{root}: holds no usable runs; make one with 'fsseg-bench run'")
    keys = ("protocol_label", "method", "backbone", "way", "shot", "fold", "seed")
    rows = [
        (*(str(getattr(run.settings, key)) for key in keys), _state(run), str(run.folder.relative_to(root)))
        for run in runs
    ]
    for one in whole:
        words = {**one.settings, "way": "all at once"}
        rows.append((*(str(words[key]) for key in keys), "done", str(one.folder.relative_to(root))))
    return ("dataset", *keys[1:], "status", "record"), rows


def _generalised(root: Path) -> Sequence[GeneralisedRun]:
    """Runs that label base and novel classes at once; what reads them takes long to import."""
    if not next(root.glob(f"**/{GENERALISED_FILE}"), None):
        return ()
    from fsseg_bench.report.generalised import find_generalised

    runs, warnings = find_generalised(root)
    for warning in warnings:
        click.echo(printable(f"skipped: {warning.message}"), err=True)
    return runs


def _is_whole(run: StoredRun, told: list[str]) -> bool:
    """Whether a finished run still has its episodes; else ``told`` gets why not."""
    try:
        run.episode_log()
    except UserError as error:
        told.append(str(error))
        return False
    return True


def _state(run: StoredRun) -> str:
    """How far a run is, and whether it went on elsewhere than it was begun."""
    kinds = len(run.info.devices)
    return f"{run.status}, on {kinds} kinds of device" if kinds > 1 else run.status


_MAKERS = {
    "methods": _methods,
    "datasets": _datasets,
    "sources": _sources,
    "backbones": _backbones,
    "tables": _tables,
    "runs": _runs,
}
