"""What keeping decoded images saves: each part of loading, beside what a backbone needs.

Of what is kept, the first of five rounds fills the memory; the others find everything there.

One thread, processor time, so that a busy machine matters little.

    python -m benchmarks.decoded --dataset tests/fixtures/voc12-mini.toml --data-root /data --size 417
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from PIL import Image

from benchmarks.machine import describe
from fsseg_bench.data.index import build_index
from fsseg_bench.data.loading import load_image, squash_image, support_mask
from fsseg_bench.data.open import open_source
from fsseg_bench.data.training import TrainingEpisodes
from fsseg_bench.nn.backbones import build_backbone
from fsseg_bench.protocol.load import load_protocol


@click.command()
@click.option("--dataset", default="shapes5i", show_default=True)
@click.option("--data-root", type=click.Path(path_type=Path))
@click.option("--size", default=417, show_default=True, help="Side of the input in pixels.")
@click.option("--images", "count", default=200, show_default=True)
@click.option("--backbone", default="resnet50", show_default=True)
def main(dataset: str, data_root: Path | None, size: int, count: int, backbone: str) -> None:
    """Print milliseconds an image or an episode."""
    torch.set_num_threads(1)
    print(describe())
    protocol = load_protocol(dataset, {"image.size": str(size)})
    source = open_source(protocol, data_root)
    index = build_index(source, protocol)
    pairs = index.train_pairs(1)
    shown = [(image, c) for c, images in pairs.items() for image in images][:count]
    ids = [image for image, _ in shown]
    decoded = [source.image(image) for image in ids]
    trunk = build_backbone(backbone).eval()
    batch = torch.zeros(1, 3, size, size)
    print(
        f"{len(ids)} training images of {protocol.label}, {size} px; cache {3 * size * size * len(ids) / 2**20:.0f} MiB"
    )
    _show("decode", ids, source.image)
    _show("squash", decoded, lambda pixels: squash_image(Image.fromarray(pixels), size))
    _show("decode and squash", ids, lambda image: load_image(source, image, size))
    _show("mask, decoded and squashed", shown, lambda pair: support_mask(source, pair[0], [pair[1]], 1, size))
    with tempfile.TemporaryFile() as file:
        cache = np.memmap(file, dtype=np.uint8, mode="w+", shape=(len(ids), 3, size, size))
        for row, pixels in zip(cache, decoded, strict=True):
            row[:] = squash_image(Image.fromarray(pixels), size).numpy()
        _show("read from a mapped file", range(len(ids)), lambda i: torch.from_numpy(np.array(cache[i])))
    for augmentation in ("flip", "enlarged-crop-supports"):
        for keep, how in ((0, ""), (2**40, ", kept")):
            episodes = TrainingEpisodes(source, protocol, pairs, 1, 1, 1, augmentation, seed=0, length=count, keep=keep)
            _show(f"training episode, {augmentation}{how}", range(count), episodes.__getitem__)
    with torch.no_grad():
        _show(f"encode by {backbone}", range(4), lambda _: trunk(batch))


def _show(name: str, items: Sequence[Any], use: Callable[[Any], object]) -> None:
    """Processor milliseconds an item: the median of five rounds."""
    rounds = []
    for _ in range(5):
        begin = time.process_time()
        for item in items:
            use(item)
        rounds.append(1e3 * (time.process_time() - begin) / len(items))
    print(f"  {name:44} {statistics.median(rounds):8.2f} ms (min {min(rounds):.2f}, max {max(rounds):.2f})")


if __name__ == "__main__":
    main()
