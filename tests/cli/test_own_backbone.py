"""A backbone from a user's folder: checked, trained, reported, opened again; nothing of the package is edited."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fsseg_bench.engine.open_run import open_model, open_run
from fsseg_bench.engine.plan import make_plan
from fsseg_bench.engine.run import execute
from fsseg_bench.errors import UserError
from tests.cli.test_main import call
from tests.support.backbones import EXAMPLE, PLAIN, write_backbone
from tests.support.tiny_run import tiny_request, tiny_training


def folder_with(folder: Path, text: str = PLAIN) -> str:
    folder.mkdir()
    return str(write_backbone(folder, "two_steps", text))


def test_a_run_and_what_is_opened_from_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = folder_with(tmp_path / "mine")
    request = tiny_request(
        tmp_path,
        backbone="two-steps",
        backbones_path=mine,
        iterations=2,
        settings=tiny_training(**{"recipe.freeze": "a"}),
    )
    record = execute(make_plan(request))
    assert open_model(record.folder).method.backbone.stages == ("a", "b")
    assert open_run(record.folder).plan.backbone == "two-steps"
    assert call("report", "--results", tmp_path / "runs", "--table", "runs", "--commands") == 0
    assert f"--backbones-path {mine}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ('Stage("b", 8, 16)', "backbone two-steps: stage b has stride 4, facts say 16; correct its facts .fsseg-bench"),
        ('Stage("b", 9, 4)', "backbone two-steps: stage b has 8 channels, facts say 9; correct its facts"),
    ],
)
def test_facts_that_are_not_true_stop_a_run(tmp_path: Path, facts: str, message: str) -> None:
    mine = folder_with(tmp_path / "mine", PLAIN.replace('Stage("b", 8, 4)', facts))
    with pytest.raises(UserError, match=message):
        make_plan(tiny_request(tmp_path, backbone="two-steps", backbones_path=mine))


def test_the_backbones_code_is_part_of_the_identity(tmp_path: Path) -> None:
    texts = {"one": PLAIN, "same": PLAIN + "# a comment\n", "other": PLAIN.replace("nn.ReLU()", "nn.GELU()")}
    digests = {}
    for name, text in texts.items():
        request = tiny_request(tmp_path, backbone="two-steps", backbones_path=folder_with(tmp_path / name, text))
        digests[name] = make_plan(request).settings.method_digest
    assert digests["one"] == digests["same"] != digests["other"]


def test_what_a_method_states_of_other_families_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = folder_with(tmp_path / "mine")
    assert call("check-method", "canet", "--backbone", "two-steps", "--backbones-path", mine) == 0
    expected = "canet states strides and dilations for ResNet alone; two-steps is used as it is listed"
    assert expected in capsys.readouterr().err


def test_there_are_no_imagenet_weights(tmp_path: Path) -> None:
    mine = folder_with(tmp_path / "mine")
    with pytest.raises(UserError, match="two-steps has no published ImageNet weights: use --weights none, or a file"):
        make_plan(tiny_request(tmp_path, backbone="two-steps", backbones_path=mine, weights="imagenet"))


@pytest.mark.slow
def test_the_example_is_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("check-backbone", "convnext-tiny", "--backbones-path", EXAMPLE) == 0
    assert "convnext-tiny: 13 of 13 contract tests passed" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("method", ["baseline", "panet", "biopt", "canet", "sgone", "pgnet"])
def test_methods_work_on_the_example(method: str) -> None:
    assert call("check-method", method, "--backbone", "convnext-tiny", "--backbones-path", EXAMPLE) == 0


@pytest.mark.slow
def test_the_example_trains_and_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_request(tmp_path)  # writes data and protocol
    options = [
        "--dataset",
        tmp_path / "tiny-voc.toml",
        "--fold",
        "1",
        "--backbone",
        "convnext-tiny",
        "--weights",
        "none",
    ]
    options += ["--backbones-path", EXAMPLE, "--iterations", "2", "--device", "cpu", "--panels", "0"]
    assert call("run", "--method", "baseline", *options, "--out", tmp_path / "runs") == 0
    (record,) = (tmp_path / "runs").rglob("run.json")
    assert json.loads(record.read_text())["settings"]["backbone"] == "convnext-tiny"
    capsys.readouterr()
    assert call("report", "--results", tmp_path / "runs", "--table", "runs") == 0
    assert "convnext-tiny" in capsys.readouterr().out


def test_levels_that_lack_a_stage_stop_a_run(tmp_path: Path) -> None:
    short = "    def levels(self, images, stages):\n        return super().levels(images, stages)[1:]\n"
    mine = folder_with(tmp_path / "mine", f"{PLAIN.rstrip()}\n\n{short}")
    with pytest.raises(UserError, match=r"levels\(\) gives 1 maps for 2 stages"):
        make_plan(tiny_request(tmp_path, backbone="two-steps", backbones_path=mine))
