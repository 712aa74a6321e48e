"""Evaluation on a device beside the process: its counts are the CPU's, results are read late, and memory may end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fsseg_bench.engine.cache import Budget, FeatureCache
from fsseg_bench.engine.device import BACKENDS
from fsseg_bench.engine.evaluate import Evaluator, Setting, delayed
from fsseg_bench.engine.head_batch import affordable
from fsseg_bench.engine.inference import InferenceModel
from fsseg_bench.engine.plan import Plan, make_plan
from fsseg_bench.engine.results import EpisodeResult
from fsseg_bench.errors import UserError
from fsseg_bench.method import Episode
from fsseg_methods.baseline import Baseline
from tests.support.beside import Beside, NoMemoryError
from tests.support.tiny_run import Watched, tiny_request

CPU = torch.device("cpu")
COUNT = 12
KEPT = 2**30
ROUNDED = 2  # pixels of 4,096 that batches of eight may decide otherwise: sums are rounded in another order


class Altered(InferenceModel):
    """A model whose calls can be watched and altered."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan.model, CPU, "fp32")
        self.before: Callable[[str, int], None] = lambda what, size: None
        """Is called with ``encode`` or ``predict``, and how many images or episodes."""
        self.after: Callable[[Tensor, Episode], Tensor] = lambda logits, episode: logits

    def encode(self, images: list[Tensor]) -> list[Any]:
        self.before("encode", len(images))
        return super().encode(images)

    def predict(self, episode: Episode) -> tuple[Tensor, dict[str, Tensor]]:
        self.before("predict", episode.batch)
        logits, diagnostics = super().predict(episode)
        return self.after(logits, episode), diagnostics


def evaluator(plan: Plan, head_batch: int | None, device_bytes: int = KEPT, **setting: Any) -> Evaluator:
    cache = FeatureCache(CPU, Budget(device_bytes, KEPT))
    own = Setting(plan.protocol.image.size, head_batch=head_batch, workers=0, **setting)
    return Evaluator(Altered(plan), plan.source, plan.table, own, cache, plan.further)


def rows(of: Evaluator, start: int = 0, progress: Watched | None = None) -> list[dict[str, Any]]:
    found: list[EpisodeResult] = []
    of.run(found.append, start, progress)
    return [{**result.row(), "prediction": result.prediction.tolist()} for result in found]


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return make_plan(tiny_request(tmp_path))


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Beside:
    backend = Beside()
    monkeypatch.setitem(BACKENDS, "cpu", backend)
    return backend


