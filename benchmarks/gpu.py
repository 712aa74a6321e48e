"""Proves and measures this package on one GPU, with made-up images and nothing to download.

First whether the GPU computes what the CPU computes (labels, losses, gradients), trains the same twice and after a
kill, and goes on when its memory does not suffice; then what the device can do at the most, and which share of it
training and evaluation reach. Everything is printed as Markdown tables, and written as JSON and Markdown under
``--out``.

    python -m benchmarks.gpu
    python -m benchmarks.gpu --toy --device cpu

The command ends with 1 where a check failed.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

import click
import torch

from benchmarks import gpu_checks, gpu_limits, gpu_speed
from benchmarks.gpu_rows import Row, markdown
from benchmarks.machine import describe
from fsseg_bench.engine.device import backend_of, resolve_device
from fsseg_bench.errors import UserError, last_words

_PARTS = ("checks", "limits", "training", "evaluation", "heads")


@click.command()
@click.option("--device", default="cuda", show_default=True)
@click.option("--toy", is_flag=True, help="So small that a CPU does it in a minute; the figures mean nothing.")
@click.option("--workers", default=8, show_default=True, help="Loader processes and decoding threads.")
@click.option("--only", type=click.Choice(_PARTS), multiple=True, help="These parts alone.")
@click.option("--minutes", default=8.0, show_default=True, help="No part begins, and none goes on, beyond these.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("results/gpu"), show_default=True)
def main(device: str, toy: bool, workers: int, only: tuple[str, ...], minutes: float, out: Path) -> None:
    """Check and measure; print and write the tables."""
    try:
        place = resolve_device(device)
    except UserError as error:
        raise click.ClickException(str(error)) from None
    begin = time.monotonic()
    print(f"{describe()}; {backend_of(place).describe(place)}", flush=True)
    rows: list[Row] = []
    for part, work in _work(place, gpu_speed.Scale.of(toy=toy, workers=workers), toy, rows).items():
        if only and part not in only:
            continue
        for row in _until(part, work, begin + 60 * minutes):
            rows.append(row)
            print(f"{time.monotonic() - begin:6.1f} s  {row}", flush=True)
    text = "\n".join(markdown(rows))
    print(text)
    out.mkdir(parents=True, exist_ok=True)
    machine = {"machine": describe(), "device": backend_of(place).describe(place), "toy": toy}
    (out / "gpu.json").write_text(json.dumps({**machine, "rows": [asdict(row) for row in rows]}, indent=1))
    (out / "gpu.md").write_text(f"{machine['device']} ({machine['machine']})\n{text}\n")
    print(f"\n{out / 'gpu.json'}, {out / 'gpu.md'}; {time.monotonic() - begin:.0f} s")
    sys.exit(any(row.passed is False for row in rows))


def _work(
    device: torch.device, scale: gpu_speed.Scale, toy: bool, rows: list[Row]
) -> dict[str, Callable[[], Iterable[Row]]]:
    """The parts in their order; ``rows`` are those that came before, for the limits among them."""
    precisions = gpu_limits.precisions_of(device)

    def found() -> dict[str, float]:
        return {row.what: row.value for row in rows if row.part == "limits" and row.value is not None}

    return {
        "checks": lambda: gpu_checks.checks(device, toy),
        "limits": lambda: gpu_limits.limits(device, toy),
        "training": lambda: gpu_speed.training(device, scale, precisions),
        "evaluation": lambda: gpu_speed.evaluation(device, scale, found()),
        "heads": lambda: gpu_speed.heads(device, scale),
    }


def _until(part: str, work: Callable[[], Iterable[Row]], deadline: float) -> Iterator[Row]:
    """The rows of a part as they come; what ends it early is a row, too: a failure, or the time."""
    try:
        rows: Iterator[Row] | None = None
        while time.monotonic() <= deadline:
            rows = rows or iter(work())
            if (row := next(rows, None)) is None:
                return
            yield row
        yield Row(part, "what comes after this", None, "", note="left out: the time was up")
    except Exception as error:  # noqa: BLE001 - the other parts are worth having
        why = f"{type(error).__name__}: {last_words(error)}"
        yield Row(part, "what comes after this", None, "", passed=False, note=why)


if __name__ == "__main__":
    main()
