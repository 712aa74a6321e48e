"""``fsseg-bench show``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fsseg_bench.cli.main import main
from tests.support.fresh import python
from tests.support.packs import packed
from tests.support.runs import edit_info, write_run


def show(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    with pytest.raises(SystemExit) as stop:
        main(["show", *map(str, arguments)])
    out, err = capsys.readouterr()
    return out if stop.value.code == 0 else f"{stop.value.code}: {err}"


def test_a_method(capsys: pytest.CaptureFixture[str]) -> None:
    out = " ".join(show(capsys, "panet").split())
    for part in (
        "method panet",
        "Kaixin Wang et al., ICCV 2019",
        "ways any number",
        "untrained works",
        "backbone vgg16, as published",
        "align_weight 1.0 number Weight of the alignment loss",
        "Recipe on pascal5i, 1-shot",
        "recipe.milestones 10000,20000 the authors' code",
        "recipe with shapes5i: iterations=150",
    ):
        assert part in out
    assert "Recipe on shapes5i, 5-shot" in show(capsys, "panet", "--dataset", "shapes5i", "--shot", 5)


def test_a_method_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    facts = json.loads(show(capsys, "fwb", "--json"))
    assert facts["needs_grad_at_test"] is True
    assert facts["card"]["untrained"] is False
    assert {"name": "steps", "default": "10"}.items() <= next(
        switch for switch in facts["switches"] if switch["name"] == "steps"
    ).items()


def test_neither_needs_torch(tmp_path: Path) -> None:
    folder = write_run(tmp_path)
    for what in ("biopt", folder):
        code = f"from fsseg_bench.cli.main import main\ntry: main(['show', '{what}'])\nexcept SystemExit: pass\n"
        assert python(code + "import sys; print('torch' in sys.modules)").split()[-1] == "False"


def test_a_folder_that_is_called_as_a_method_is_not_taken_for_a_record(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bam").mkdir()
    monkeypatch.chdir(tmp_path)
    assert "Learning What Not to Segment" in " ".join(show(capsys, "bam").split())


def test_a_record(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = write_run(tmp_path, fold=2, method="panet")
    out = " ".join(show(capsys, folder).split())
    assert "fold 2 of 4, 1-way 1-shot" in out
    assert "status done" in out
    assert "to repeat it, from any folder: fsseg-bench run --method" in out
    facts = json.loads(show(capsys, folder / "run.json", "--json"))
    assert facts["method"] == "panet"
    score = facts["scores"]["input"]["mean-IoU"]
    assert score["iou"] == pytest.approx(100 * (20 / 40 + 20 / 30) / 2)


def test_a_record_that_was_made_on_two_kinds_of_device(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = write_run(tmp_path)
    earlier = json.loads((folder / "run.json").read_text())["provenance"] | {"device": "cpu: model A"}
    entries = [{"time": "now", "changed": [], "device": device} for device in ("cpu: model A", "card B")]
    edit_info(folder, provenance=earlier, resumed=entries[:1])
    assert "made on" not in show(capsys, folder)
    edit_info(folder, resumed=entries)
    assert "cpu: model A, then card B: other devices round otherwise" in " ".join(show(capsys, folder).split())
    assert json.loads(show(capsys, folder, "--json"))["devices"] == ["cpu: model A", "card B"]
    with pytest.raises(SystemExit):
        main(["list", "runs", "--results", str(tmp_path)])
    assert "done, on 2 kinds of device" in " ".join(capsys.readouterr().out.split())


def test_mistakes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "2: error: unknown method 'panett'. Did you mean 'panet'" in show(capsys, "panett")
    assert show(capsys, tmp_path / "nowhere").startswith("2: error: ")
    assert show(capsys, tmp_path).startswith("2: error: ")
    folder = write_run(tmp_path)
    assert "report --pack" in show(capsys, packed(tmp_path, tmp_path / "a.zip"))
    (folder / "episodes.jsonl").write_text("")
    assert "episodes.jsonl" in show(capsys, folder)
