"""``fsseg-bench figures``: the paper's Figures 5 to 7 from one's own runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from fsseg_bench.cli.options import places_of, run_places, selected, selecting
from fsseg_bench.conventions import UInt8
from fsseg_bench.errors import UserError
from fsseg_bench.protocol.statistics import Metric
from fsseg_bench.records.read import StoredRun
from fsseg_bench.records.sweep import find_sweep
from fsseg_bench.report.contender import Contender, single_seed
from fsseg_bench.report.episode_choice import Choice
from fsseg_bench.report.figures.canvas import FORMATS, save_all
from fsseg_bench.report.figures.episodes import EpisodeRow, choose_episodes, episodes_figure
from fsseg_bench.report.figures.loss import loss_curve, loss_figure
from fsseg_bench.report.figures.steps import STEPS, SWITCH, other_model, steps_curve, steps_figure
from fsseg_bench.report.recorded import DataPlaces, RecordedEpisodes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Number = Literal["5", "6", "7"]
_METHODS: dict[Number, tuple[str, ...]] = {
    "5": ("inopt-dagger", "biopt"),
    "6": ("baseline", "biopt"),
    "7": ("baseline", "biopt"),
}
"""The paper's."""
_STEMS: dict[Number, str] = {"5": "figure5-steps", "6": "figure6-episodes", "7": "figure7-loss"}


@click.command()
@click.argument("number", type=click.Choice(list(_METHODS)))
@selecting
@click.option("--out", type=click.Path(), default=".", show_default=True, help="Folder for the files.")
@click.option(
    "--format", "formats", type=click.Choice(FORMATS), multiple=True, default=("png", "svg"), show_default=True
)
@click.option(
    "--method",
    "methods",
    multiple=True,
    help="A method's name, perhaps with settings, or a folder [default: the paper's].",
)
@click.option("--beside", help="5: the model drawn beside 0 steps, e.g. baseline [default: none].")
@click.option(
    "--metric", type=click.Choice(["mean", "binary"]), default="mean", show_default=True, help="5: the IoU drawn."
)
@click.option("--sweep", "make", is_flag=True, help="5: evaluate the step numbers that are missing.")
@click.option(
    "--steps", default=",".join(map(str, STEPS)), show_default=True, help="5, with --sweep: what to evaluate."
)
@click.option("--window", type=int, help="7: iterations of the moving average.")
@run_places("5, 6: ")
def figures(
    number: Number,
    out: str,
    formats: tuple[str, ...],
    methods: tuple[str, ...],
    beside: str | None,
    metric: Metric,
    make: bool,
    steps: str,
    window: int | None,
    **options: Any,
) -> None:
    """Draw Figure 5 (IoU against inner steps), 6 (episodes in pictures) or 7 (training loss) from finished runs."""
    places = places_of(options)
    contenders = selected(methods or _METHODS[number], **options)
    if number == "5":
        if make:
            _sweep(contenders, steps.split(","), places)
        other = selected((beside,), **options)[0] if beside else None
        figure = _steps(contenders, other, metric)
    elif number == "6":
        figure = _episodes(contenders, places)
    else:
        figure = loss_figure([loss_curve(c) for c in contenders], _about(contenders), window)
    for path in save_all(figure, Path(out), _STEMS[number], list(dict.fromkeys(formats))):
        click.echo(f"wrote {path}", err=True)


def _about(contenders: Sequence[Contender]) -> str:
    """Protocol and setting, which all contenders must share.

    Raises:
        UserError: they do not.
    """
    keys = ("protocol_label", "protocol_digest", "backbone", "way", "shot")
    settings = [{key: str(getattr(c.settings, key)) for key in keys} for c in contenders]
    if wrong := [key for key in keys if len({own[key] for own in settings}) > 1]:
        told = "; ".join(f"{key}: {' / '.join(own[key] for own in settings)}" for key in wrong)
        raise UserError(f"one figure shows one setting, these differ ({told}); filter with --dataset, --backbone, ...")
    first = settings[0]
    return f"{first['protocol_label']}, {first['way']}-way {first['shot']}-shot, {first['backbone']}"


def _steps(contenders: Sequence[Contender], other: Contender | None, metric: Metric) -> Figure:
    about = _about([*contenders, *([other] if other else [])])
    curves = [steps_curve(contender, metric) for contender in contenders]
    if len({curve.folds for curve in curves}) > 1:
        click.echo("note: the methods have different folds; their curves are not comparable", err=True)
    point = other_model(other, curves[0].folds, metric) if other else None
    return steps_figure(curves, point, about, metric)


def _sweep(contenders: Sequence[Contender], values: Sequence[str], places: dict[str, Any]) -> None:
    """Evaluates the runs that lack one of ``values``."""
    from fsseg_bench.engine.open_run import RunPlaces
    from fsseg_bench.engine.rerun import sweep
    from fsseg_bench.engine.training_data import OpenSources
    from fsseg_bench.screen.terminal import screen_progress

    opened: OpenSources = {}
    for contender in contenders:
        for fold, run in single_seed(contender).items():
            found = find_sweep(run, SWITCH)
            if found is None or not set(values) <= set(map(str, found.values)):
                progress = screen_progress(f"{contender.label} fold {fold}, {SWITCH} {values[0]} to {values[-1]}:")
                sweep(run.folder, SWITCH, values, RunPlaces(**places), progress, opened)


def _episodes(contenders: Sequence[Contender], places: dict[str, Any]) -> Figure:
    about = _about(contenders)
    choices, runs = choose_episodes(contenders)
    sources = places["sources_path"] or contenders[0].example.info.passed.sources_path
    recorded = RecordedEpisodes(DataPlaces(places["data_root"], places["dataset"], sources))
    labels = _predictions(choices, runs, recorded, places)
    rows = []
    for choice in choices:
        images = recorded.images(runs[choice.fold][0], choice.episode)
        titles = [f"{c.label}: IoU {iou:.1f} %" for c, iou in zip(contenders, choice.ious, strict=True)]
        own = [labels[run.folder, choice.episode] for run in runs[choice.fold]]
        tiles = [(tile.title, tile.pixels) for tile in images.tiles(list(zip(titles, own, strict=True)))]
        rows.append(EpisodeRow(f"{choice.reason} (fold {choice.fold}, episode {choice.episode})", tiles))
    return episodes_figure(rows, about, contenders[0].settings.way)


def _predictions(
    choices: Sequence[Choice],
    runs: Mapping[int, Sequence[StoredRun]],
    recorded: RecordedEpisodes,
    places: dict[str, Any],
) -> dict[tuple[Path, int], UInt8]:
    """The predictions by folder and episode: as recorded, or made again where a record keeps none."""
    found, lacking = {}, {}
    chosen = {fold: [choice.episode for choice in choices if choice.fold == fold] for fold in runs}
    wanted = [(run, chosen[fold]) for fold, own in runs.items() for run in own if chosen[fold]]
    for run, episodes in wanted:
        labels = recorded.predictions(run, episodes)
        if labels is None:
            lacking[run.folder] = episodes
        else:
            found.update({(run.folder, episode): own for episode, own in zip(episodes, labels, strict=True)})
    if lacking:
        from fsseg_bench.engine.open_run import RunPlaces
        from fsseg_bench.engine.rerun import predicted_labels

        click.echo(f"note: {len(lacking)} of {len(wanted)} runs keep no predictions; they predict again", err=True)
        found.update(
            predicted_labels(lacking, RunPlaces(**places), say=lambda line: click.echo(f"note: {line}", err=True))
        )
    return found
