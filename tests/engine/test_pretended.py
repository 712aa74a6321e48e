"""Every built-in method on a pretended GPU: nothing of the host mixes in, nothing waits, the results are the CPU's."""

from __future__ import annotations

import copy
import dataclasses
import importlib.util
import sys
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NamedTuple

import pytest
import torch
from torch import Tensor

import fsseg_methods.panet
from fsseg_bench.engine.build import assemble
from fsseg_bench.engine.made_up import evaluation_episode, training_episode
from fsseg_bench.method import Method, Prediction
from fsseg_bench.registry import find_method, method_names
from tests.support.pretended import MixedError, Pretended
from tests.support.pretended_backend import pretend
from tests.support.tiny_run import trained_methods
from tests.support.waits import Wait, watched

Run = Callable[[Method, int], dict[str, Tensor]]
OWN_WAITS = {
    "ppnet-ud": [Wait("copy to the host", "unlabelled.py")],
    # once a size of images, and for the clusters of each query
    "insid3": [Wait("copy to the host", "_positional.py"), *[Wait("copy to the host", "insid3.py")] * 2],
}
"""By method, the waits that it cannot do without, without line numbers: superpixels, positional directions and clusters
are found on the CPU."""
FURTHER: dict[str, tuple[dict[str, Any], ...]] = {
    "biopt": ({"steps": 0}, {"inner_res": "input", "align_corners": True}),
    "inopt-dagger": ({"inner_reduction": "sum", "proto_unit_norm": False, "inner_pixel_ref": 0.0},),
    "canet": ({"refinements": 0, "dropout": 0.5, "history_rate": 1.0},),
    "fwb": ({"steps": 0},),
    "pgnet": ({"grids": ()}, {"dropout": 0.5}),
    "panet": ({"align_weight": 0.0},),
    "ppnet": ({"semantic_weight": 0.0, "align_weight": 0.0},),
    "sgone": ({"exit_padding": 0},),
}
"""Values of other switches that take another path."""


class Case(NamedTuple):
    """A method with switches."""

    name: str
    switches: dict[str, Any]
    way: int = 1

    def __str__(self) -> str:
        return "-".join([self.name, *(f"{key}={value}" for key, value in self.switches.items()), f"{self.way}way"])


def cases() -> Iterator[Case]:
    """The methods as they are, with two ways, and with each other value of a switch that has few, once a switch."""
    known: set[tuple[str, str]] = set()
    for name in method_names():
        cls = find_method(name)
        yield Case(name, {})
        if cls.max_ways is None:
            yield Case(name, {}, way=2)
        for key, value in choices(cls):
            owner = next(c for c in cls.Switches.__mro__[::-1] if key in getattr(c, "__annotations__", {}))
            if (entry := (f"{owner.__module__}.{owner.__qualname__}", f"{key}={value}")) not in known:
                known.add(entry)
                yield Case(name, {key: value})
        for switches in FURTHER.get(name, ()):
            yield Case(name, switches)


def choices(cls: type[Method]) -> Iterator[tuple[str, Any]]:
    """Switches with their values, other than the default, where these are few."""
    types = typing.get_type_hints(cls.Switches) if cls.Switches else {}
    for field in dataclasses.fields(cls.Switches) if cls.Switches else ():
        kind = types[field.name]
        values = typing.get_args(kind) if typing.get_origin(kind) is Literal else (True, False) if kind is bool else ()
        yield from ((field.name, value) for value in values if value != field.default)


def chosen(case: Case) -> Any:
    """The case, which is slow beyond the default: they are many."""
    slow = case.switches or case.way > 1
    return pytest.param(case, marks=[pytest.mark.slow] if slow else [], id=str(case))


REFUSED = {"inner_reduction": "sum"}  # without another switch
CASES = [chosen(case) for case in cases() if case.switches != REFUSED]
TRAINED = {*trained_methods()}


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    return pretend(monkeypatch)


def built(name: str, **switches: Any) -> Method:
    return assemble(find_method(name), "resnet18-layer2", "none", switches, seed=0, base_classes=3)[0]


def predictions(method: Method, way: int) -> dict[str, Tensor]:
    """Encodes as the evaluation does, and predicts."""
    episode = evaluation_episode(method, batch=2, way=way, shot=2)
    with torch.no_grad():
        result = method.predict(episode)
    return {"logits": result.logits, **result.diagnostics} if isinstance(result, Prediction) else {"logits": result}


