"""Pictures of a run's episodes: support with its mask, query, prediction, truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fsseg_bench.conventions import UInt8
from fsseg_bench.engine.plan import Plan
from fsseg_bench.pictures.episode import EpisodeImages, Tile
from fsseg_bench.pictures.overlay import kinds
from fsseg_bench.protocol.scoring import episode_ious
from fsseg_bench.records.predictions import row_labels
from fsseg_bench.storage.files import atomic_writer, make_folder
from fsseg_bench.storage.json_text import write_json

_GAP = 4


def draw_panels(
    plan: Plan, rows: Sequence[dict[str, Any]], predictions: Sequence[dict[str, Any]], folder: Path, count: int
) -> None:
    """Writes ``count`` pictures and their captions (panels.json) into ``folder``.

    The episodes are chosen by rule: evenly spaced ranks of the foreground IoU, from the worst to the best.

    Args:
        plan: of the run.
        rows: the episode log.
        predictions: the log of predictions, of the same episodes.
        folder: made where it is missing.
        count: how many.
    """
    make_folder(folder)
    table, ways = plan.table, plan.table.ways
    scores = episode_ious(np.asarray([row["input"] for row in rows], np.int64).reshape(-1, ways + 1, ways + 1))
    order = np.argsort(scores, kind="stable")
    ranks = np.unique(np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int))
    captions = []
    for rank in ranks:
        episode = int(order[rank])
        name = f"episode-{episode:04d}.png"
        images = EpisodeImages.read(plan.source, plan.protocol, table, episode)
        tiles = images.tiles([("prediction", row_labels(predictions[episode], ways))])
        with atomic_writer(folder / name) as file:
            Image.fromarray(_panel(tiles)).save(file, format="PNG")
        captions.append(
            {
                "file": name,
                "episode": episode,
                "classes": list(images.classes),
                "query": table.queries[episode],
                "iou": round(float(scores[episode]), 4),
                "rank": f"{rank + 1} of {len(order)} by foreground IoU, worst first",
                "shows": f"first support of each way with its mask, query, prediction ({_legend(ways)}), truth",
            }
        )
    write_json(folder / "panels.json", captions)


def _legend(ways: int) -> str:
    hatches = {"": "plain", "/": "hatched /", "\\": "hatched \\", "x": "crossed"}
    return ", ".join(f"{kind.words.split(':')[0].split(',')[0]} {hatches[kind.hatch]}" for kind in kinds(ways)[:-1])


def _panel(tiles: Sequence[Tile]) -> UInt8:
    pictures = [tile.pixels for tile in tiles]
    gap = np.full((pictures[0].shape[0], _GAP, 3), 255, np.uint8)
    row = [part for picture in pictures for part in (picture, gap)][:-1]
    return np.concatenate(row, axis=1)
