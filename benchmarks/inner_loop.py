"""BiOpt's inner loop: closed form against per-step autograd, side by side in one run.

``autograd, NCHW`` is how published code computes such a loop: cosine similarity of the whole feature map with every
prototype, in every step. ``autograd, matrix`` normalises the query once and differentiates a matrix product. The
closed form is timed with the normalisation inside, as the methods run it. All give the same prototypes.

    python -m benchmarks.inner_loop --repeats 5
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import click
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.machine import describe
from benchmarks.timing import compare
from fsseg_bench.nn.prototypes import unit_cells
from fsseg_methods._inner import InnerSwitches, inner_loop

SIZES = {"ResNet-50 at 417 px": (2048, 53), "ResNet-18 to layer3 at 257 px": (256, 33)}
STEPS, ETA, ALPHA = 10, 0.1, 20.0


@click.command()
@click.option("--repeats", default=7, show_default=True)
@click.option("--threads", default=0, help="0 leaves PyTorch's default.")
def main(repeats: int, threads: int) -> None:
    """Print medians, spreads and ratios."""
    if threads:
        torch.set_num_threads(threads)
    print(describe())
    print(f"{STEPS} steps, batch 1, fp32, {torch.get_num_threads()} threads, {repeats} repeats")
    for name, (channels, side) in SIZES.items():
        for classes in (2, 4):
            query, start, labels = case(channels, side, classes)
            ways: dict[str, Callable[[], Tensor]] = {
                "autograd, NCHW": partial(autograd_nchw, query, start, labels),
                "autograd, matrix": partial(autograd_matrix, query, start, labels),
                "closed form": partial(closed_form, query, start, labels),
            }
            expected = ways["autograd, NCHW"]()
            for label, way in ways.items():
                torch.testing.assert_close(way(), expected, atol=1e-4, rtol=1e-4, msg=f"{label} differs")
            print(f"\n{name}: C = {channels}, M = {side * side}, {classes} classes")
            compare(ways, repeats)


def case(channels: int, side: int, classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """A query (1, C, h, w) of cell norm about 6, prototypes (1, G, C) and labels (1, h, w)."""
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(1, channels, side, side, generator=generator) * 6 / channels**0.5
    start = torch.randn(1, classes, channels, generator=generator) * 4 / channels**0.5
    labels = torch.randint(0, classes, (1, side, side), generator=generator)
    return query, start, labels


def autograd_nchw(query: Tensor, start: Tensor, labels: Tensor) -> Tensor:
    """The prototypes after the loop, by autograd on ``F.cosine_similarity``."""
    moving = start
    for _ in range(STEPS):
        leaf = moving.detach().requires_grad_()
        scores = [ALPHA * F.cosine_similarity(query, leaf[:, c, :, None, None], dim=1) for c in range(leaf.shape[1])]
        loss = F.cross_entropy(torch.stack(scores, dim=1), labels)
        moving = leaf - ETA * torch.autograd.grad(loss, leaf)[0]
    return moving.detach()


def autograd_matrix(query: Tensor, start: Tensor, labels: Tensor) -> Tensor:
    """The same on a query normalised once."""
    cells = F.normalize(query[0].flatten(1).T, dim=1)
    moving = start[0]
    for _ in range(STEPS):
        leaf = moving.detach().requires_grad_()
        loss = F.cross_entropy(ALPHA * (cells @ F.normalize(leaf, dim=1).T), labels.flatten())
        moving = leaf - ETA * torch.autograd.grad(loss, leaf)[0]
    return moving.detach()[None]


def closed_form(query: Tensor, start: Tensor, labels: Tensor) -> Tensor:
    """The same in closed form."""
    options = InnerSwitches(steps=STEPS, eta=ETA, alpha_inner=ALPHA, proto_unit_norm=False)
    with torch.no_grad():
        return inner_loop(unit_cells(query).cells, start, labels, options=options).prototypes


if __name__ == "__main__":
    main()
