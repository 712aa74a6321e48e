"""``fsseg-bench predict``: segment one's own images from one's own examples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fsseg_bench.cli.options import parse_settings, user_folders

_FILE = click.Path(path_type=Path)


@click.command()
@click.option("--support", nargs=2, type=_FILE, multiple=True, required=True, help="An image and its mask; repeatable.")
@click.option("--query", "queries", type=_FILE, multiple=True, required=True, help="An image to segment; repeatable.")
@click.option("--out", type=_FILE, required=True, help="Folder for the masks, overlays and probabilities.")
@click.option("--checkpoint", type=_FILE, metavar="RUN-OR-FILE", help="A run's folder, or a file with parameters.")
@click.option("--method", help="Method [default: the run's].")
@click.option("--backbone", help="Feature extractor [default: the run's, else the method's].")
@click.option("--weights", help="imagenet, none, or a file, where no checkpoint is [default: imagenet].")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A switch of the method; repeatable.")
@click.option("--size", type=int, help="Side of the square input in pixels [default: the run's, else 417].")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:INDEX.")
@user_folders("method", "backbone")
def predict(
    support: tuple[tuple[Path, Path], ...],
    queries: tuple[Path, ...],
    out: Path,
    settings: tuple[str, ...],
    device: str,
    **options: Any,
) -> None:
    """Segment the class that the supports show in each query.

    Masks are PNGs with 0 for background and one other value for the object. Each query gets NAME-mask.png (0 and 255),
    NAME-overlay.png and NAME-probability.png (16-bit grey, 65535 is certain), all of the query's own size.
    """
    from fsseg_bench.engine.device import resolve_device
    from fsseg_bench.engine.open_run import open_model
    from fsseg_bench.engine.predict import Segmenter, output_folder, save_segmentation

    trained = open_model(switches=parse_settings(settings), **options)
    click.echo(f"{trained.name} on {trained.backbone}, input {trained.size} x {trained.size}, {trained.origin}")
    segment = Segmenter(trained, support, resolve_device(device))
    folder = output_folder(out, queries)
    for query in queries:
        result = segment(query)
        mask, *_ = save_segmentation(result, folder)
        click.echo(f"{query}: {result.mask.mean():.1%} of the pixels -> {mask}")
