"""N ways from one-way predictions: against rules written out for a pixel, and against one-way runs joined by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fsseg_bench.engine import evaluate
from fsseg_bench.engine.cache import Budget, FeatureCache
from fsseg_bench.engine.evaluate import Evaluator, Setting
from fsseg_bench.engine.inference import InferenceModel
from fsseg_bench.engine.merge import apart, joined
from fsseg_bench.engine.plan import Plan, make_plan
from fsseg_bench.errors import UserError
from fsseg_bench.method import Episode
from fsseg_bench.protocol.table import EpisodeTable
from tests.support.tiny_run import tiny_request

WAYS = 3


def by_hand(passes: list[tuple[float, float]], rule: str) -> int:
    """The label of one pixel, from the two logits of each pass."""
    p = [math.exp(fg) / (math.exp(bg) + math.exp(fg)) for bg, fg in passes]
    best = max(range(len(p)), key=lambda way: p[way])
    if rule == "softmax":
        return best + 1 if p[best] > sum(1 - one for one in p) / len(p) else 0
    threshold = {"max-logit": 0.5, "background-threshold": 0.5, "background-threshold=0.7": 0.7}[rule]
    return best + 1 if p[best] > threshold else 0


RULES = ["max-logit", "softmax", "background-threshold", "background-threshold=0.7"]


@pytest.mark.parametrize("probabilities", [True, False])
@pytest.mark.parametrize("rule", RULES)
def test_each_rule_is_what_it_says_of_a_pixel(rule: str, probabilities: bool) -> None:
    if rule == "softmax" and not probabilities:
        return  # needs_probabilities
    logits = 2 * torch.randn(2 * WAYS, 2, 6, 7, generator=torch.Generator().manual_seed(0))
    scores = logits.softmax(dim=1) if probabilities else logits
    found = joined(scores[:, 1:] - scores[:, :1], WAYS, rule, probabilities=probabilities).argmax(dim=1)
    assert found.unique().tolist() == [0, 1, 2, 3]
    for b, y, x in np.ndindex(2, 6, 7):
        passes = [tuple(logits[b * WAYS + way, :, y, x].tolist()) for way in range(WAYS)]
        assert found[b, y, x] == by_hand(passes, rule), (b, y, x)


def test_the_rules_differ() -> None:
    scores = torch.tensor([0.25, -0.9]).view(2, 1, 1, 1)  # p is 0.62 and 0.05
    labels = {
        rule: joined(scores, 2, rule, probabilities=True).argmax().item()
        for rule in ("max-logit", "softmax", "background-threshold=0.7")
    }
    assert labels == {"max-logit": 1, "softmax": 0, "background-threshold=0.7": 0}


def test_one_way_episodes_hold_what_is_theirs() -> None:
    def numbered(*shape: int) -> torch.Tensor:
        return torch.arange(math.prod(shape), dtype=torch.float32).view(shape)

    episode = Episode(
        support=(numbered(2, 3, 4, 5), numbered(2, 3, 4, 1)),
        support_masks=numbered(2, 3, 4, 2, 2).to(torch.uint8),
        query=numbered(2, 5),
        size=(2, 2),
        seeds=(7, 8),
        query_labels=torch.tensor([[[0, 1], [2, 255]], [[3, 3], [0, 1]]], dtype=torch.uint8),
        unlabelled=numbered(2, 3, 2, 5),
    )
    found = apart(episode)
    assert (found.batch, found.ways, found.shots) == (6, 1, 4)
    assert isinstance(found.support, tuple)
    assert isinstance(found.unlabelled, torch.Tensor)
    assert isinstance(found.query, torch.Tensor)
    assert found.query_labels is not None
    for b, way in np.ndindex(2, 3):
        i = b * 3 + way
        assert all(
            torch.equal(one[i, 0], level[b, way]) for one, level in zip(found.support, episode.support, strict=True)
        )
        assert torch.equal(found.support_masks[i, 0], episode.support_masks[b, way])
        assert torch.equal(found.query[i], episode.query[b])  # type: ignore[index]
        assert torch.equal(found.unlabelled[i, 0], episode.unlabelled[b, way])  # type: ignore[index]
        assert found.seeds[i] == episode.seeds[b]
    assert found.query_labels[:3].tolist() == [[[0, 1], [0, 255]], [[0, 0], [1, 255]], [[0, 0], [0, 255]]]


def predictions(
    plan: Plan, table: EpisodeTable, merge: str | None, scales: tuple[float, ...] = (1.0,)
) -> list[torch.Tensor]:
    model = InferenceModel(plan.model, torch.device("cpu"), "fp32", merge=merge)
    cache = FeatureCache(model.device, Budget(2**30, 2**30))
    setting = Setting(plan.protocol.image.size, scales, workers=0)
    of = Evaluator(model, plan.source, table, setting, cache, plan.further)
    return [of.predict(i) for i in range(len(table))]


def one_way_tables(table: EpisodeTable) -> list[EpisodeTable]:
    """The two ways' episodes as tables of their own."""
    return [
        EpisodeTable(
            tuple((classes[way],) for classes in table.classes),
            table.queries,
            tuple((supports[way],) for supports in table.supports),
        )
        for way in range(2)
    ]


