"""Heads against their specifications rendered step by step, side by side in one run: inference and training.

Both ways read the same random features and weights, and must give the same logits.

    python -m benchmarks.heads --repeats 5
    python -m benchmarks.heads --head hsnet --size 200 --training
    python -m benchmarks.heads --head pfenet --shots 5 --batch 4
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import click
import torch
from torch import Tensor

from benchmarks import naive_hsnet, naive_pfenet
from benchmarks.machine import describe
from benchmarks.timing import compare
from fsseg_bench.engine.memory import keep_memory

HEADS = ("hsnet", "pfenet")
_SIZES = {"hsnet": 400, "pfenet": 473}


@click.command()
@click.option("--head", "heads", multiple=True, type=click.Choice(HEADS), default=HEADS, help="Default: all.")
@click.option("--size", type=int, help="Side of the images in pixels [default: hsnet 400, pfenet 473].")
@click.option("--batch", default=1, show_default=True, help="Episodes.")
@click.option("--shots", default=1, show_default=True, help="Supports of an episode; hsnet does one after the other.")
@click.option("--repeats", default=5, show_default=True)
@click.option("--threads", default=0, help="0 leaves PyTorch's default.")
@click.option("--training", is_flag=True, help="With the backward pass of the weights.")
def main(
    heads: tuple[str, ...], size: int | None, batch: int, shots: int, repeats: int, threads: int, training: bool
) -> None:
    """Print medians, spreads and ratios."""
    if threads:
        torch.set_num_threads(threads)
    keep_memory()
    print(describe())
    for name in heads:
        side = size or _SIZES[name]
        told = f"{name}: {side} px, ResNet-50, batch {batch}"
        torch.manual_seed(0)
        if name == "pfenet":
            ways = naive_pfenet.ways(side, batch, shots)
            told += f", {shots} shots"
        else:
            ways = naive_hsnet.ways(side, batch)
        print(f"{told}, fp32, {repeats} repeats, {'training' if training else 'inference'}")
        measure(ways, repeats, training=training)


def measure(ways: dict[str, Callable[[], Tensor]], repeats: int, *, training: bool) -> None:
    """Compares two ways, of which both give the same.

    Raises:
        AssertionError: they do not.
    """
    with torch.set_grad_enabled(training):
        torch.testing.assert_close(ways["the method's"](), ways["step by step"](), atol=1e-4, rtol=1e-4)
        compare({name: partial(passed, way) if training else way for name, way in ways.items()}, repeats)


def passed(way: Callable[[], Tensor]) -> None:
    """Forwards and backwards."""
    way().square().mean().backward()


if __name__ == "__main__":
    main()
