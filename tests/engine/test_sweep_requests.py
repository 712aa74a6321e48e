"""What a sweep's cells are asked for without naming it: the kind of device, methods, trainings."""

from __future__ import annotations

from typing import Any

import pytest

from fsseg_bench.engine import device as devices
from fsseg_bench.engine.remembered import Remembered
from fsseg_bench.engine.sweep_requests import Asked, asked_cells, with_device
from fsseg_bench.errors import UserError
from fsseg_bench.records.request import RunRequest
from fsseg_bench.registry import find_method, method_names
from fsseg_bench.sweeps.spec import Spec, parse_spec

NOTE = "device: cpu, as this machine has it; [cell] gpus = 1 plans for machines that have a GPU"


def spec_of(**tables: Any) -> Spec:
    common = {"dataset": "shapes5i", "fold": 1, **tables.pop("common", {})}
    return parse_spec({"name": "tiny", "common": common, **tables}, "tiny.toml")


@pytest.mark.parametrize(
    ("gpus", "given", "planned", "needed", "notes"),
    [
        (1, ["auto"], ["cuda"], 1, []),
        (1, ["auto", "cuda"], ["cuda", "cuda"], 1, []),
        (0, ["auto", "cpu"], ["cpu", "cpu"], 0, []),
        (None, ["auto"], ["cpu"], 0, [NOTE]),  # what this machine has
        (None, ["cuda", "cuda"], ["cuda", "cuda"], 1, []),
        (None, ["cpu"], ["cpu"], 0, []),
        (None, ["auto", "cuda"], ["cpu", "cuda"], 1, [NOTE]),
    ],
)
def test_the_kind_of_device_is_planned(
    monkeypatch: pytest.MonkeyPatch,
    gpus: int | None,
    given: list[str],
    planned: list[str],
    needed: int,
    notes: list[str],
) -> None:
    monkeypatch.setattr(devices.BACKENDS["cuda"], "count", lambda: 0)
    spec = spec_of(common={"method": "panet"}, cell={} if gpus is None else {"gpus": gpus})
    asked = [Asked(name, RunRequest("panet", "shapes5i", device=name), {}) for name in given]
    cells, found, said = with_device(spec, asked)
    assert [cell.request.device for cell in cells] == planned
    assert (found, said) == (needed, notes)


def test_a_planning_machine_with_gpus_plans_for_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices.BACKENDS["cuda"], "count", lambda: 4)
    cells, gpus, said = with_device(spec_of(common={"method": "panet"}), [Asked("a", RunRequest("panet"), {})])
    assert (cells[0].request.device, gpus, said) == ("cuda", 1, ["device: cuda, as this machine has it"])


@pytest.mark.parametrize(("gpus", "device"), [(1, "cpu"), (0, "cuda")])
def test_a_device_that_contradicts_the_gpus_is_refused(gpus: int, device: str) -> None:
    spec = spec_of(common={"method": "panet"}, cell={"gpus": gpus})
    with pytest.raises(UserError, match=f"gpus = {gpus} and device of a exclude each other; leave device out"):
        with_device(spec, [Asked("a", RunRequest("panet", device=device), {})])


def test_all_means_every_method_that_can() -> None:
    found = asked_cells(spec_of(common={"way": 2}, grid={"method": ["all"]}), Remembered())
    names = [cell.request.method for cell in found.cells]
    able = (find_method(name).max_ways for name in method_names())
    assert names == [name for name, most in zip(method_names(), able, strict=True) if most is None or most >= 2]
    assert any(note.startswith("all: left out, since they do no 2-way episodes: ") for note in found.notes)
    assert {cell.request.backbone for cell in found.cells} == {"resnet18-layer2"}


def test_backbones_are_chosen_for_each_protocol() -> None:
    grid = {"method": ["panet", "biopt"], "dataset": ["shapes5i", "pascal5i"]}
    found = asked_cells(spec_of(grid=grid, also=[{"method": "dan", "backbone": "vgg16"}]), Remembered())
    assert [(cell.request.dataset, cell.request.backbone) for cell in found.cells] == [
        *[("shapes5i", "resnet18-layer2")] * 2,
        *[("pascal5i", "resnet50")] * 2,
        ("shapes5i", "vgg16"),
    ]
    assert [note.partition(",")[0] for note in found.notes] == [
        "shapes5i: backbone: resnet18-layer2 for all methods",
        "pascal5i: backbone: resnet50 for all methods",
    ]


def test_published_backbones_stay() -> None:
    grid = {"method": ["panet", "biopt"], "dataset": ["pascal5i"], "backbone": ["published", "resnet101"]}
    found = asked_cells(spec_of(grid=grid), Remembered())
    assert [cell.request.backbone for cell in found.cells] == ["published"] * 2 + ["resnet101"] * 2
    assert found.notes == ("backbone: each method's published one (panet vgg16, biopt resnet50)",)


def test_trainings_come_before_what_waits_for_them() -> None:
    spec = spec_of(
        common={"method": "panet"}, grid={"shot": [5, 1], "scales": [[0.7, 1.0], [1.0]]}, training={"shot": 1}
    )
    cells = asked_cells(spec, Remembered()).cells
    places = {cell.label: place for place, cell in enumerate(cells)}
    assert len(cells) == 4
    for cell in cells:
        assert (cell.trains is None) == (cell.request.shot == 1)
        assert cell.trains is None or places[cell.trains] < places[cell.label]
        # scales have a part in the evaluation, and are not named: each has a training of its own
        training = cells[places[cell.trains]] if cell.trains else cell
        assert training.request.scales == cell.request.scales
    one = asked_cells(spec_of(**{**_tables(spec), "training": {"shot": 1, "scales": [1.0]}}), Remembered()).cells
    assert sum(cell.trains is None for cell in one) == 1


def _tables(spec: Spec) -> dict[str, Any]:
    return {"common": dict(spec.common), "grid": {key: list(values) for key, values in (spec.grid or {}).items()}}