@pytest.mark.parametrize(
    ("changes", "scales"),
    [({}, (1.0,)), ({"way": 2, "shot": 2}, (0.7, 1.0)), ({"method": "biopt"}, (1.0,)), ({"method": "oslsm"}, (1.0,))],
)
def test_counts_and_predictions_are_the_cpus(
    changes: dict[str, Any], scales: tuple[float, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images in batches of eight, one copy a chunk each way, results read late."""
    plan = make_plan(tiny_request(tmp_path, **changes))
    expected = rows(evaluator(plan, 1, scales=scales))
    assert len(expected) == COUNT
    assert sum(row["input"][-1] for row in expected) > 0
    monkeypatch.setitem(BACKENDS, "cpu", Beside())
    for head_batch in (1, 5, None):
        found = rows(evaluator(plan, head_batch, scales=scales))
        for one, other in zip(found, expected, strict=True):
            assert one.keys() == other.keys()
            assert (one["episode"], one["classes"]) == (other["episode"], other["classes"])
            for counts in ("input", "native"):
                assert sum(one[counts]) == sum(other[counts])
                assert np.abs(np.subtract(one[counts], other[counts])).sum() <= 2 * ROUNDED
            assert np.not_equal(one["prediction"], other["prediction"]).sum() <= ROUNDED


class _Told(Baseline):
    """Says the truth where it is shown, and background where it is not."""

    def predict(self, episode: Episode) -> Tensor:
        shape = (episode.batch, episode.ways + 1, *episode.size)
        if episode.query_labels is None:
            return torch.zeros(shape)
        labels = episode.query_labels
        assert labels.shape == (episode.batch, 64, 64)
        return torch.stack([(labels == way).float() for way in range(episode.ways + 1)], dim=1)


class _Oracle(_Told):
    @property
    def reads_truth(self) -> bool:
        return True


@pytest.mark.parametrize("scales", [(1.0,), (0.7, 1.0)])
def test_an_oracle_alone_sees_the_truth(plan: Plan, scales: tuple[float, ...]) -> None:
    of = evaluator(plan, 5, scales=scales)
    oracle, blind = (of.model.with_head(cls(plan.model.backbone, plan.model.switches)) for cls in (_Oracle, _Told))
    both: list[tuple[EpisodeResult, ...]] = []
    of.run_heads((oracle, blind), both.append)
    assert len(both) == COUNT
    for seeing, other in both:
        assert int(seeing.input[0, 1] + seeing.input[1, 0]) == 0
        assert int(seeing.input[1, 1]) > 0
        assert int(other.input[:, 1].sum()) == 0
    assert torch.equal(Evaluator.predict(replace(of, model=oracle), 3), both[3][0].prediction)


@pytest.mark.parametrize("way", [1, 2])
def test_a_chunk_waits_once_while_the_next_is_computed(way: int, tmp_path: Path, gpu: Beside) -> None:
    of = evaluator(make_plan(tiny_request(tmp_path, way=way)), 4)
    assert isinstance(of.model, Altered)
    of.model.before = lambda what, size: gpu.done.append(what) if what == "predict" else None
    of.run(lambda result: gpu.done.append(f"episode {result.episode}"))
    steps = [one for one in gpu.done if one != "sent"]
    written = [[f"episode {i}" for i in range(first, first + 4)] for first in (0, 4, 8)]
    begun = ["predict", "fetching"]
    assert steps == [
        *begun, *begun, "waited", *written[0], *begun, "waited", *written[1], "waited", *written[2],
    ]  # fmt: skip


def test_labels_and_masks_of_a_chunk_are_sent_together(plan: Plan, gpu: Beside) -> None:
    of = evaluator(plan, 4)
    rows(of)
    gpu.done.clear()
    rows(of)  # all features are kept
    assert gpu.done.count("sent") == 3


def test_on_the_cpu_each_episode_is_handed_on_before_the_next_begins(plan: Plan) -> None:
    of = evaluator(plan, 1)
    done: list[str] = []
    assert isinstance(of.model, Altered)
    of.model.before = lambda what, size: done.append(what) if what == "predict" else None
    of.run(lambda result: done.append(f"episode {result.episode}"))
    assert done == [step for i in range(COUNT) for step in ("predict", f"episode {i}")]


@pytest.mark.parametrize("beside", [False, True])
def test_the_first_episode_that_is_not_finite_is_named_and_no_later_one_written(
    beside: bool, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    if beside:
        monkeypatch.setitem(BACKENDS, "cpu", Beside())
    of = evaluator(plan, 3)
    seeds = [plan.table.seed(i) for i in (7, 8, 10)]

    def spoiled(logits: Tensor, episode: Episode) -> Tensor:
        bad = torch.tensor([seed in seeds for seed in episode.seeds])
        return torch.where(bad.view(-1, 1, 1, 1), torch.nan, logits)

    assert isinstance(of.model, Altered)
    of.model.after = spoiled
    written: list[int] = []
    with pytest.raises(UserError, match="episode 7: the method's logits are not finite"):
        of.run(lambda result: written.append(result.episode))
    assert written == list(range(6))  # the chunks before


@pytest.mark.parametrize("beside", [False, True])
def test_a_resumed_evaluation_makes_the_chunks_of_one_in_one_go(
    beside: bool, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    if beside:
        monkeypatch.setitem(BACKENDS, "cpu", Beside())
    chunks: list[tuple[int, ...]] = []

    def note(logits: Tensor, episode: Episode) -> Tensor:
        chunks.append(episode.seeds)
        return logits

    def run(start: int) -> list[dict[str, Any]]:
        of = evaluator(plan, 5)
        assert isinstance(of.model, Altered)
        of.model.after = note
        found = rows(of, start)
        assert of.timings["evaluate_episodes"] == len(found)
        return found

    whole = run(0)
    expected = chunks.copy()
    assert len(set(expected)) == len(chunks) == 3
    for start in (1, 5, 7, 11):
        chunks.clear()
        assert run(start) == whole[start:]
        assert chunks == expected[start // 5 :]


def test_out_of_memory_in_the_head_halves_its_batch(plan: Plan, gpu: Beside) -> None:
    expected = rows(evaluator(plan, 1))
    for begun, most, used in ((8, 2, 2), (7, 3, 3), (6, 1, 1), (None, 4, 4)):
        of, progress = evaluator(plan, begun), Watched()

        def limited(what: str, size: int, most: int = most) -> None:
            if what == "predict" and size > most:
                raise NoMemoryError

        assert isinstance(of.model, Altered)
        of.model.before = limited
        gpu.done.clear()
        found = rows(of, progress=progress)
        assert found == expected
        assert of.head_batch == used
        assert gpu.done.count("released") == len(progress.said) > 0
        assert "out of memory on cpu: from episode 0 on" in progress.said[0]
        assert of.cache._device.budget == KEPT


def test_out_of_memory_later_on_repeats_no_episode(plan: Plan, gpu: Beside) -> None:
    """The head batch falls from 5 to 2 at episode 5, which is in the middle of a chunk of 2."""
    expected = rows(evaluator(plan, 1))
    of, progress, calls = evaluator(plan, 5), Watched(), []

    def second(what: str, size: int) -> None:
        if what == "predict":
            calls.append(size)
            if len(calls) == 2:
                raise NoMemoryError

    assert isinstance(of.model, Altered)
    of.model.before = second
    assert rows(of, progress=progress) == expected
    assert calls == [5, 5, 2, 2, 2, 2]  # 4 and 5, of which 4 is known
    assert progress.said == ["out of memory on cpu: from episode 5 on 2 episodes at a time in the head instead of 5"]


def test_out_of_memory_in_the_encoder_frees_the_cache_and_keeps_the_batch(plan: Plan, gpu: Beside) -> None:
    expected = rows(evaluator(plan, 1))
    of, progress = evaluator(plan, 2), Watched()
    whole, sizes = of.model._in_batches, []

    def limited(encode: Any, images: list[Tensor], *others: list[Tensor]) -> list[Any]:
        if of.cache._device.used > 2**15:
            raise NoMemoryError
        sizes.append(len(images))
        return whole(encode, images, *others)

    of.model._in_batches = limited  # type: ignore[method-assign]
    assert rows(of, progress=progress) == expected
    assert of.model.encode_batch == 8
    assert of.cache._device.used <= of.cache._device.budget <= 2**15 < KEPT
    assert "half as many features kept on the device" in progress.said[0]
    assert of.head_batch == 1


def test_out_of_memory_while_the_batch_is_measured_leaves_it_to_be_measured(plan: Plan, gpu: Beside) -> None:
    undisturbed = evaluator(plan, None)
    expected = rows(undisturbed)
    of, progress, calls = evaluator(plan, None), Watched(), []
    of.cache.put("of another table", torch.zeros(8))

    def first(what: str, size: int) -> None:
        calls.append(what)
        if len(calls) == 1:
            raise NoMemoryError

    assert isinstance(of.model, Altered)
    of.model.before = first
    assert rows(of, progress=progress) == expected
    assert of.head_batch == undisturbed.head_batch
    assert of.head_batch != 1
    assert progress.said == ["out of memory on cpu: from episode 0 on half as many features kept on the device"]


@pytest.mark.parametrize("what", ["encode", "predict"])
def test_where_nothing_helps_the_error_says_what_might(what: str, plan: Plan, gpu: Beside) -> None:
    of, progress = evaluator(plan, 4), Watched()
    calls = []

    def always(which: str, size: int) -> None:
        calls.append(which)
        if which == what and len(calls) > 1:
            raise NoMemoryError

    assert isinstance(of.model, Altered)
    of.model.before = always
    written: list[int] = []
    with pytest.raises(UserError, match=r"episode \d+: out of memory on cpu with one episode at a time.*bf16") as error:
        of.run(lambda result: written.append(result.episode), progress=progress)
    assert isinstance(error.value.__cause__, NoMemoryError)
    assert written == list(range(len(written)))
    assert of.head_batch == 1
    assert of.cache._device.budget == 0


def test_other_errors_pass_after_what_was_computed(plan: Plan, gpu: Beside) -> None:
    of, calls = evaluator(plan, 3), []

    def third(what: str, size: int) -> None:
        calls.extend([what] * (what == "predict"))
        if len(calls) == 3:
            raise ValueError("a bug")

    assert isinstance(of.model, Altered)
    of.model.before = third
    written: list[int] = []
    with pytest.raises(ValueError, match="a bug"):
        of.run(lambda result: written.append(result.episode))
    assert written == list(range(6))


def test_on_the_cpu_no_error_is_one_of_memory(plan: Plan) -> None:
    of = evaluator(plan, 4)

    def never(what: str, size: int) -> None:
        raise NoMemoryError

    assert isinstance(of.model, Altered)
    of.model.before = never
    with pytest.raises(NoMemoryError):
        rows(of)


@pytest.mark.parametrize(
    ("episode_bytes", "free", "expected"),
    [
        (46 * 10**6, 140 * 10**9, 64),
        (139 * 10**6, 140 * 10**9, 32),  # 50 fit
        (139 * 10**6, 24 * 10**9, 8),
        (139 * 10**6, 8 * 10**9, 2),
        (10**9, 8 * 10**9, 1),
        (10**9, 0, 1),
        (0, 0, 1),
        (1, 2**40, 64),
    ],
)
def test_the_head_batch_is_what_a_twentieth_of_the_memory_holds(episode_bytes: int, free: int, expected: int) -> None:
    assert affordable(episode_bytes, free) == expected


def test_the_head_batch_is_measured_once(plan: Plan, gpu: Beside) -> None:
    of = evaluator(plan, None)
    rows(of)
    each = of.cache.used // of.cache.count
    assert of.head_batch == 64
    gpu.free = 20 * 2 * each * 5  # five episodes of two features, of which a power of two is taken
    again = evaluator(plan, None)
    rows(again)
    assert again.head_batch == 4


def test_delayed_by_hand() -> None:
    made: list[int] = []

    def numbers(stop: int) -> Any:
        for i in range(4):
            made.append(i)
            if i == stop:
                raise ValueError
            yield i

    assert [(i, len(made)) for i in delayed(numbers(9), 1)] == [(0, 2), (1, 3), (2, 4), (3, 4)]
    made.clear()
    assert [(i, len(made)) for i in delayed(numbers(9), 0)] == [(0, 1), (1, 2), (2, 3), (3, 4)]
    found: list[int] = []
    with pytest.raises(ValueError):
        for i in delayed(numbers(2), 1):
            found.append(i)
    assert found == [0, 1]
    assert list(delayed([], 1)) == []
