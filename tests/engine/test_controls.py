"""Controls of finished runs: methods whose answers are known by hand, one cache for all, and files that go on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fsseg_bench.data.loading import query_label, support_mask
from fsseg_bench.engine.controls import measure_controls
from fsseg_bench.engine.inference import InferenceModel
from fsseg_bench.engine.plan import Plan, make_plan
from fsseg_bench.errors import UserError
from fsseg_bench.protocol.controls import MASKS
from fsseg_bench.records.controls import StoredControls, find_controls
from fsseg_bench.records.read import read_run
from fsseg_bench.report.controls import readings
from fsseg_bench.report.select import select
from tests.support.tiny_run import Watched, finish, tiny_request

FILES = {
    "blind": '''
"""Looks at the query alone."""
import torch
from fsseg_bench.method import TrainingFree

class Blind(TrainingFree):
    def predict(self, episode):
        own = episode.query.mean(dim=1, keepdim=True)
        return torch.cat([own.mean(dim=(2, 3), keepdim=True).expand_as(own), own], dim=1)
''',
    "copyist": '''
"""Says of the query what the support's mask says of the support."""
import torch
from fsseg_bench.method import TrainingFree

class Copyist(TrainingFree):
    def predict(self, episode):
        found = (episode.support_masks[:, 0, 0] == 1).float()
        return torch.stack([1 - found, found], dim=1)
''',
    "masked": '''
"""Its features are the support's mask: it divides by the mask's pixels."""
import torch
from fsseg_bench.method import TrainingFree

class Masked(TrainingFree):
    mask_enters_encoder = True
    def encode_support(self, images, masks):
        return self.backbone(images) * 0 + (masks == 1).float().mean(dim=(1, 2))[:, None, None, None]
    def predict(self, episode):
        share = episode.support[:, 0, 0].mean(dim=1, keepdim=True)
        return torch.cat([0.5 * share / share, share], dim=1)
