"""The script for a GPU: what it says of checks and failures, and that all of it runs, at toy size on the CPU."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from benchmarks import gpu, gpu_checks, gpu_limits, gpu_speed
from benchmarks.gpu_rows import Row, markdown
from fsseg_bench.engine.device import BACKENDS
from fsseg_bench.engine.inference import InferenceModel
from fsseg_bench.engine.results import EpisodeResult
from fsseg_bench.method import Episode, Method
from tests.support.pretended_backend import pretend

CPU = torch.device("cpu")


def test_a_failure_is_written_as_one_and_ends_the_part() -> None:
    def work() -> Iterator[Row]:
        yield Row("checks", "labels", 0.25, "of the pixels differ", passed=False, limit="0.001")
        raise RuntimeError("no such kernel")

    rows = list(gpu._until("checks", work, deadline=float("inf")))
    assert [row.passed for row in rows] == [False, False]
    text = "\n".join(markdown(rows))
    assert "| labels | 0.25 of the pixels differ |  | **FAILED**; allowed: 0.001 |" in text
    assert "RuntimeError: no such kernel" in text


def test_what_the_time_leaves_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu.time, "monotonic", iter([0.0, 1.0, 3.0]).__next__)
    rows = list(gpu._until("heads", lambda: iter([Row("heads", str(i), 1.0, "ms") for i in range(3)]), deadline=2.0))
    assert [row.what for row in rows] == ["0", "1", "what comes after this"]
    assert rows[-1].note == "left out: the time was up"
    monkeypatch.setattr(gpu.time, "monotonic", lambda: 3.0)
    assert len(list(gpu._until("heads", lambda: pytest.fail("it has begun"), deadline=2.0))) == 1


def test_a_device_that_is_not_here_is_said_in_one_line(tmp_path: Path) -> None:
    done = CliRunner().invoke(gpu.main, ["--device", "cuda:99", "--out", str(tmp_path / "gpu")])
    assert done.exit_code == 1
    assert done.output.startswith("Error: --device cuda:99: ")
    assert not (tmp_path / "gpu").exists()


def test_labels_that_differ_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    original, calls = gpu_checks.evaluated, []

    def changed(*given: Any, **options: Any) -> list[EpisodeResult]:
        calls.append(given)
        results = original(*given, **options)
        if len(calls) == 2:
            results[0].prediction[:2] = 1 - results[0].prediction[:2]
        return results

    monkeypatch.setattr(gpu_checks, "evaluated", changed)
    row = gpu_checks.labels("baseline", CPU, toy=True)
    assert not row.passed
    assert row.value == pytest.approx(2 / (2 * 65))


def test_gradients_that_differ_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    original, calls = gpu_checks._loss, []

    def changed(method: Method) -> list[torch.Tensor]:
        calls.append(method)
        found = original(method)
        found[-1] = found[-1] * (1 + 1e-4 * (len(calls) == 2))
        return found

    monkeypatch.setattr(gpu_checks, "_loss", changed)
    row = gpu_checks.gradients("baseline", CPU, toy=True)
    assert not row.passed
    assert row.value == pytest.approx(1e-4, rel=1e-3)


def test_memory_that_suffices_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_checks, "_within", lambda *_: nullcontext())
    row = gpu_checks.out_of_memory(CPU, toy=True)
    assert (row.value, row.passed) == (0.0, False)
    assert row.note == "the memory sufficed, so that nothing was shown"


def test_a_head_batch_that_does_not_fit_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    device = pretend(monkeypatch)
    predict, sizes = InferenceModel.predict, []

    def limited(self: InferenceModel, episode: Episode) -> Any:
        sizes.append(episode.batch)
        if episode.batch > 1:
            raise torch.OutOfMemoryError
        return predict(self, episode)

    monkeypatch.setattr(InferenceModel, "predict", limited)
    monkeypatch.setattr(BACKENDS[device.type], "is_out_of_memory", BACKENDS["cuda"].is_out_of_memory)
    monkeypatch.setattr(gpu_checks, "_within", lambda *_: nullcontext())
    row = gpu_checks.out_of_memory(device, toy=True)
    assert row.passed
    assert sizes == [1, 1, 2, 1, 1]
    assert row.note.endswith("from episode 0 on 1 episodes at a time in the head instead of 2")


@pytest.mark.parametrize(("name", "index"), [("cuda", 2), ("cuda:1", 1)])
def test_memory_is_limited_by_the_number_of_a_gpu(name: str, index: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch takes no device without one there."""
    calls: list[tuple[float, int]] = []
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=8))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda *given: calls.append(given))
    with gpu_checks._within(torch.device(name), 2):
        assert calls == [(0.25, index)]
    assert calls == [(0.25, index), (1.0, index)]


def test_operations_are_counted_as_two_a_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_speed, "seconds_of", lambda *_: 8.0)  # one image a second

    def of_one_convolution(name: str, backbone: str | None) -> Method:
        method = original(name, backbone)
        trunk = method.backbone
        monkeypatch.setattr(type(trunk), "forward", lambda self, images: self.conv1(images))
        return method

    original = gpu_speed.build
    monkeypatch.setattr(gpu_speed, "build", of_one_convolution)
    scale = gpu_speed.Scale.of(toy=True, workers=0)
    row = gpu_speed._encoding(CPU, scale, "fp32", limit=1e-3)
    convolution = nn.Conv2d(3, 64, 7, stride=2, padding=3)
    cells = convolution(torch.zeros(1, 3, scale.size, scale.size)).shape[-1] ** 2
    assert row.value == 1.0
    assert row.share == pytest.approx(2 * cells * 64 * 3 * 49 / 1e12 / 1e-3)


def test_a_matrix_product_is_timed_by_its_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_limits, "seconds_of", lambda *_: 0.5)
    rows = {row.what: row.value for row in gpu_limits.limits(CPU, toy=True)}
    assert rows["matrix products, fp32"] == pytest.approx(2 * 512**3 / 0.5 / 1e12)
    assert rows["convolutions, fp32"] == pytest.approx(2 * 64 * 64 * 9 * 27**2 / 0.5 / 1e12)


@pytest.mark.slow
def test_the_whole_script_at_toy_size(tmp_path: Path) -> None:
    result = CliRunner().invoke(gpu.main, ["--toy", "--device", "cpu", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    rows = json.loads((tmp_path / "gpu.json").read_text())["rows"]
    assert {row["part"] for row in rows} == {"checks", "limits", "training", "evaluation", "heads"}
    checks = [row for row in rows if row["part"] == "checks"]
    assert len(checks) == 5
    assert all(row["passed"] for row in checks)
    assert all(row["value"] > 0 for row in rows if row["part"] != "checks")
    assert (tmp_path / "gpu.md").read_text().count("| ---") >= 5


def test_the_checks_and_the_speed_on_a_device_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    device = pretend(monkeypatch)
    assert gpu_checks.labels("biopt", device, toy=True).passed
    assert gpu_checks.gradients("biopt", device, toy=True).passed
    monkeypatch.setattr(gpu_speed, "seconds_of", lambda _, work: (work(), 1.0)[1])
    scale = gpu_speed.Scale.of(toy=True, workers=0)
    rows = list(gpu_speed.training(device, scale, ["fp32"]))
    assert [row.value for row in rows[:3]] == [4.0, 4.0, 4.0]
    assert [row.share for row in rows[:3]] == [None, None, 1.0]
    assert gpu_speed._encoding(device, scale, "fp32", 1.0).value == 8.0
    alone = next(gpu_speed.evaluation(device, scale, {}))  # without the limits that another part measures
    assert (alone.value, alone.share) == (8.0, None)
