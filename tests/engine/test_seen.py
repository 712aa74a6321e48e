"""What a run's record says of what was seen: by cards, by the user, and of evaluated checkpoints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fsseg_bench.engine.plan import make_plan
from fsseg_bench.engine.predict.predictor import Predictor
from fsseg_bench.errors import UserError
from fsseg_bench.nn.backbones import build_backbone
from fsseg_bench.records.read import read_run
from fsseg_bench.report.seen import marks, seen_of_run
from fsseg_bench.seen import OF_WEIGHTS, UNKNOWN, Seen
from tests.support.tiny_run import finish, tiny_request

SAID = {"weights.supervision": "masks", "weights.pretraining_data": "of mine", "weights.novel_classes": "by masks"}


def test_a_record_says_what_was_seen(tmp_path: Path) -> None:
    request = tiny_request(tmp_path, method="biopt", settings={"steps": "2"})
    stored = read_run(finish(request))
    expected = Seen(
        supervision="none",
        pretraining_data="none",
        novel_classes="no",
        transductive="own query",
        test_time_training="prototypes, 2 gradient steps on the query's own predictions",
        extra_data="none",
    )
    assert stored.info.seen == vars(expected)
    assert seen_of_run(stored) == expected
    with pytest.raises(UserError, match="weights none it is known to be none; leave it out"):
        make_plan(replace(request, settings={"steps": "2", **SAID}))


def test_what_the_user_says_of_a_file_is_no_part_of_the_identity(tmp_path: Path) -> None:
    backbone = build_backbone("resnet18-layer2")
    torch.save(backbone.state_dict(), tmp_path / "mine.pth")
    request = tiny_request(tmp_path, weights=str(tmp_path / "mine.pth"))
    silent, said = make_plan(request), make_plan(replace(request, settings=SAID))
    assert set(silent.seen.of(OF_WEIGHTS).values()) == {UNKNOWN}
    assert said.seen.of(OF_WEIGHTS) == {name: SAID[f"weights.{name}"] for name in OF_WEIGHTS}
    assert said.settings.identity == silent.settings.identity


def test_of_a_checkpoint_the_weights_that_its_training_began_with(tmp_path: Path) -> None:
    trained = finish(tiny_request(tmp_path, iterations=1, settings={"recipe.batch": "1"}))
    evaluated = make_plan(tiny_request(tmp_path, iterations=None, eval_only=str(trained)))
    assert evaluated.trained is not None
    settings = evaluated.trained.settings
    assert settings is not None
    assert evaluated.seen.of(OF_WEIGHTS) == {"supervision": "none", "pretraining_data": "none", "novel_classes": "no"}
    elsewhere = replace(evaluated, trained=replace(evaluated.trained, settings=replace(settings, protocol="b")))
    assert elsewhere.seen.novel_classes == UNKNOWN  # its base classes may be held out here
    nothing = replace(evaluated, trained=replace(evaluated.trained, settings=None))
    assert set(nothing.seen.of(OF_WEIGHTS).values()) == {UNKNOWN}


def test_an_oracle_is_marked_whatever_its_card_says_and_has_no_photos_to_predict(tmp_path: Path) -> None:
    switches = {"stage.base.iterations": "0", "steps": "2"}
    request = tiny_request(tmp_path, method="repri", settings=switches)
    plan = make_plan(request)
    assert plan.seen.extra_data == "none"
    assert plan.method_remarks == ()
    run = finish(replace(request, settings={**switches, "truth": "proportions"}))
    (remark,) = read_run(run).info.remarks
    assert "true mask at test: an oracle" in remark
    seen = seen_of_run(read_run(run))
    assert seen.extra_data == "the query's true mask (an oracle, for diagnosis)"
    assert marks(seen)[-1] == f"extra data: {seen.extra_data}"
    with pytest.raises(UserError, match="repri with these switches reads the query's true mask"):
        Predictor(run)
