"""How many cells a machine makes at a time, and where."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fsseg_bench.errors import UserError
from fsseg_bench.machine.share import VARIABLE
from fsseg_bench.sweeps import on_local
from fsseg_bench.sweeps.on_local import Gpu, gpus_here, local_slots, slots_words
from fsseg_bench.sweeps.plan import Plan, read_plan
from tests.support.sweeps import cell, planned

GIB = 2**30
TWO = [Gpu({"CUDA_VISIBLE_DEVICES": name}, name, 24 * GIB) for name in ("3", "5")]


def plan_of(root: Path, words: tuple[str, ...] = ("run", "--threads", "2"), **needs: Any) -> Plan:
    cells = [replace(cell(root, label), command=words) for label in ("one", "two")]
    return read_plan(planned(root, cells, **needs))


@pytest.mark.parametrize(
    ("needs", "jobs", "expected"),
    [
        ({}, None, "35"),
        ({"gpu_memory_gib": 8.0}, None, "353535"),
        ({"gpu_memory_gib": 24.0}, None, "35"),
        ({"gpu_memory_gib": 13.0}, None, "35"),
        ({"gpus": 1}, 1, "3"),
        ({}, 5, "35353"),
        ({"gpu_memory_gib": 8.0, "memory_gib": 10.0}, None, "353"),  # of 35 GiB of the machine's
        ({"memory_gib": 100.0}, None, "3"),
    ],
)
def test_gpus_are_taken_in_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, needs: dict[str, Any], jobs: int | None, expected: str
) -> None:
    monkeypatch.setattr(on_local, "free_memory", lambda: 35 * GIB)
    slots = local_slots(plan_of(tmp_path, **needs), TWO, jobs)
    assert [slot.gpu for slot in slots] == list(expected)
    assert all(slot.environment["CUDA_VISIBLE_DEVICES"] == slot.gpu for slot in slots)
    # the machine is shared by all, a GPU by those that are given the same one
    each = max(list(expected).count(gpu) for gpu in expected)
    assert {slot.environment[VARIABLE] for slot in slots} == {f"{len(expected)},{each}"}


@pytest.mark.parametrize(
    ("needs", "jobs", "count"),
    [({}, None, 3), ({"memory_gib": 20.0}, None, 1), ({"memory_gib": 100.0}, None, 1), ({}, 5, 5)],
)
def test_cores_are_shared_by_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, needs: dict[str, Any], jobs: int | None, count: int
) -> None:
    monkeypatch.setattr(on_local, "free_memory", lambda: 35 * GIB)
    monkeypatch.setattr(on_local, "usable_cores", lambda: 7)
    plan = plan_of(tmp_path, gpus=0, **needs)
    slots = local_slots(plan, TWO, jobs)
    environment = {"CUDA_VISIBLE_DEVICES": "", VARIABLE: f"{count},{count}"}
    assert [(slot.gpu, slot.environment) for slot in slots] == [(None, environment)] * count
    assert slots_words(slots) == f"{count} at a time on the CPU"


def test_what_there_is_no_gpu_for(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="PyTorch sees none here"):
        local_slots(plan_of(tmp_path, gpus=1), [])
    with pytest.raises(UserError, match="PyTorch sees none here"):
        local_slots(plan_of(tmp_path, ("run", "--device", "cuda")), [])
    with pytest.raises(UserError, match=r"gpu_memory_gib = 25: GPU 3 has 24\.0 GiB"):
        local_slots(plan_of(tmp_path, gpu_memory_gib=25.0), TWO)


def test_gpus_are_not_looked_for_where_the_cpu_computes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_local.subprocess, "run", None)
    assert gpus_here(plan_of(tmp_path, gpus=0)) == []
    assert gpus_here(plan_of(tmp_path, ("run", "--device", "cpu"))) == []


@pytest.mark.slow
def test_a_process_looks_for_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    plan = plan_of(tmp_path, gpus=1)
    found = gpus_here(plan)
    assert len(found) == torch.cuda.device_count()
    monkeypatch.setattr(on_local, "module_path", lambda: [str(tmp_path)])
    (tmp_path / "torch.py").write_text("raise ImportError('a broken torch')")
    with pytest.raises(UserError, match="PyTorch cannot be asked for GPUs here: ImportError: a broken torch"):
        gpus_here(plan)
