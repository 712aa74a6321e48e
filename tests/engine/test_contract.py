"""History, class labels, unlabelled images and several trunks, with a method whose numbers depend on all of them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fsseg_bench.engine.build import assemble
from fsseg_bench.engine.check import check_method
from fsseg_bench.engine.checkpoint import load_state
from fsseg_bench.engine.history import HistoryStore
from fsseg_bench.engine.inference import InferenceModel
from fsseg_bench.engine.optimise import prepare
from fsseg_bench.engine.plan import make_plan
from fsseg_bench.engine.predict.predictor import Predictor
from fsseg_bench.engine.run import execute
from fsseg_bench.engine.train import Cadence
from fsseg_bench.errors import UserError
from fsseg_bench.method import History, Method
from fsseg_bench.records.lines import read_lines
from fsseg_bench.records.request import RunRequest
from fsseg_bench.registry import find_method
from tests.support.tiny_run import Watched, tiny_request

METHODS = Path(__file__).parents[1] / "fixtures" / "methods"


def demanding(**switches: Any) -> Method:
    cls = find_method("demanding", METHODS)
    return assemble(cls, "resnet18-layer2", "none", {"further": 2} | switches, seed=0, base_classes=3)[0]


def request(folder: Path, **changes: Any) -> RunRequest:
    values: dict[str, Any] = {"method": "demanding", "methods_path": str(METHODS), "iterations": 12}
    return tiny_request(folder, **(values | changes))


def counts(folder: Path) -> list[Any]:
    return read_lines(folder / "episodes.jsonl")


def test_it_passes_the_contract_tests() -> None:
    checks = check_method(find_method("demanding", METHODS), demanding)
    assert [c for c in checks if not c.passed] == []


def test_every_trunk_is_frozen_and_folded() -> None:
    method = demanding()
    recipe = dataclasses.replace(type(method).recipe(None, 1), freeze="layer1", bn="eval")
    prepare(method, recipe)
    for trunk in (method.backbone, method.second):
        assert not any(p.requires_grad for p in trunk.layer1.parameters())
        assert trunk.layer2[0].conv1.weight.requires_grad
        assert not trunk.layer2[0].bn1.training
    model = InferenceModel(method, torch.device("cpu"), "fp32")
    norms = [m for m in model._method.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms == []


@pytest.mark.slow
def test_training_stopped_and_resumed_remembers(tmp_path: Path) -> None:
    whole = execute(make_plan(request(tmp_path / "a")))
    state = load_state(whole.checkpoint)
    assert state.history
    assert all(one.dtype == torch.float16 for one in state.history.values())
    with pytest.raises(KeyboardInterrupt):
        execute(make_plan(request(tmp_path / "b")), Watched("train", 8), Cadence(iterations=3))
    resumed = execute(make_plan(request(tmp_path / "b")))
    again = load_state(resumed.checkpoint)
    assert state.history.keys() == again.history.keys()
    for key, one in state.model.items():
        assert torch.equal(one, again.model[key]), key
    assert counts(whole.folder) == counts(resumed.folder)


def test_a_sample_that_comes_back_finds_what_was_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[tuple[str, ...], list[bool]]] = []
    original = HistoryStore.of

    def of(self: HistoryStore, keys: tuple[str, ...]) -> History:
        history = original(self, keys)
        seen.append((keys, [one is not None for one in history.past]))
        return history

    monkeypatch.setattr(HistoryStore, "of", of)
    execute(make_plan(request(tmp_path, iterations=20)))
    known: set[str] = set()
    hits = 0
    for keys, found in seen:
        assert found == [key in known for key in keys]
        hits += sum(found)
        known |= set(keys)
    assert hits


def test_maps_must_be_one_an_episode() -> None:
    store = HistoryStore({}, torch.device("cpu"))
    history = store.of(["a", "b"])
    history.keep(torch.ones(1, 2))
    with pytest.raises(ValueError, match="1 maps for 2 episodes"):
        store.store(["a", "b"], history)


def test_counts_depend_on_no_cache_batch_or_worker(tmp_path: Path) -> None:
    plain = execute(make_plan(request(tmp_path / "a", iterations=2)))
    other = execute(make_plan(request(tmp_path / "b", iterations=2, head_batch=4, workers=2, cache_gib=0.0)))
    assert counts(plain.folder) == counts(other.folder)


def test_unlabelled_images_change_the_counts_and_are_not_in_the_episode(tmp_path: Path) -> None:
    plan = make_plan(request(tmp_path / "a", iterations=0))
    with_further = execute(plan)
    without = execute(make_plan(request(tmp_path / "b", iterations=0, settings={"further": "0"})))
    assert counts(with_further.folder) != counts(without.folder)
    assert len(plan.further) == len(plan.table)
    for i, ways in enumerate(plan.further):
        assert not {image for images in ways for image in images} & set(plan.table.images(i))


def test_the_number_of_base_classes_reaches_the_method(tmp_path: Path) -> None:
    plan = make_plan(request(tmp_path))
    base = len(plan.protocol.base_classes(1))
    assert plan.model.semantic.out_channels == base + 1
    assert plan.settings.base_classes == base
    record = execute(plan)
    info = json.loads((record.folder / "run.json").read_text())
    assert info["settings"]["recipe"]["lr_factors"] == {"semantic.": 10.0, "second.": 0.1}


def test_predict_has_no_further_images_to_give() -> None:
    with pytest.raises(UserError, match="looks at 2 further images"):
        Predictor(method="demanding", backbone="resnet18-layer2", weights="none", methods_path=METHODS)
