"""How many runs at a time, on which device, with how many threads: of machines that are not here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fsseg_bench.engine import device, slots
from fsseg_bench.engine.device import CudaBackend
from fsseg_bench.engine.share import Jobs
from fsseg_bench.engine.slots import ONE_SLOT, Slots, slots_for
from fsseg_bench.errors import UserError
from fsseg_bench.machine.share import Share
from fsseg_bench.records.request import RunRequest


def runs(count: int, **options: Any) -> list[RunRequest]:
    return [RunRequest("baseline", "shapes5i", fold, device="cpu", **options) for fold in range(1, count + 1)]


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("jobs", "count", "given", "slots_made", "each"),
    [
        ("auto", 12, None, 8, 1),
        ("auto", 3, None, 3, 2),
        ("auto", 2, None, 2, 4),
        (2, 12, None, 2, 4),
        (12, 12, None, 12, 1),
        (20, 12, None, 12, 1),
        ("auto", 12, 3, 8, 3),
    ],
)
def test_on_eight_cores(
    monkeypatch: pytest.MonkeyPatch, jobs: Jobs, count: int, given: int | None, slots_made: int, each: int
) -> None:
    monkeypatch.setattr(slots, "usable_cores", lambda: 8)
    with threads(8):
        made = slots_for(jobs, runs(count, threads=given))
    assert (made.count, made.share) == (slots_made, Share(slots_made, slots_made))
    assert made.environments == ({},) * slots_made
    assert {made.given(request).threads for request in runs(count, threads=given)} == {each}
    assert made.note == f"{slots_made} runs at a time, {each} thread{'s' * (each > 1)} each"


def test_never_more_threads_than_torch_would_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """OMP_NUM_THREADS, or one thread a core where cores pretend to be two."""
    monkeypatch.setattr(slots, "usable_cores", lambda: 8)
    with threads(2):
        assert slots_for(2, runs(2)).threads == 2


@pytest.mark.parametrize(("jobs", "count"), [(1, 12), ("auto", 1), (4, 1), ("auto", 0), (4, 0)])
def test_one_after_the_other(jobs: Jobs, count: int) -> None:
    assert slots_for(jobs, runs(count)) is ONE_SLOT
    (request,) = runs(1, threads=3)
    assert ONE_SLOT.given(request) == request


def test_on_one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "usable_cores", lambda: 1)
    assert slots_for("auto", runs(4)) == Slots(
        note="--jobs auto: one run at a time, since this process may use one core"
    )


@pytest.mark.parametrize(
    ("fitting", "count", "note"),
    [
        (3, 3, "3 runs at a time, 2 threads each; for 8 there is not enough memory"),
        (1, 1, "--jobs auto: one run at a time; for 8 there is not enough memory"),
        (0, 1, "--jobs auto: one run at a time; for 8 there is not enough memory"),
    ],
)
def test_as_far_as_memory_allows(monkeypatch: pytest.MonkeyPatch, fitting: int, count: int, note: str) -> None:
    monkeypatch.setattr(slots, "usable_cores", lambda: 8)
    with threads(8):
        made = slots_for("auto", runs(12), lambda _: fitting)
        assert (made.count, made.note) == (count, note)
        assert slots_for(8, runs(12), lambda _: fitting).count == 8  # as asked for


class Three(CudaBackend):
    """A machine with three GPUs."""

    def count(self) -> int:
        return 3


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(device.BACKENDS, "cuda", Three())
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(slots, "usable_cores", lambda: 8)


def on_gpu(count: int, name: str = "auto") -> list[RunRequest]:
    return [replace(request, device=name) for request in runs(count)]


def visible(made: Slots) -> list[str | None]:
    return [environment.get("CUDA_VISIBLE_DEVICES") for environment in made.environments]


def test_one_run_a_gpu(three: None, monkeypatch: pytest.MonkeyPatch) -> None:
    made = slots_for("auto", on_gpu(12))
    assert (visible(made), made.share) == (["0", "1", "2"], Share(3, 1))
    assert made.note.startswith("3 runs at a time, on 3 GPUs, ")
    assert visible(slots_for("auto", on_gpu(2, "cuda"))) == ["0", "1"]
    made = slots_for(4, on_gpu(12))
    assert (visible(made), made.share) == (["0", "1", "2", "0"], Share(4, 2))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5, GPU-1f,2")
    assert visible(slots_for("auto", on_gpu(12))) == ["5", "GPU-1f", "2"]


def test_a_gpu_that_is_named_keeps_its_number(three: None) -> None:
    made = slots_for("auto", on_gpu(12, "cuda:1"))
    assert (made.count, made.note) == (1, "--jobs auto: one run at a time, since a GPU makes one at a time")
    made = slots_for(2, on_gpu(12, "cuda:1"))
    assert (visible(made), made.share) == ([None, None], Share(2, 2))
    assert made.note.startswith("2 runs at a time, all on one GPU, ")


def test_a_device_that_is_not_there() -> None:
    with pytest.raises(UserError, match="--device npu"):
        slots_for(2, on_gpu(2, "npu"))


def test_processes_of_torchrun_make_one_run_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "processes", lambda: SimpleNamespace(size=2))
    assert slots_for("auto", runs(4)) is slots_for(1, runs(4)) is ONE_SLOT
    with pytest.raises(UserError, match="--jobs 3: torchrun started 2 processes"):
        slots_for(3, runs(4))
