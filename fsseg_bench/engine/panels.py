"""Pictures of episodes: support with its mask, query, prediction, truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from fsseg_bench.conventions import UInt8
from fsseg_bench.data.loading import load_image, query_label, support_mask
from fsseg_bench.engine.evaluate import Evaluator
from fsseg_bench.engine.overlay import overlay
from fsseg_bench.engine.plan import Plan
from fsseg_bench.protocol.scoring import episode_ious
from fsseg_bench.storage.files import atomic_writer, make_folder
from fsseg_bench.storage.json_text import write_json

_GAP = 4


class Tile(NamedTuple):
    """One square picture of an episode."""

    title: str
    pixels: UInt8
    """(S, S, 3)."""


def draw_panels(plan: Plan, evaluator: Evaluator, rows: Sequence[dict[str, Any]], folder: Path, count: int) -> None:
    """Writes ``count`` pictures and their captions (panels.json) into ``folder``.

    The episodes are chosen by rule: evenly spaced ranks of the foreground IoU, from the worst to the best.
    """
    make_folder(folder)
    side = plan.table.ways + 1
    scores = episode_ious(np.asarray([row["input"] for row in rows], np.int64).reshape(-1, side, side))
    order = np.argsort(scores, kind="stable")
    ranks = np.unique(np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int))
    captions = []
    for rank in ranks:
        episode = int(order[rank])
        name = f"episode-{episode:04d}.png"
        prediction = evaluator.predict(range(episode, episode + 1))[0].numpy()
        tiles = episode_tiles(plan, episode, [("prediction", prediction)])
        with atomic_writer(folder / name) as file:
            Image.fromarray(_panel(tiles)).save(file, format="PNG")
        captions.append(
            {
                "file": name,
                "episode": episode,
                "classes": [plan.protocol.class_name(c) for c in plan.table.classes[episode]],
                "query": plan.table.queries[episode],
                "iou": round(float(scores[episode]), 4),
                "rank": f"{rank + 1} of {len(order)} by foreground IoU, worst first",
                "shows": "first support of each way with its mask, query, prediction, truth",
            }
        )
    write_json(folder / "panels.json", captions)


def episode_tiles(plan: Plan, episode: int, predictions: Sequence[tuple[str, UInt8]]) -> list[Tile]:
    """The first support of each way with its mask, the query, each of ``predictions`` over it, and the truth.

    Predictions are titles and labels (S, S) uint8 at the input size.
    """
    table, size = plan.table, plan.protocol.image.size
    classes = table.classes[episode]
    tiles = []
    for way, images in enumerate(table.supports[episode], start=1):
        mask = support_mask(plan.source, images[0], classes, way, size)
        shown = overlay(_pixels(plan, images[0], size), np.where(mask == 1, np.uint8(way), mask))
        tiles.append(Tile(f"support: {plan.protocol.class_name(classes[way - 1])}", shown))
    query = _pixels(plan, table.queries[episode], size)
    truth = query_label(plan.source, table.queries[episode], classes, size)
    tiles.append(Tile("query", query))
    tiles += [Tile(title, overlay(query, labels)) for title, labels in predictions]
    return [*tiles, Tile("truth", overlay(query, truth))]


def _panel(tiles: Sequence[Tile]) -> UInt8:
    gap = np.full((tiles[0].pixels.shape[0], _GAP, 3), 255, np.uint8)
    row = [part for tile in tiles for part in (tile.pixels, gap)][:-1]
    return np.concatenate(row, axis=1)


def _pixels(plan: Plan, image: str, size: int) -> UInt8:
    pixels: UInt8 = load_image(plan.source, image, size).permute(1, 2, 0).numpy()
    return pixels
