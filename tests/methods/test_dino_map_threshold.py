"""A threshold that base classes choose: by naive loops over the episodes, and nothing of the held-out ones."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fsseg_bench.engine.batch import plan_all
from fsseg_bench.engine.plan import make_plan
from fsseg_bench.engine.predict.predictor import Predictor
from fsseg_bench.engine.run import execute
from fsseg_bench.engine.train import Cadence
from fsseg_bench.errors import UserError
from fsseg_bench.machine.stopping import Stopped
from fsseg_bench.method import Episode
from fsseg_methods._threshold import ThresholdSearch
from fsseg_methods.dino_map import DinoMap
from tests.support.tiny_run import tiny_request

BASE: dict[str, Any] = {"method": "dino-map", "iterations": 12, "settings": {"threshold": "base"}}


def best(seen: list[tuple[Tensor, Tensor, tuple[tuple[int, ...], ...]]]) -> tuple[float, float]:
    """The threshold and its mean-IoU, one threshold, episode and class at a time."""
    found = []
    for step in range(201):
        threshold = np.float32(step / 100 - 1)
        counts: dict[int, np.ndarray] = defaultdict(lambda: np.zeros(3))
        for cosines, labels, classes in seen:
            for one, label, of_ways in zip(cosines.numpy(), labels.numpy(), classes, strict=True):
                predicted = np.where(one.max(axis=0) > threshold, one.argmax(axis=0) + 1, 0)
                for way, c in enumerate(of_ways, start=1):
                    valid = label != 255
                    both = ((predicted == way) & (label == way)).sum()
                    counts[c] += both, ((predicted == way) & valid).sum() - both, (label == way).sum()
        met = {c: n for c, n in counts.items() if n[2]}
        found.append(np.mean([n[0] / (n[1] + n[2]) for n in met.values()]))
    return int(np.argmax(found)) / 100 - 1, float(np.max(found))


@pytest.mark.parametrize("ways", [1, 2])
def test_the_choice_equals_naive_loops(ways: int) -> None:
    generator = torch.Generator().manual_seed(ways)
    search, seen = ThresholdSearch(), []
    for step in range(3):
        labels = torch.randint(0, ways + 1, (2, 5, 7), generator=generator, dtype=torch.uint8)
        noise = torch.rand(2, ways, 5, 7, generator=generator) - 0.5
        hits = torch.stack([labels == way + 1 for way in range(ways)], dim=1)
        cosines = (0.2 + 0.4 * hits + 0.5 * noise).clamp(-1, 1)
        cosines[0, 0, 0, 0] = search.grid[120]  # exactly on a threshold, which it does not exceed
        labels[1, 0, :3] = 255
        classes = tuple(tuple(3 + (step + b + n) % 3 for n in range(ways)) for b in range(2))
        search.count(cosines, labels, classes)
        seen.append((cosines, labels, classes))
        expected = best(seen)
        assert (float(search.threshold), float(search.mean_iou)) == pytest.approx(expected, abs=1e-6)
    assert 0.1 < float(search.threshold) < 0.6


def test_a_run_chooses_on_base_classes_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the search is given are training episodes of base classes; counted again, they give what is recorded."""
    episodes: list[Episode] = []
    loss = DinoMap.loss
    monkeypatch.setattr(DinoMap, "loss", lambda self, episode: (episodes.append(episode), loss(self, episode))[1])
    searched: list[tuple[Tensor, Tensor, tuple[tuple[int, ...], ...]]] = []
    count = ThresholdSearch.count
    monkeypatch.setattr(ThresholdSearch, "count", lambda self, *given: (searched.append(given), count(self, *given))[1])
    plan = make_plan(tiny_request(tmp_path, **BASE))
    novel = set(plan.protocol.novel_classes(1))
    record = execute(plan)
    assert (record.status, len(episodes)) == ("done", 12)
    met = {c for episode in episodes for of_ways in episode.classes for c in of_ways}
    assert met <= set(plan.protocol.base_classes(1))
    assert not met & novel
    threshold, mean_iou = best(searched)
    info = json.loads((record.folder / "run.json").read_text())
    assert info["diagnostics"]["threshold"] == pytest.approx(threshold, abs=1e-6)
    assert info["diagnostics"]["base_mean_iou"] == pytest.approx(mean_iou, abs=1e-6)
    assert info["settings"]["recipe"]["iterations"] == 12
    # the same threshold by hand gives the same counts
    by_hand = replace(tiny_request(tmp_path), method="dino-map", iterations=None, settings={"threshold": threshold})
    rows = [[(r["input"], r["native"]) for r in one.rows()] for one in (record, execute(make_plan(by_hand)))]
    assert rows[0] == rows[1]
    # other episodes of base classes, another choice or not: a run of its own
    other = make_plan(replace(tiny_request(tmp_path, **BASE), iterations=13))
    assert other.settings.identity != plan.settings.identity
    # evaluated from its folder, with nothing counted again
    searched.clear()
    again = execute(make_plan(tiny_request(tmp_path, method="dino-map", iterations=None, settings=BASE["settings"], eval_only=str(record.folder))))  # fmt: skip # noqa: E501
    assert [(r["input"], r["native"]) for r in again.rows()] == rows[0]
    assert not searched


def test_a_stopped_search_goes_on_to_the_same_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = execute(make_plan(tiny_request(tmp_path, **BASE)))
    loss, calls = DinoMap.loss, []

    def stopping(self: DinoMap, episode: Episode) -> dict[str, Tensor]:
        calls.append(episode)
        if len(calls) == 7:
            raise Stopped("as by a signal")
        return loss(self, episode)

    wanted = tiny_request(tmp_path, **BASE, out=str(tmp_path / "again"))
    monkeypatch.setattr(DinoMap, "loss", stopping)
    with pytest.raises(Stopped):
        execute(make_plan(wanted), cadence=Cadence(iterations=1))
    resumed = execute(make_plan(wanted), cadence=Cadence(iterations=1))
    assert len(calls) == 7 + 6
    values = [json.loads((one.folder / "run.json").read_text())["diagnostics"] for one in (whole, resumed)]
    assert values[0] == values[1]


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="chooses a value on episodes of base classes, and --iterations 0 leaves it"):
        make_plan(tiny_request(tmp_path, **BASE | {"iterations": 0}))
    request = tiny_request(tmp_path, **BASE | {"iterations": None})
    assert make_plan(request).recipe.iterations == 200
    assert make_plan(replace(request, settings={})).recipe.iterations == 0
    with pytest.raises(UserError, match="trains nothing, so it cannot be trained for 5 iterations"):
        make_plan(replace(request, settings={"threshold": 0.5}, iterations=5))
    testing = replace(request, settings={"threshold": "base", "protocol.data.train_list": ()})
    with pytest.raises(UserError, match="on which dino-map could choose a value; set the value itself"):
        make_plan(testing)
    with pytest.raises(UserError, match="on episodes of base classes, of which predict has none: name the folder"):
        Predictor(method="dino-map", backbone="resnet18-layer2", weights="none", switches={"threshold": "base"})
    (planned,) = plan_all([request], {}).runs  # nothing that is tried before a run asks for the threshold
    assert planned.shown.method == "dino-map"