''',
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with finished runs of the three methods, and their controls; the last ones refuse an empty mask."""
    folder = tmp_path_factory.mktemp("controls")
    (folder / "methods").mkdir()
    for name, text in FILES.items():
        (folder / "methods" / f"{name}.py").write_text(text)
        measure_controls(finish(request(folder, name)))
    return folder


def request(folder: Path, method: str, **changes: object):
    return tiny_request(folder, method=method, methods_path=str(folder / "methods"), iterations=None, **changes)


def run_of(folder: Path, method: str) -> Path:
    (found,) = (path.parent for path in (folder / "runs").glob(f"*/{method}*/*/*/run.json"))
    return found


def controls_of(folder: Path, method: str) -> StoredControls:
    stored = find_controls(read_run(run_of(folder, method)))
    assert stored is not None
    return stored


def reading(folder: Path, method: str):
    (contender,) = select([str(run_of(folder, method))], folder, {}).contenders
    return readings([contender])[1][0]


def test_who_ignores_the_support_uses_it_by_nothing(made: Path) -> None:
    own = read_run(run_of(made, "blind")).counts()
    stored = controls_of(made, "blind")
    for name, control in stored.by_name.items():
        if name != "absent":
            assert np.array_equal(control.counts, own.input[control.episodes]), name
    absent = stored.by_name["absent"]
    assert np.array_equal(absent.counts[:, 0], own.input.sum(axis=1)[absent.episodes])  # as much, and all of it wrong
    found = reading(made, "blind")
    assert found.use.value == 0
    assert found.controls["shifted"] == found.own
    assert found.components is not None
    assert found.components.query.share == pytest.approx(1)
    assert found.components.support.share == pytest.approx(0)


def test_who_copies_the_mask_gives_counts_that_masks_alone_tell(made: Path) -> None:
    plan = make_plan(request(made, "copyist"))
    size, rolled = 64, (32, 32)
    for name, control in controls_of(made, "copyist").by_name.items():
        for i, c, supports, counts in zip(
            control.episodes, control.classes.tolist(), control.supports, control.counts, strict=True
        ):
            mask = support_mask(plan.source, supports[0], (c,), 1, size)
            shown = mask == 1
            if name in MASKS:
                assert supports == plan.table.supports[i][0]
                changed = {"empty": shown & False, "whole": mask != 255, "shifted": np.roll(shown, rolled, (0, 1))}
                shown = changed[name]
            truth = query_label(
                plan.source, plan.table.queries[i], (c,) if name == "absent" else plan.table.classes[i], 64
            )
            expected = [[int((shown[truth == label] == said).sum()) for said in (False, True)] for label in (0, 1)]
            assert counts.tolist() == expected, (name, i)


def test_the_first_line_says_how_it_was_made_and_nothing_of_the_machine(made: Path) -> None:
    first = json.loads((run_of(made, "copyist") / "controls.jsonl").read_text().splitlines()[0])
    assert first["device"].startswith("cpu")
    assert first["provenance"]["packages"]["numpy"] == np.__version__
    assert not {"host", "process", "job"} & first["provenance"].keys()


def test_queries_and_classes_are_those_that_were_promised(made: Path) -> None:
    plan = make_plan(request(made, "copyist"))
    stored = controls_of(made, "copyist")
    wrong, absent = stored.by_name["wrong"], stored.by_name["absent"]
    assert all(c != plan.table.classes[i][0] for i, c in zip(wrong.episodes, wrong.classes, strict=True))
    for query, c in zip(absent.queries, absent.classes.tolist(), strict=True):
        assert not (plan.source.class_masks(query, (c,)) == 1).any()
    assert stored.draws == len(stored.drawn) == 4


def test_a_mask_that_enters_the_encoder_is_encoded_anew_and_an_empty_one_may_be_refused(made: Path) -> None:
    found = controls_of(made, "masked").by_name
    assert "logits are not finite" in found["empty"].refused  # 0 / 0
    assert found["whole"].counts[:, :, 0].sum() == 0  # share 1 is above 0.5 / 1
    assert found["shifted"].counts[:, :, 1].sum() == 0
    assert reading(made, "masked").refused.keys() == {"empty"}


def test_images_are_encoded_once_for_all_controls(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = run_of(made, "copyist")
    (folder / "controls.jsonl").unlink()
    encoded: list[int] = []
    whole = InferenceModel.encode
    monkeypatch.setattr(
        InferenceModel, "encode", lambda self, images: encoded.append(len(images)) or whole(self, images)
    )
    measure_controls(folder)
    stored = controls_of(made, "copyist")
    images = {
        image
        for one in stored.by_name.values()
        for query, supports in zip(one.queries, one.supports, strict=True)
        for image in (query, *supports)
    }
    assert sum(encoded) == len(images)


def test_what_is_there_is_taken_and_what_was_stopped_goes_on(made: Path) -> None:
    folder = run_of(made, "blind")
    path = folder / "controls.jsonl"
    whole = path.read_bytes()
    again = Watched()
    measure_controls(folder, progress=again)
    assert not again.notes
    lines = whole.splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:20]) + lines[20][:30])  # ends within a line of the third control
    assert find_controls(read_run(folder)) is None
    progress = Watched()
    measure_controls(folder, progress=progress)
    assert path.read_bytes().splitlines()[1:] == whole.splitlines()[1:]
    assert sum(map(len, progress.notes.values())) == len(lines) - 20
    assert next(iter(progress.notes)) == "empty (3 of 9)"


def test_other_draws_are_other_controls_and_edited_ones_are_made_again(made: Path) -> None:
    folder = run_of(made, "masked")
    path = folder / "controls.jsonl"
    before = path.read_bytes()
    measure_controls(folder, draws=2)
    assert (folder / "controls.jsonl.old-1").read_bytes() == before
    assert controls_of(made, "masked").draws == 2
    path.write_bytes(before.replace(b'"control":"wrong"', b'"control":"right"', 1))
    progress = Watched()
    measure_controls(folder, progress=progress)
    assert "is damaged" in progress.said[0] or "was edited" in progress.said[0]
    assert path.read_bytes().splitlines()[1:] == before.splitlines()[1:]


def test_changed_code_must_give_the_recorded_counts(made: Path, changed_code: pytest.MonkeyPatch) -> None:
    folder = run_of(made, "copyist")
    (folder / "controls.jsonl").unlink(missing_ok=True)
    measure_controls(folder, draws=2)
    assert controls_of(made, "copyist").draws == 2
    (folder / "controls.jsonl").unlink()
    predict = InferenceModel.predict

    def other(self, episode):
        logits, diagnostics = predict(self, episode)
        return logits.flip(1), diagnostics

    changed_code.setattr(InferenceModel, "predict", other)
    with pytest.raises(UserError, match="the code has changed since the run was made"):
        measure_controls(folder)
    assert not (folder / "controls.jsonl").exists()


def test_several_ways_are_refused(made: Path) -> None:
    plan: Plan = make_plan(request(made, "copyist", way=2))
    from fsseg_bench.engine.controls import controls_of as made_of

    with pytest.raises(UserError, match="controls are of 1-way episodes, and this run is 2-way"):
        made_of(plan, 4)
