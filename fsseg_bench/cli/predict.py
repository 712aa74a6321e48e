"""``fsseg-bench predict``: segment one's own images from one's own examples."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fsseg_bench.cli import complete
from fsseg_bench.cli.options import parse_settings, user_folders
from fsseg_bench.errors import UserError
from fsseg_bench.progress import Progress
from fsseg_bench.report.model import printable
from fsseg_bench.screen.terminal import screen_progress

if TYPE_CHECKING:
    from fsseg_bench.engine.predict.predictor import Predictor, Segmentation
    from fsseg_bench.engine.predict.queries import Query
    from fsseg_bench.engine.predict.supports import AnyMask
    from fsseg_bench.engine.predict.written import Outputs
    from fsseg_bench.protocol.spec import Protocol

_FILE = click.Path(path_type=Path)
_SHOWN = 8
_BOX = (_FILE, float, float, float, float)
_OF_DATA = ("shots", "seed", "data_root", "sources_path")


def _pairs(ctx: click.Context, param: click.Parameter, value: tuple[tuple[Path, Path], ...]) -> Any:
    """Refuses an option in the mask's place, which two values after ``--support`` would swallow."""
    for image, mask in value:
        if mask.name.startswith("--") and not mask.exists():
            raise click.BadParameter(f"no mask after {image}, but {mask}: give both, IMAGE MASK", ctx, param)
    return value


