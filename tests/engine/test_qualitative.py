"""Pictures of predictions: they must be the predictions that were counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fsseg_bench.data.loading import load_image, query_label
from fsseg_bench.engine import open_run as opening
from fsseg_bench.engine.open_run import open_run
from fsseg_bench.engine.panels import episode_tiles
from fsseg_bench.engine.plan import make_plan
from fsseg_bench.engine.qualitative import ShownEpisode, predicted_tiles
from fsseg_bench.errors import UserError
from fsseg_bench.protocol.scoring import episode_ious
from fsseg_bench.records.read import read_run
from tests.support.tiny_run import finish, tiny_request


@pytest.fixture
def baseline(made: Path, tmp_path: Path) -> Path:
    return finish(tiny_request(made, out=str(tmp_path / "out")))


def overlaid(tile: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Where a picture is not the image."""
    return (tile != image).any(axis=2)


def test_tiles_are_supports_query_predictions_truth(made: Path) -> None:
    plan = make_plan(tiny_request(made, way=2, shot=2))
    size = plan.protocol.image.size
    labels = np.zeros((size, size), np.uint8)
    labels[10:40, 10:40], labels[45:60, 5:30] = 1, 2
    tiles = episode_tiles(plan, 3, [("one", labels), ("none", np.zeros_like(labels))])
    names = [plan.protocol.class_name(c) for c in plan.table.classes[3]]
    assert [t.title for t in tiles] == [f"support: {names[0]}", f"support: {names[1]}", "query", "one", "none", "truth"]
    assert {t.pixels.shape for t in tiles} == {(size, size, 3)}
    query = load_image(plan.source, plan.table.queries[3], size).permute(1, 2, 0).numpy()
    assert np.array_equal(tiles[2].pixels, query)
    assert np.array_equal(tiles[4].pixels, query)
    assert np.array_equal(overlaid(tiles[3].pixels, query), labels > 0)
    truth = query_label(plan.source, plan.table.queries[3], plan.table.classes[3], size)
    assert np.array_equal(overlaid(tiles[5].pixels, query), truth > 0)
    assert not np.array_equal(tiles[3].pixels[20, 20], tiles[3].pixels[50, 20])  # ways have colours of their own
    assert tiles[3].pixels[10, 20].tolist() == [255, 255, 255]  # an outline
    assert tiles[3].pixels[25, 25].tolist() != [255, 255, 255]


def test_predictions_are_those_that_were_counted(trained: Path, baseline: Path) -> None:
    """The IoU of the overlay in the picture against the recorded counts (void pixels aside)."""
    asked = [ShownEpisode(e, {"mine": trained, "other": baseline}) for e in (0, 7)]
    plan = open_run(trained).plan
    for one, tiles in zip(asked, predicted_tiles(asked), strict=True):
        assert [t.title for t in tiles][1:] == ["query", "mine", "other", "truth"]
        truth = query_label(plan.source, plan.table.queries[one.episode], plan.table.classes[one.episode], 64)
        for tile, folder in ((tiles[2], trained), (tiles[3], baseline)):
            hit = overlaid(tile.pixels, tiles[1].pixels) & (truth != 255)
            iou = (hit & (truth == 1)).sum() / (hit | (truth == 1)).sum()
            assert iou == episode_ious(read_run(folder).counts().input)[one.episode]


def test_each_run_is_opened_once(trained: Path, baseline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders: list[Path] = []
    whole = opening.read_run
    monkeypatch.setattr(opening, "read_run", lambda folder: folders.append(folder) or whole(folder))
    predicted_tiles([ShownEpisode(e, {"mine": trained, "other": baseline}) for e in (0, 1, 2)])
    assert sorted(folders) == sorted([trained, baseline])


def test_changed_code_shows_nothing_that_was_not_counted(trained: Path, changed_code: pytest.MonkeyPatch) -> None:
    asked = [ShownEpisode(0, {"mine": trained})]
    assert len(predicted_tiles(asked)) == 1
    changed_code.setattr(
        "fsseg_bench.engine.counts.F.interpolate", lambda scores, size, **_: -scores.new_ones(1, 1, *size)
    )
    with pytest.raises(UserError, match="the code has changed since the run was made, and episode 0 comes out"):
        predicted_tiles(asked)