def losses_and_gradients(method: Method, way: int) -> dict[str, Tensor]:
    """One training step's, up to the gradients."""
    method.train()
    torch.manual_seed(0)
    episode = training_episode(method, way=way, shot=2)
    parts = method.loss(episode)
    torch.stack(list(parts.values())).sum().backward()
    found = {name: part.detach() for name, part in parts.items()}
    found |= {name: p.grad for name, p in method.named_parameters() if p.grad is not None}
    if episode.history is not None:
        assert episode.history.kept is not None
        found["history"] = episode.history.kept
    return found


def compare(run: Run, method: Method, device: torch.device, way: int = 1) -> list[Wait]:
    """Runs a method on the CPU and on the device, compares the results, and gives the waits."""
    there = copy.deepcopy(method).to(device)
    with watched() as waits:
        found = run(there, way)
    expected = run(method, way)
    assert expected.keys() == found.keys()
    # some gradients are zero but for rounding: of a bias before a batch-norm, or of one that a softmax cancels
    gradients = [float(expected[name].abs().max()) for name, _ in method.named_parameters() if name in expected]
    floor = 1e-6 * max(gradients, default=0.0)
    for name, value in expected.items():
        one = found[name]
        assert isinstance(one, Pretended), name
        torch.testing.assert_close(one.inner, value, rtol=0, atol=1e-4 * float(value.abs().max()) + floor, msg=name)
    return [one for one in waits if not one.line.startswith("made_up.py")]  # which moves what it makes up


def allowed(name: str, waits: list[Wait]) -> bool:
    """Whether a method's waits are those of its own."""
    return [Wait(one.call, one.line.partition(":")[0]) for one in waits] == OWN_WAITS.get(name, [])


@pytest.mark.parametrize("case", CASES)
def test_encoding_and_predicting_neither_mix_nor_wait(case: Case, device: torch.device) -> None:
    waits = compare(predictions, built(case.name, **case.switches), device, case.way)
    assert allowed(case.name, waits), waits


@pytest.mark.parametrize("case", [case for case in CASES if case.values[0].name in TRAINED])
def test_loss_and_backward_neither_mix_nor_wait(case: Case, device: torch.device) -> None:
    waits = compare(losses_and_gradients, built(case.name, **case.switches), device, case.way)
    assert allowed(case.name, waits), waits


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cofcn", "oslsm", "pmms"])
def test_what_these_methods_do_with_a_vgg_neither_mixes_nor_waits(name: str, device: torch.device) -> None:
    method = assemble(find_method(name), "vgg16", "none", {}, seed=0)[0]
    if name != "oslsm":  # whose fully connected layers take a gigabyte of gradients
        assert not compare(losses_and_gradients, method, device)
    assert not compare(predictions, method, device)


def test_a_wait_in_a_loss_fails_with_its_line(tmp_path: Path, device: torch.device) -> None:
    module, line = changed_panet(
        tmp_path, 'losses = {"query": segmentation_loss', 'scores.sum().item(); losses = {"query": segmentation_loss'
    )
    method = made_of(module.PANet)
    waits = compare(losses_and_gradients, method, device)
    assert waits == [Wait("_local_scalar_dense", f"panet.py:{line}")]
    assert not allowed("panet", waits)


def test_a_host_tensor_in_a_prediction_fails_with_its_line(tmp_path: Path, device: torch.device) -> None:
    module, line = changed_panet(tmp_path, "return self.scores(episode)", "return self.scores(episode) * torch.ones(1)")
    with pytest.raises(MixedError, match=f"mul of tensors of the device and of the host .*, panet.py:{line}"):
        compare(predictions, made_of(module.PANet), device)


def changed_panet(folder: Path, old: str, new: str) -> tuple[ModuleType, int]:
    """PANet's module with one line changed, and the line's number."""
    text = Path(fsseg_methods.panet.__file__).read_text()
    assert text.count(old) == 1
    file = folder / "fsseg_methods" / "panet.py"
    file.parent.mkdir()
    file.write_text(text.replace(old, new))
    spec = importlib.util.spec_from_file_location("changed_panet", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look their annotations up
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[spec.name]
    return module, 1 + text[: text.index(old)].count("\n")


def made_of(cls: type[Method]) -> Method:
    return assemble(cls, "resnet18-layer2", "none", {}, seed=0)[0]
