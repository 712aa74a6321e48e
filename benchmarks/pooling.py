"""Masked average pooling: through the adjoint against upsampling the features first, side by side in one run.

python -m benchmarks.pooling --repeats 5
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
from fsseg_bench.nn.prototypes import masked_average

SIZES = {"ResNet-50 at 417 px": (2048, 53, 417), "ResNet-18 to layer3 at 257 px": (256, 33, 257)}


@click.command()
@click.option("--repeats", default=7, show_default=True)
@click.option("--threads", default=0, help="0 leaves PyTorch's default.")
def main(repeats: int, threads: int) -> None:
    """Print medians, spreads and ratios."""
    if threads:
        torch.set_num_threads(threads)
    print(describe())
    print(f"one support, foreground and background, fp32, {torch.get_num_threads()} threads, {repeats} repeats")
    for name, (channels, cells, pixels) in SIZES.items():
        features, masks = case(channels, cells, pixels)
        ways: dict[str, Callable[[], Tensor]] = {
            "upsample, then pool": partial(upsample_then_pool, features, masks),
            "adjoint": partial(masked_average, features, masks),
        }
        expected = ways["upsample, then pool"]()
        torch.testing.assert_close(ways["adjoint"](), expected, atol=1e-4, rtol=1e-4)
        print(f"\n{name}: C = {channels}, {cells} x {cells} cells, {pixels} x {pixels} pixels")
        compare(ways, repeats)


def case(channels: int, cells: int, pixels: int) -> tuple[Tensor, Tensor]:
    """Features (1, C, h, w) and the masks (1, 2, H, W) of a box and of the rest."""
    features = torch.randn(1, channels, cells, cells, generator=torch.Generator().manual_seed(0))
    box = torch.zeros(pixels, pixels)
    box[pixels // 4 : pixels // 2, pixels // 3 : 3 * pixels // 4] = 1
    return features, torch.stack((1 - box, box))[None]


def upsample_then_pool(features: Tensor, masks: Tensor) -> Tensor:
    """(1, 2, C), as published code computes it: features upsampled once, multiplied by each mask, summed."""
    full = F.interpolate(features, size=masks.shape[-2:], mode="bilinear", align_corners=False)
    pooled = [(full * masks[:, g : g + 1]).sum(dim=(2, 3)) / (masks[:, g].sum() + 1e-5) for g in range(masks.shape[1])]
    return torch.stack(pooled, dim=1)


if __name__ == "__main__":
    main()
