from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fsseg_bench.errors import UserError
from fsseg_bench.report.figures.episodes import EpisodeRow, choose_episodes, episodes_figure
from fsseg_bench.report.select import select
from tests.support.runs import Episode, write_run


def episodes(*ious: int) -> list[Episode]:
    """One episode for each IoU in percent: 100 pixels of class 1 or 2, ``iou`` hit, none too many."""
    return [([1 + i % 2], (900, 0, 100 - iou, iou)) for i, iou in enumerate(ious)]


def chosen(root: Path, *names: str):
    return choose_episodes(select(names or ("baseline", "biopt"), root, {}).contenders)[0]


def test_rules_by_hand(tmp_path: Path):
    """Fold 1 has episodes 0..3, fold 2 episodes 0..2; together 7, the median is the fourth."""
    other = {"novel": [1, 2], "class_names": {}, "episode_digest": "2" * 64}
    write_run(tmp_path, episodes(10, 50, 90, 20))
    write_run(tmp_path, episodes(40, 41, 42), fold=2, **other)
    write_run(tmp_path, episodes(30, 60, 20, 25), method="biopt")
    write_run(tmp_path, episodes(95, 44, 43), method="biopt", fold=2, **other)
    found = {choice.reason: (choice.fold, choice.episode, choice.ious) for choice in chosen(tmp_path)}
    assert found == {
        "best of biopt; biopt furthest ahead of baseline": (2, 0, pytest.approx((40, 95))),
        "median of biopt": (2, 2, pytest.approx((42, 43))),  # 20 25 30 43 44 60 95
        "worst of biopt; biopt furthest behind baseline": (1, 2, pytest.approx((90, 20))),
    }


def test_equal_episodes_are_taken_in_order_and_three_methods_are_shown(tmp_path: Path):
    for method in ("baseline", "panet", "biopt"):
        write_run(tmp_path, episodes(50, 50, 50), method=method)
    found, runs = choose_episodes(select(["baseline", "panet", "biopt"], tmp_path, {}).contenders)
    assert [c.episode for c in found] == [2, 1, 0]  # last, middle and first of the ranking
    assert all(len(c.ious) == len(runs[c.fold]) == 3 for c in found)
    assert runs[1][1].settings.method == "panet"


def test_other_episodes_or_one_method_alone_are_refused(tmp_path: Path):
    write_run(tmp_path, episodes(1, 2))
    write_run(tmp_path, episodes(1, 2), method="biopt", episode_digest="1" * 64)
    with pytest.raises(UserError, match="episodes differ"):
        chosen(tmp_path)
    with pytest.raises(UserError, match="at least two methods"):
        chosen(tmp_path, "baseline")


def test_the_figure_has_every_tile_and_every_word():
    rng = np.random.default_rng(0)
    tiles = [
        [(f"tile {r}{c} $x$", rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)) for c in range(3)] for r in range(2)
    ]
    figure = episodes_figure([EpisodeRow(f"row {r}", own) for r, own in enumerate(tiles)], "about")
    assert len(figure.axes) == 6
    for axes, (title, pixels) in zip(figure.axes, [tile for row in tiles for tile in row], strict=True):
        (image,) = axes.images
        assert np.array_equal(image.get_array(), pixels)
        assert axes.get_title() == title.replace("$", r"\$")
    assert [axes.texts[0].get_text() for axes in figure.axes if axes.texts] == ["row 0", "row 1"]
    with pytest.raises(UserError, match="no episode to show"):
        episodes_figure([], "")
