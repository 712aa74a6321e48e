"""Finished runs predict again: labels of what was counted, and sweeps that give what separate runs give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fsseg_bench.conventions import VOID
from fsseg_bench.data.loading import query_label
from fsseg_bench.engine import open_run as opening
from fsseg_bench.engine import rerun as sweeping
from fsseg_bench.engine.device import BACKENDS
from fsseg_bench.engine.inference import InferenceModel
from fsseg_bench.engine.open_run import open_run
from fsseg_bench.engine.plan import make_plan
from fsseg_bench.engine.rerun import predicted_labels, sweep
from fsseg_bench.errors import UserError
from fsseg_bench.method import Episode
from fsseg_bench.records.lines import read_lines
from fsseg_bench.records.predictions import counted, stored_predictions
from fsseg_bench.records.read import read_run
from fsseg_bench.records.sweep import find_sweep
from tests.support.beside import Beside
from tests.support.runs import edit_info
from tests.support.tiny_run import Watched, finish, tiny_request

STEPS = ["0", "2", "10"]


def separate(made: Path, trained: Path, steps: str, out: Path) -> dict[str, np.ndarray]:
    """The counts of an evaluation of its own, with ``steps`` set."""
    request = tiny_request(
        made, method="biopt", iterations=None, eval_only=str(trained), settings={"steps": steps}, out=str(out)
    )
    counts = read_run(finish(request)).counts()
    return {"input": counts.input, "native": counts.native}


def test_one_pass_gives_what_separate_evaluations_give(made: Path, trained: Path, tmp_path: Path) -> None:
    sweep(trained, "steps", STEPS)
    found = find_sweep(read_run(trained), "steps")
    assert found is not None
    assert found.values == (0, 2, 10)
    for i, steps in enumerate(STEPS):
        expected = separate(made, trained, steps, tmp_path / "separate")
        assert np.array_equal(found.input[i], expected["input"]), steps
        assert np.array_equal(found.native[i], expected["native"]), steps
    own = read_run(trained).counts()
    assert np.array_equal(found.input[2], own.input)  # steps=10 is how it was trained
    assert not np.array_equal(found.input[0], found.input[2])


def test_images_are_encoded_once_for_all_values(made: Path, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[int] = []
    whole = InferenceModel.encode
    monkeypatch.setattr(
        InferenceModel, "encode", lambda self, images: encoded.append(len(images)) or whole(self, images)
    )
    sweep(trained, "steps", STEPS)
    table = make_plan(tiny_request(made, method="biopt")).table
    images = {*table.queries, *(i for ways in table.supports for way in ways for i in way)}
    assert sum(encoded) == len(images) + 2 * len(STEPS)  # and one image twice a value, to compare features


def test_a_stopped_sweep_goes_on(trained: Path) -> None:
    whole = sweep(trained, "steps", STEPS).read_text().splitlines()[1:]
    path = trained / "sweep-steps.jsonl"
    kept = path.read_text()[: len(path.read_text()) // 2]  # ends within a line
    path.write_text(kept)
    progress = Watched()
    assert sweep(trained, "steps", STEPS, progress=progress) == path
    assert path.read_text().splitlines()[1:] == whole
    assert 0 < len(progress.notes["evaluate"]) < len(whole)
    again = Watched()
    sweep(trained, "steps", STEPS, progress=again)
    assert not again.notes


def test_other_values_are_another_sweep_and_the_earlier_one_is_kept(trained: Path) -> None:
    before = sweep(trained, "steps", ["1"]).read_text()
    sweep(trained, "steps", ["0", "1", "1"])
    found = find_sweep(read_run(trained), "steps")
    assert found is not None
    assert found.values == (0, 1)
    assert (trained / "sweep-steps.jsonl.old-1").read_text() == before


@pytest.mark.parametrize(
    ("switch", "values", "told"),
    [
        ("stepps", ["1"], "unknown switch of biopt 'stepps'. Did you mean 'steps'"),
        ("steps", ["few"], "steps=few is not a whole number"),
        ("steps", ["-1"], "steps is -1; it must be at least 0"),
        ("steps", [], "no values of steps"),
    ],
)
def test_switches_that_do_not_exist_and_wrong_values(trained: Path, switch: str, values: list[str], told: str) -> None:
    with pytest.raises(UserError, match=told):
        sweep(trained, switch, values)


OWN = '''
"""A head with a switch for each mistake."""
from dataclasses import dataclass
import torch
from torch import nn
from fsseg_bench.method import Method
from fsseg_bench.recipe import Recipe

class Own(Method):
    @dataclass(frozen=True)
    class Switches:
        gain: float = 1.0
        width: int = 1
        bias: float = 0.0
    def __init__(self, backbone, switches):
        super().__init__(backbone, switches)
        self.extra = nn.Parameter(torch.ones(switches.width))
    def encode(self, images):
        return self.backbone(images) * self.switches.gain
    def predict(self, episode):
        own = episode.query.mean(dim=1, keepdim=True)
        return torch.cat([own.mean().expand_as(own), own + self.switches.bias], dim=1)
    def loss(self, episode):
        return {"loss": self.extra.sum()}
    @classmethod
    def recipe(cls, protocol, shot):
        return Recipe(iterations=0, batch=1, lr=0.1)
'''


def test_switches_that_change_features_or_parameters_are_refused(tmp_path: Path) -> None:
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "own_head.py").write_text(OWN)
    folder = finish(tiny_request(tmp_path, method="own-head", methods_path=str(tmp_path / "methods")))
    with pytest.raises(UserError, match=r"gain=2.0 changes the features of own-head"):
        sweep(folder, "gain", ["1", "2"])
    with pytest.raises(UserError, match="width=2 changes the parameters of own-head"):
        sweep(folder, "width", ["2"])
    sweep(folder, "bias", ["0", "0.5"])
    found = find_sweep(read_run(folder), "bias")
    assert found is not None
    assert found.input[1, :, :, 1].sum() > found.input[0, :, :, 1].sum()  # a positive bias predicts more foreground


def test_changed_code_is_accepted_when_the_counts_come_out_again(
    trained: Path, changed_code: pytest.MonkeyPatch
) -> None:
    sweep(trained, "steps", ["1"])
    found = find_sweep(read_run(trained), "steps")
    assert found is not None
    assert found.values == (1, 10)  # the run's own value was evaluated too, and compared
    (trained / "sweep-steps.jsonl").unlink()
    whole_head = sweeping._head
    changed_code.setattr(
        sweeping, "_head", lambda plan, base, switch, value: whole_head(plan, base, switch, 0 if value == 10 else value)
    )
    with pytest.raises(UserError, match=r"the code has changed since the run was made, and episode \d+ comes out"):
        sweep(trained, "steps", ["1"])


def test_the_file_says_what_it_is(trained: Path) -> None:
    header, *rows = read_lines(sweep(trained, "steps", ["1"]))
    assert (header["sweep"], header["values"]) == ("steps", [1])
    assert header["identity"] == read_run(trained).info.identity
    assert header["provenance"]["packages"]["torch"]
    assert len(rows) == 12


@pytest.fixture
def baseline(made: Path, tmp_path: Path) -> Path:
    return finish(tiny_request(made, out=str(tmp_path / "out")))


def test_predictions_are_those_that_were_counted(trained: Path, baseline: Path) -> None:
    """Against the recorded counts, and the labels that the runs stored."""
    plan = open_run(trained).plan
    found = predicted_labels({trained: [0, 7], baseline: [7]})
    assert found.keys() == {(trained, 0), (trained, 7), (baseline, 7)}
    for (folder, episode), labels in found.items():
        run = read_run(folder)
        truth = query_label(plan.source, plan.table.queries[episode], plan.table.classes[episode], 64)
        assert np.array_equal(counted(labels, truth, 1), run.counts().input[episode])
        stored = stored_predictions(run, [episode])
        assert stored is not None
        assert np.array_equal(stored[episode], labels)


def test_each_run_is_opened_once(trained: Path, baseline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders: list[Path] = []
    whole = opening.read_run
    monkeypatch.setattr(opening, "read_run", lambda folder: folders.append(folder) or whole(folder))
    predicted_labels(dict.fromkeys((trained, baseline), (0, 1, 2)))
    assert sorted(folders) == sorted([trained, baseline])


def test_changed_code_shows_nothing_that_was_not_counted(trained: Path, changed_code: pytest.MonkeyPatch) -> None:
    assert len(predicted_labels({trained: [0]})) == 1
    changed_code.setattr(
        "fsseg_bench.engine.counts.F.interpolate", lambda scores, size, **_: -scores.new_ones(1, 1, *size)
    )
    with pytest.raises(UserError, match="the code has changed since the run was made, and episode 0 comes out"):
        predicted_labels({trained: [0]})


def test_on_a_gpu_an_episode_is_predicted_in_the_chunk_that_was_counted(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BACKENDS, "cpu", Beside())
    folder = finish(tiny_request(made, out=str(tmp_path / "out"), head_batch=5))
    assert read_run(folder).info.timings.head_batch == 5
    together: list[tuple[int, ...]] = []
    whole = InferenceModel.predict
    monkeypatch.setattr(
        InferenceModel, "predict", lambda self, episode: together.append(episode.seeds) or whole(self, episode)
    )
    found = predicted_labels({folder: [0, 7, 11]})
    table = open_run(folder).plan.table
    assert together == [tuple(map(table.seed, chunk)) for chunk in (range(5), range(5, 10), range(10, 12))]
    stored = stored_predictions(read_run(folder), [0, 7, 11])
    assert stored is not None
    assert all(np.array_equal(found[folder, i], stored[i]) for i in (0, 7, 11))


def test_what_a_gpu_rounds_otherwise_is_told(trained: Path, changed_code: pytest.MonkeyPatch) -> None:
    """A head that decides a pixel otherwise than recorded."""
    edit_info(trained, device="cuda:0: NVIDIA H200")
    plan = open_run(trained).plan
    labels = [query_label(plan.source, q, c, 64) for q, c in zip(plan.table.queries, plan.table.classes, strict=True)]
    y, x = np.argwhere((np.stack(labels) != VOID).all(axis=0))[0].tolist()
    whole = InferenceModel.predict

    def rounded(self: InferenceModel, episode: Episode) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        logits, diagnostics = whole(self, episode)
        logits = torch.nn.functional.interpolate(logits, (64, 64), mode="bilinear", align_corners=False)
        logits[:, :, y, x] = logits[:, :, y, x].flip(1)
        return logits, diagnostics

    changed_code.setattr(InferenceModel, "predict", rounded)
    changed_code.setattr(opening, "_GPU_SHARE", 0.01)  # a logit turned over weighs more than what rounding does
    told: list[str] = []
    predicted_labels({trained: [0]}, say=told.append)
    assert len(told) == 1
    assert "up to 1 pixel(s) of an episode are predicted otherwise than recorded" in told[0]
    progress = Watched()
    sweep(trained, "steps", ["10"], progress=progress)
    assert any("pixel(s) of an episode are predicted otherwise" in line for line in progress.said)