@click.command()
@click.option(
    "--support",
    "pairs",
    nargs=2,
    type=_FILE,
    multiple=True,
    callback=_pairs,
    metavar="IMAGE MASK",
    help="An image and its mask; repeatable.",
)
@click.option(
    "--support-box",
    "boxes",
    type=_BOX,
    multiple=True,
    metavar="IMAGE X0 Y0 X1 Y1",
    help="An image and a box around the object, in pixels; repeatable.",
)
@click.option(
    "--dataset",
    shell_complete=complete.datasets,
    help="Draw the supports from a protocol's data: a built-in name, or a TOML file.",
)
@click.option(
    "--class",
    "classes",
    multiple=True,
    metavar="NAME|VALUE|NAME=VALUE",
    help="A class of the protocol, or of masks with label values; repeatable.",
)
@click.option("--shots", "--shot", type=int, help="With --dataset: supports of each class [default: 1].")
@click.option("--seed", type=int, help="With --dataset: of the draw [default: 0].")
@click.option("--data-root", type=click.Path(), help="With --dataset: folder of the data sets [default: FSSEG_DATA].")
@click.option(
    "--query",
    "queries",
    multiple=True,
    required=True,
    metavar="FILE|FOLDER|PATTERN",
    help="An image to segment, a folder of images, or a pattern like 'photos/**/*.jpg'; repeatable.",
)
@click.option("--out", type=_FILE, required=True, help="Folder for the results.")
@click.option(
    "--format",
    "formats",
    type=click.Choice(["png", "coco"]),
    multiple=True,
    default=("png",),
    show_default="png",
    help="png: mask, overlay and probability of each query; coco: predictions.json; repeatable.",
)
@click.option("--checkpoint", type=_FILE, metavar="RUN-OR-FILE", help="A run's folder, or a file with parameters.")
@click.option("--method", shell_complete=complete.method_names, help="Method [default: the run's].")
@click.option(
    "--backbone",
    shell_complete=complete.backbone_names,
    help="Feature extractor [default: the run's, else the method's].",
)
@click.option(
    "--weights", shell_complete=complete.weights, help="imagenet, none, or a file [default: the run's, else imagenet]."
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A switch, or protocol.KEY; repeatable.")
@click.option("--size", type=int, help="Side of the square input [default: the run's, else the dataset's, else 417].")
@click.option(
    "--device",
    default="auto",
    show_default=True,
    shell_complete=complete.devices,
    help="auto, cpu, cuda or cuda:INDEX.",
)
@user_folders("method", "backbone", "source")
def predict(queries: tuple[str, ...], out: Path, formats: tuple[Any, ...], **options: Any) -> None:
    """Segment the classes that the supports show in each query.

    A support mask has 0 for background and one other value for the object; with --class, the label values of classes.
    Each query gets NAME-mask.png (one class: 0 and 255; several: their values, in legend.csv), NAME-overlay.png and
    NAME-probability.png (16-bit grey, 65535 is certain), all of its own size. Photos are taken upright (EXIF).
    """
    from fsseg_bench.engine.predict.predictor import Predictor
    from fsseg_bench.engine.predict.queries import find_queries
    from fsseg_bench.engine.predict.written import Outputs

    given = {name: options.pop(name) for name in ("pairs", "boxes", "dataset", "classes", *_OF_DATA)}
    changes = parse_settings(options.pop("settings"))
    given["changes"] = {k.removeprefix("protocol."): v for k, v in changes.items() if k.startswith("protocol.")}
    options["switches"] = {k: v for k, v in changes.items() if not k.startswith("protocol.")}
    protocol = _protocol(given)
    if protocol is not None:
        options["default_size"] = protocol.image.size
    found = find_queries(queries)
    predictor = Predictor(**options)
    click.echo(predictor.title)
    if protocol is None:
        files = _read_supports(predictor, given["pairs"], given["boxes"], given["classes"])
    else:
        files = _draw_supports(predictor, protocol, given)
    outputs = Outputs(out, found.found, predictor.classes, formats)
    for note in (*_notes(found.found, found.skipped, files), *outputs.notes):
        click.echo(printable(note), err=True)
    _segment(predictor, found.found, outputs)


def _protocol(given: dict[str, Any]) -> Protocol | None:
    """The protocol whose data the supports are drawn from; None where they are files.

    Raises:
        UserError: no support is given, options contradict each other, or there is no such protocol.
    """
    from fsseg_bench.protocol.load import load_protocol

    files = given["pairs"] or given["boxes"]
    if given["dataset"] is not None:
        if files:
            raise UserError("--dataset and --support exclude each other: supports are files, or drawn from data")
        return load_protocol(given["dataset"], given["changes"], given["sources_path"])
    if needing := [name for name in (*_OF_DATA, "changes") if given[name]]:
        option = "set protocol.KEY" if needing[0] == "changes" else needing[0].replace("_", "-")
        raise UserError(f"--{option} needs --dataset")
    if not files:
        raise UserError("no support is given: use --support IMAGE MASK, --support-box, or --dataset with --class")
    return None


def _draw_supports(predictor: Predictor, protocol: Protocol, given: dict[str, Any]) -> list[Path]:
    """Sets supports and says which; returns their images' files."""
    shots, seed = (default if given[name] is None else given[name] for name, default in (("shots", 1), ("seed", 0)))
    drawn = predictor.draw_support(protocol, *given["classes"], shots=shots, seed=seed, data_root=given["data_root"])
    for one in drawn:
        click.echo(printable(f"{one.name}: drawn with seed {seed} from {protocol.label}: {', '.join(one.images)}"))
    return [file for one in drawn for file in one.files]


def _read_supports(
    predictor: Predictor, pairs: Sequence[tuple[Path, Path]], boxes: Sequence[tuple[Any, ...]], classes: Sequence[str]
) -> list[Path]:
    """The same of files."""
    from fsseg_bench.engine.predict.classes import classes_of_masks

    images: list[Path] = [*(image for image, _ in pairs), *(box[0] for box in boxes)]
    masks: list[AnyMask] = [*(mask for _, mask in pairs), *(box[1:] for box in boxes)]
    for name, value in classes_of_masks(classes, masks):
        count = predictor.set_support(images, masks, name=name, label=value)
        if classes:
            shown = "" if value is None else f" (label value {value})"
            click.echo(printable(f"{name}{shown}: {count} of {len(images)} supports show it"))
    return images


def _notes(queries: Sequence[Query], skipped: Sequence[str], supports: Sequence[Path]) -> list[str]:
    notes = [f"skipped among the queries: {', '.join(skipped)}"] if skipped else []
    known = {os.path.realpath(path) for path in supports}  # Path.resolve fails where links go round in a circle
    if count := sum(os.path.realpath(query.path) in known for query in queries):
        notes.append(f"{count} of the queries are supports themselves, which makes them easier than others")
    return notes


def _segment(predictor: Predictor, queries: Sequence[Query], outputs: Outputs) -> None:
    """Segments and writes all queries, and says how it went.

    Raises:
        UserError: a query could not be segmented (the others were), or nothing can be written.
    """
    by_path = {query.path: query for query in queries}
    failed: list[Query] = []
    progress = screen_progress()
    say = _speaker(progress)
    begin = time.perf_counter()
    with progress.meter("predict", len(queries)) as meter:

        def left_out(image: Any, error: UserError) -> None:
            failed.append(by_path[image])
            outputs.leave_out(by_path[image])
            progress.say(printable(f"error: {error}"))
            meter.advance()

        results = ((by_path[Path(str(one.query))], one) for one in predictor.predict_many(by_path, left_out))
        for done, (query, result, place) in enumerate(outputs.write_all(results), start=1):
            say(printable(f"{query.path}: {_shares(result)} of the pixels -> {place}"))
            meter.advance(1, f"{done / (time.perf_counter() - begin):.1f} images/s")
    outputs.close()
    seconds, done = time.perf_counter() - begin, len(queries) - len(failed)
    images = "image" if done == 1 else "images"
    click.echo(printable(f"{done:,} {images} in {seconds:.1f} s, {done / seconds:.1f} images/s -> {outputs.folder}"))
    if failed:
        names = ", ".join(str(query.path) for query in failed[:_SHOWN]) + (", ..." if len(failed) > _SHOWN else "")
        raise UserError(f"{len(failed):,} of {len(queries):,} queries could not be segmented (see above): {names}")


def _speaker(progress: Progress) -> Callable[[str], None]:
    """What prints a line on standard output, above the bar where both are on one terminal."""
    if sys.stdout.isatty() and sys.stderr.isatty():
        return progress.say
    return partial(click.echo, file=sys.stdout)  # this very stream: a bar puts itself in the place of sys.stdout


def _shares(result: Segmentation) -> str:
    if len(result.classes) == 1:
        return f"{(result.mask > 0).mean():.1%}"
    shares = [(name, (result.mask == value).mean()) for value, name in enumerate(result.classes, start=1)]
    return ", ".join(f"{name} {share:.1%}" for name, share in shares if share) or "no class in any"
