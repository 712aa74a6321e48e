"""Released checkpoints: recognised, renamed, compared, evaluated; one run in any form, and marked in tables."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from fsseg_bench.engine.build import build_method
from fsseg_bench.engine.open_run import open_model, open_run
from fsseg_bench.engine.plan import make_plan
from fsseg_bench.engine.released import Places, import_official, read_imported, save_imported
from fsseg_bench.errors import UserError
from fsseg_bench.nn.released import Released
from fsseg_bench.records.read import read_run
from fsseg_bench.records.settings import CheckpointTraining, ShownSettings, settings_shown
from fsseg_bench.report.claims.make import claims
from fsseg_bench.report.collect import find_runs
from fsseg_bench.report.table import runs_tables
from fsseg_bench.report.words import checkpoints
from tests.support.official import toy_folder, toy_state
from tests.support.runs import settings as run_settings
from tests.support.tiny_run import finish, tiny_request


@pytest.fixture(scope="module")
def methods(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_folder(tmp_path_factory.mktemp("methods") / "theirs")


@pytest.fixture(scope="module")
def state(methods: Path) -> dict[str, Tensor]:
    return toy_state(methods)


@pytest.fixture
def official(tmp_path: Path, state: dict[str, Tensor]) -> Path:
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 3}, tmp_path / "best.pth")
    return tmp_path / "best.pth"


def places(methods: Path) -> Places:
    return Places(str(methods))


NESTINGS: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "plain": dict,
    "module": lambda s: {f"module.{key}": value for key, value in s.items()},
    "state_dict": lambda s: {"epoch": 1, "state_dict": s, "optimizer": {"state": {}, "param_groups": []}},
    "options": lambda s: {"state_dict": s, "args": argparse.Namespace(lr=0.1)},
    "module twice": lambda s: {"model": {f"module.module.{key}": value for key, value in s.items()}},
    "half precision": lambda s: {key: v.half().float() if v.is_floating_point() else v for key, v in s.items()},
}


@pytest.mark.parametrize("form", NESTINGS)
def test_every_nesting_is_opened_and_every_tensor_has_its_place(
    methods: Path, state: dict[str, Tensor], tmp_path: Path, form: str
) -> None:
    file = tmp_path / "best.pth.tar"
    torch.save(NESTINGS[form](state), file)
    imported, kind = import_official(file, places=places(methods))
    assert kind.what == "the toy of its authors"
    wanted = build_method("toy", "resnet18-layer2", "none", methods_path=methods, width=3).state_dict()
    assert imported.state.keys() == wanted.keys()
    expected = NESTINGS[form](state) if form == "half precision" else state
    for theirs, own in (("net.conv1.weight", "backbone.conv1.weight"), ("cls.0.bias", "head.bias")):
        assert torch.equal(imported.state[own], expected[theirs])
    assert imported.origin.method == "toy"
    assert imported.origin.backbone == "resnet18-layer2"
    assert imported.origin.digest == hashlib.sha256(file.read_bytes()).hexdigest()
    assert imported.origin.unused == ("net.fc.weight",)
    assert dict(imported.origin.switches) == {"width": 3}


def test_the_backbone_is_found_out_or_compared(methods: Path, tmp_path: Path) -> None:
    file = tmp_path / "small.pth"
    torch.save(toy_state(methods, "resnet18-layer1"), file)
    assert import_official(file, places=places(methods))[0].origin.backbone == "resnet18-layer1"
    with pytest.raises(UserError, match=r"looks like the toy of its authors, but .* is it of resnet18-layer1\?"):
        import_official(file, "toy", "resnet18-layer2", places(methods))
    with pytest.raises(UserError, match="known of resnet18-layer2 or resnet18-layer1, not of resnet50"):
        import_official(file, "toy", "resnet50", places(methods))


def test_counters_that_old_files_lack_are_zero_and_told(
    methods: Path, state: dict[str, Tensor], tmp_path: Path
) -> None:
    without = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    torch.save(without, tmp_path / "old.pth")
    imported, _ = import_official(tmp_path / "old.pth", places=places(methods))
    assert imported.origin.counters == len(state) - len(without) > 0
    assert int(imported.state["norm.num_batches_tracked"]) == 0


def changed(key: str, value: Tensor | None) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda s: {k: v for k, v in {**s, key: value}.items() if v is not None}


BROKEN: dict[str, tuple[Callable[[dict[str, Tensor]], dict[str, Tensor]], str]] = {
    "missing": (changed("cls.0.bias", None), "head.bias is missing"),
    "shape": (changed("cls.0.bias", torch.ones(4)), r"head.bias has the shape \(4,\), needed \(3,\)"),
    "kind": (changed("cls.0.bias", torch.ones(3, dtype=torch.long)), "head.bias is torch.int64"),
    "nan": (changed("cls.0.bias", torch.tensor([1, 2, float("nan")])), "head.bias holds NaN or infinity"),
    "unknown": (changed("cls.7.bias", torch.ones(3)), r"looks like the toy of its authors, but cls.7.bias is unknown"),
    "more": (changed("cls.0.more", torch.ones(3)), "cls.0.more is unknown"),
    "another's": (lambda s: {f"inner.{k}": v for k, v in s.items()}, "those of no known file"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_nothing_that_does_not_fit_is_taken(methods: Path, state: dict[str, Tensor], tmp_path: Path, case: str) -> None:
    change, message = BROKEN[case]
    torch.save(change(state), tmp_path / "broken.pth")
    with pytest.raises(UserError, match=message):
        import_official(tmp_path / "broken.pth", "toy", places=places(methods))


def test_a_file_of_another_method_is_told_by_name(methods: Path, official: Path) -> None:
    with pytest.raises(UserError, match="not a file of panet but of the toy of its authors: --method toy"):
        import_official(official, "panet", places=places(methods))


def test_longer_names_hold_and_names_end_at_dots() -> None:
    kind = Released(
        what="x",
        backbones=(),
        marks=("a.b",),
        names={"a": "one", "a.b": "two", "layer1": "three"},
        unused={"a.b.fc": "no use"},
    )
    assert kind.own("a.c.weight") == "one.c.weight"
    assert kind.own("a.b.weight") == "two.weight"
    assert kind.own("layer10.weight") is None
    assert kind.why_unused("a.b.fc.bias") == "no use"
    assert kind.why_unused("a.b.fcs.bias") == ""
    assert kind.knows(["a.b.weight", "a.x"])
    assert not kind.knows(["a.x"])
    assert not kind.knows(["a.b.weight", "b.x"])


def test_an_imported_file_is_the_same_parameters_and_says_so(methods: Path, official: Path, tmp_path: Path) -> None:
    imported, _ = import_official(official, places=places(methods))
    out = tmp_path / "toy.safetensors"
    save_imported(imported, out)
    found = read_imported(out)
    assert found is not None
    assert found.origin == imported.origin
    assert found.digest == imported.digest
    assert all(torch.equal(found.state[k], v) for k, v in imported.state.items())
    save_file(load_file(out), tmp_path / "plain.safetensors")
    assert read_imported(tmp_path / "plain.safetensors") is None
    changed_byte = bytearray(out.read_bytes())
    changed_byte[-1] ^= 1
    out.write_bytes(changed_byte)
    with pytest.raises(UserError, match="not those that were imported"):
        read_imported(out)
    out.write_bytes(out.read_bytes().replace(b'\\"digest\\"', b'\\"digist\\"'))
    with pytest.raises(UserError, match=r"toy\.safetensors"):
        read_imported(out)


def evaluation(folder: Path, methods: Path, checkpoint: str, **changes: Any) -> Any:
    values = {"iterations": None, "method": "toy", "methods_path": str(methods), "eval_only": checkpoint}
    return tiny_request(folder, **(values | changes))


@pytest.mark.slow
def test_the_file_and_what_was_imported_from_it_are_one_run(methods: Path, official: Path, tmp_path: Path) -> None:
    folder = finish(evaluation(tmp_path, methods, f"official:{official}"))
    info = read_run(folder).info
    assert info.settings.switches == {"width": 3, "alpha": 20.0}
    assert info.passed.eval_only == f"official:{official}"
    assert info.trained is not None
    assert info.trained.released is not None
    assert info.trained.released["file"] == "best.pth"
    assert info.trained.released["digest"] == hashlib.sha256(official.read_bytes()).hexdigest()
    imported, _ = import_official(official, places=places(methods))
    save_imported(imported, tmp_path / "toy.safetensors")
    renamed = official.rename(tmp_path / "fold1.pth")
    for other in (str(tmp_path / "toy.safetensors"), f"official:{renamed}"):
        assert make_plan(evaluation(tmp_path, methods, other)).settings == info.settings
        assert finish(evaluation(tmp_path, methods, other)) == folder
    # the same numbers as those of a model that was filled by hand
    model = build_method("toy", "resnet18-layer2", "none", seed=1, methods_path=methods, width=3)
    torch.save(model.state_dict(), tmp_path / "own.pth")
    own = finish(evaluation(tmp_path, methods, str(tmp_path / "own.pth"), settings={"width": "3"}))
    assert own != folder
    assert read_run(own).counts().input.tolist() == read_run(folder).counts().input.tolist()
    (table,) = runs_tables(find_runs(tmp_path / "runs"))
    variants = sorted(row[2].text for row in table.rows)
    sha = info.trained.released["digest"][:8]
    assert any(
        f"checkpoint best.pth {sha} (released checkpoint, not trained here; training lists unknown)" in text
        for text in variants
    )
    assert any("own.pth" in text and "(training unknown)" in text for text in variants)
    first = claims(tmp_path / "runs").table.rows[0]
    assert first[0].note.startswith("the toy of its authors; this protocol: checkpoint best.pth")
    assert first[5].note == "such files claim rows of pascal5i: another data set or other folds"
    assert first[8].value is not None


@pytest.mark.slow
def test_the_record_is_opened_and_reproduced(methods: Path, official: Path, tmp_path: Path) -> None:
    folder = finish(evaluation(tmp_path, methods, f"official:{official}"))
    state = open_run(folder).plan.model.state_dict()
    assert torch.equal(state["head.bias"], toy_state(methods)["cls.0.bias"])
    command = json.loads((folder / "run.json").read_text())["provenance"]["command"]
    assert f"--eval-only official:{official.absolute()}" in command


def test_switches_of_the_file_are_set_and_others_are_told(methods: Path, official: Path, tmp_path: Path) -> None:
    plan = make_plan(evaluation(tmp_path, methods, f"official:{official}", settings={"alpha": "10"}))
    assert plan.switches == {"width": 3, "alpha": 10.0}
    assert not [line for line in plan.remarks if "released" in line]
    plan = make_plan(evaluation(tmp_path, methods, f"official:{official}", settings={"width": "5"}))
    assert "width=5 is set; the released network has width=3" in plan.remarks
    assert plan.checkpoint is not None
    with pytest.raises(UserError, match="does not fit this method and backbone"):
        plan.checkpoint.fill(plan.model)


def test_predict_takes_method_backbone_and_switches_from_an_imported_file(
    methods: Path, official: Path, tmp_path: Path
) -> None:
    save_imported(import_official(official, places=places(methods))[0], tmp_path / "toy.safetensors")
    found = open_model(tmp_path / "toy.safetensors", methods_path=str(methods))
    assert (found.name, found.backbone, found.method.switches.width) == ("toy", "resnet18-layer2", 3)
    with pytest.raises(UserError, match="parameters of toy, not of panet; give --method toy"):
        open_model(tmp_path / "toy.safetensors", method="panet", methods_path=str(methods))


@pytest.mark.parametrize(
    ("given", "message"),
    [("nowhere.pth", "no such file"), (".", "this is a folder"), ("text.pth", "not written by torch.save")],
)
def test_what_is_no_file_of_authors(methods: Path, tmp_path: Path, given: str, message: str) -> None:
    (tmp_path / "text.pth").write_text("no pickle")
    with pytest.raises(UserError, match=message):
        make_plan(evaluation(tmp_path, methods, f"official:{tmp_path / given}"))
    with pytest.raises(UserError, match="official: names no file"):
        make_plan(evaluation(tmp_path, methods, "official:"))


def test_words_of_released_checkpoints_in_a_row() -> None:
    def shown(fold: int, lists: str) -> ShownSettings:
        origin = {"file": f"fold{fold}.pth", "digest": f"{fold}" * 64, "lists": lists}
        made = run_settings(fold=fold, checkpoint_digest="a" * 64, recipe={})
        return settings_shown(made, CheckpointTraining(f"fold{fold}.pth", released=origin))

    both = "checkpoints fold1.pth 11111111, fold2.pth 22222222 (released checkpoint, not trained here; training lists"
    assert checkpoints([shown(1, "unknown"), shown(2, "unknown")]) == f"{both} unknown)"
    assert checkpoints([shown(1, "trainaug"), shown(2, "trainaug")]) == f"{both} published)"
