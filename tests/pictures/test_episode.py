"""The tiles of an episode: the right images with the right labels over them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fsseg_bench.data.loading import load_image, query_label, support_mask
from fsseg_bench.engine.plan import Plan, make_plan
from fsseg_bench.pictures.episode import LEAST_SIDE, EpisodeImages, drawn_side, enlarged, resized
from fsseg_bench.pictures.overlay import judged, labelled
from tests.support.fresh import python
from tests.support.tiny_run import tiny_request


def image_of(plan: Plan, name: str) -> np.ndarray:
    return load_image(plan.source, name, plan.protocol.image.size).permute(1, 2, 0).numpy()


def test_tiles_are_supports_query_predictions_truth(tmp_path: Path) -> None:
    plan = make_plan(tiny_request(tmp_path, way=2, shot=2))
    table, size = plan.table, plan.protocol.image.size
    labels = np.zeros((size, size), np.uint8)
    labels[10:40, 10:40], labels[45:60, 5:30] = 1, 2
    images = EpisodeImages.read(plan.source, plan.protocol, table, 3)
    tiles = images.tiles([("one", labels), ("none", np.zeros_like(labels))])
    names = [plan.protocol.class_name(c) for c in table.classes[3]]
    assert [t.title for t in tiles] == [f"support: {names[0]}", f"support: {names[1]}", "query", "one", "none", "truth"]
    assert {t.pixels.shape for t in tiles} == {(4 * size, 4 * size, 3)}
    assert np.array_equal(tiles[2].image, image_of(plan, table.queries[3]))
    assert np.array_equal(tiles[2].pixels, resized(tiles[2].image, LEAST_SIDE))
    truth = query_label(plan.source, table.queries[3], table.classes[3], size)
    assert np.array_equal(tiles[3].layer, judged(enlarged(labels, 256), enlarged(truth, 256), 2))
    assert np.array_equal(tiles[5].layer, labelled(enlarged(truth, 256)))
    for way, images_of_way in enumerate(table.supports[3], start=1):
        shown = images.support_tiles(2, 256)[2 * way - 2 : 2 * way]
        for tile, name in zip(shown, images_of_way, strict=True):
            mask = support_mask(plan.source, name, table.classes[3], way, size)
            assert np.array_equal(tile.image, image_of(plan, name))
            assert np.array_equal(tile.layer, labelled(enlarged(np.where(mask == 1, way, mask).astype(np.uint8), 256)))


def test_small_pictures_are_drawn_larger_by_whole_factors() -> None:
    assert [drawn_side(size) for size in (64, 129, 256, 417)] == [256, 258, 256, 417]
    labels = np.random.default_rng(0).integers(0, 3, (64, 64)).astype(np.uint8)
    assert np.array_equal(enlarged(labels, 256), labels.repeat(4, axis=0).repeat(4, axis=1))


def test_pictures_need_no_torch() -> None:
    code = "import sys, fsseg_bench.pictures.episode, fsseg_bench.report.recorded; print('torch' in sys.modules)"
    assert python(code).strip() == "False"