@pytest.mark.parametrize("method", ["baseline", "oslsm"])  # of the second, masks enter the encoder
def test_it_is_what_one_way_runs_joined_by_hand_are(method: str, tmp_path: Path) -> None:
    plan = make_plan(tiny_request(tmp_path, way=2, shot=2, merge="max-logit", method=method))
    table = plan.table
    joined = predictions(plan, table, "max-logit")
    first, second = (predictions(plan, one, None) for one in one_way_tables(table))
    seen = set()
    for label, a, b in zip(joined, first, second, strict=True):
        assert torch.equal(label == 0, (a == 0) & (b == 0))  # a pixel is background where no pass claims it
        alone = (a > 0) ^ (b > 0)
        assert torch.equal(label[alone], torch.where(a > 0, 1, 2).to(label.dtype)[alone])
        seen |= set(label.unique().tolist())
    assert seen == {0, 1, 2}


@pytest.mark.parametrize("scales", [(1.0,), (0.7, 1.3)])
@pytest.mark.parametrize("rule", RULES)
def test_pixels_at_the_input_size_keep_to_the_rule(
    rule: str, scales: tuple[float, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what one-way runs give, each pass enlarged, turned into probabilities and averaged over scales by itself."""
    plan = make_plan(tiny_request(tmp_path, way=2, merge=rule))
    found = predictions(plan, plan.table, rule, scales)
    given: list[torch.Tensor] = []
    plain = InferenceModel.predict

    def kept(model: InferenceModel, episode: Episode) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        result = plain(model, episode)
        size = (plan.protocol.image.size,) * 2
        given.append(torch.nn.functional.interpolate(result[0], size, mode="bilinear").softmax(dim=1)[0, 1])
        return result

    monkeypatch.setattr(evaluate.InferenceModel, "predict", kept)
    for one in one_way_tables(plan.table):
        predictions(plan, one, None, scales)
    p = torch.stack(given).unflatten(0, (2, len(plan.table), len(scales))).mean(dim=2)
    level = {"softmax": (1 - p).mean(dim=0), "background-threshold=0.7": torch.tensor(0.7)}.get(rule, torch.tensor(0.5))
    best, way = p.max(dim=0)
    wrong = torch.count_nonzero(torch.stack(found) != torch.where(best > level, way + 1, 0))
    assert wrong <= 1e-5 * way.numel()  # two roundings of one number may fall on both sides of a level


def test_a_one_way_method_runs_and_its_identity_says_how(tmp_path: Path) -> None:
    settings = {
        rule: make_plan(tiny_request(tmp_path, method="canet", way=2, merge=rule)).settings
        for rule in ("max-logit", "softmax")
    }
    assert len({one.identity for one in settings.values()}) == 2
    assert settings["softmax"].to_json()["merge"] == "softmax"
    assert "merge" not in make_plan(tiny_request(tmp_path)).settings.to_json()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"way": 2, "method": "canet"}, "canet does at most 1-way episodes; --merge max-logit"),
        ({"way": 1, "merge": "softmax"}, "--merge softmax joins the ways of an episode; give --way 2 or more"),
        ({"way": 2, "merge": "mean"}, "max-logit or softmax or background-threshold=T, 0 < T < 1"),
        ({"way": 2, "merge": "background-threshold=1"}, "0 < T < 1"),
        ({"way": 2, "merge": "background-threshold=x"}, "0 < T < 1"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        make_plan(tiny_request(tmp_path, **options))
