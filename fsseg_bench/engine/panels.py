"""Pictures of episodes: support with its mask, query, prediction, truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from fsseg_bench.data.loading import load_image, query_label, support_mask
from fsseg_bench.engine.evaluate import Evaluator
from fsseg_bench.engine.overlay import overlay
from fsseg_bench.engine.plan import Plan
from fsseg_bench.records.files import write_json

_GAP = 4

Pixels = npt.NDArray[np.uint8]


def draw_panels(plan: Plan, evaluator: Evaluator, rows: Sequence[dict[str, Any]], folder: Path, count: int) -> None:
    """Writes ``count`` pictures and their captions (panels.json) into ``folder``.

    The episodes are chosen by rule: evenly spaced ranks of the foreground IoU, from the worst to the best.
    """
    folder.mkdir(parents=True, exist_ok=True)
    scores = np.asarray([_foreground_iou(row["input"]) for row in rows])
    order = np.argsort(scores, kind="stable")
    ranks = np.unique(np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int))
    captions = []
    for rank in ranks:
        episode = int(order[rank])
        name = f"episode-{episode:04d}.png"
        prediction = evaluator.predict(range(episode, episode + 1))[0].numpy()
        Image.fromarray(_panel(plan, episode, prediction)).save(folder / name)
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


def _foreground_iou(counts: Sequence[int]) -> float:
    """IoU of all foreground of one episode; 0 where there is neither label nor prediction."""
    side = round(len(counts) ** 0.5)
    matrix = np.asarray(counts, dtype=np.int64).reshape(side, side)
    union = int(matrix.sum() - matrix[0, 0])
    return float(matrix[1:, 1:].sum() / union) if union else 0.0


def _panel(plan: Plan, episode: int, prediction: Pixels) -> Pixels:
    table, size = plan.table, plan.protocol.image.size
    classes = table.classes[episode]
    tiles = []
    for way, images in enumerate(table.supports[episode], start=1):
        mask = support_mask(plan.source, images[0], classes, way, size)
        tiles.append(overlay(_pixels(plan, images[0], size), np.where(mask == 1, np.uint8(way), mask)))
    query = _pixels(plan, table.queries[episode], size)
    truth = query_label(plan.source, table.queries[episode], classes, size)
    tiles += [query, overlay(query, prediction), overlay(query, truth)]
    gap = np.full((size, _GAP, 3), 255, np.uint8)
    row = [part for tile in tiles for part in (tile, gap)][:-1]
    return np.concatenate(row, axis=1)


def _pixels(plan: Plan, image: str, size: int) -> Pixels:
    pixels: Pixels = load_image(plan.source, image, size).permute(1, 2, 0).numpy()
    return pixels
