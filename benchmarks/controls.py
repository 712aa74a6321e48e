"""What all controls of a run cost beside one evaluation of it.

    python -m benchmarks.controls --backbone resnet50 --images 2000 --size 257 --episodes 500
    python -m benchmarks.controls --dataset my.toml --data-root DIR --weights FILE --backbone resnet50

The first has an image for about each query and support, as episodes from thousands of images do: the encoder is most
of an evaluation. The second may have few images in many episodes. Both parts are measured with what they encode,
predict and count; the controls with the opening of the run as well.
"""

from __future__ import annotations

import re
import tempfile
import time
from pathlib import Path
from typing import Any

import click

from benchmarks.machine import describe
from fsseg_bench.cli.options import parse_settings
from fsseg_bench.engine.controls import measure_controls
from fsseg_bench.engine.plan import make_plan
from fsseg_bench.engine.run import execute
from fsseg_bench.protocol.controls import DRAWS
from fsseg_bench.protocol.find import builtin_protocols
from fsseg_bench.records.controls import find_controls
from fsseg_bench.records.read import read_run
from fsseg_bench.records.request import RunRequest


@click.command()
@click.option("--method", default="baseline", show_default=True)
@click.option("--dataset", default="shapes5i", show_default=True)
@click.option("--data-root")
@click.option("--fold", default=1, show_default=True)
@click.option("--shot", default=1, show_default=True)
@click.option("--episodes", default="200", show_default=True)
@click.option("--backbone")
@click.option("--weights", default="none", show_default=True)
@click.option("--images", type=int, help="Draw so many test images, as shapes5i does, instead of --dataset.")
@click.option("--size", default=257, show_default=True, help="With --images: side of the input.")
@click.option("--threads", type=int)
@click.option("--device", default="cpu", show_default=True)
@click.option("--draws", default=DRAWS, show_default=True)
@click.option("--set", "settings", multiple=True)
def main(draws: int, settings: tuple[str, ...], images: int | None, size: int, **options: Any) -> None:
    """Evaluate an untrained method, then measure its controls."""
    print(describe())
    with tempfile.TemporaryDirectory() as folder:
        if images is not None:
            options["dataset"] = str(_drawn(Path(folder), images, size))
        request = RunRequest(iterations=0, panels=0, out=folder, settings=parse_settings(settings), **options)
        run = read_run(execute(make_plan(request)).folder)
        one = run.info.timings.evaluate_seconds
        print(f"one evaluation: {one:.1f} s, {run.info.timings.evaluate_encoded_images} images encoded")
        begin = time.perf_counter()
        _measure(run.folder, draws)
        whole = time.perf_counter() - begin
    print(f"all controls: {whole:.1f} s with the opening of the run, {whole / one:.2f} times one evaluation")


def _drawn(folder: Path, images: int, size: int) -> Path:
    """A protocol of ``images`` test images made by code."""
    text = builtin_protocols()["shapes5i"].read_text()
    for key, value in {"name": '"drawn"', "test_images": images, "train_images": 60, "size": size}.items():
        text, found = re.subn(rf"^{key} = \S+", f"{key} = {value}", text, flags=re.MULTILINE)
        assert found == 1, key
    path = folder / "drawn.toml"
    path.write_text(text)
    return path


def _measure(folder: Path, draws: int) -> None:
    measure_controls(folder, draws)
    stored = find_controls(read_run(folder))
    if stored is None:
        raise RuntimeError("the controls are not complete")
    count = sum(len(control.episodes) for control in stored.by_name.values())
    print(f"{len(stored.by_name)} controls, {count:,} episodes")


if __name__ == "__main__":
    main()
