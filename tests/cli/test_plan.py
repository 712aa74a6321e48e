"""``run --dry-run``: for people and for programs, with and without data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fsseg_bench.cli.main import main
from tests.cli.test_main import TINY, call, data
from tests.support.options import changed

__all__ = ["data"]  # a fixture


def asked(data: Path, *more: object, method: str = "baseline") -> tuple[object, ...]:
    options = ("--method", method, "--dataset", data / "tiny.toml", "--fold", "1,2", *TINY)
    return ("run", *changed(options, *more))


def test_runs_what_is_left_of_them_and_where_their_records_are(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*asked(data, "--fold", "1")) == 0
    capsys.readouterr()
    before = sorted((data / "here").rglob("*"))
    assert call(*asked(data, "--dry-run")) == 0
    out, err = capsys.readouterr()
    assert sorted((data / "here").rglob("*")) == before
    assert err == ""
    assert out.startswith("baseline on tiny-voc, 1-way 1-shot, folds 1, 2: 2 runs, 1 done\n")
    first, second = [line for line in out.splitlines() if line.startswith("| baseline")]
    (record,) = (data / "here").glob("results/runs/*/*/*/*")
    assert "nothing: done" in first
    assert record.name in first
    assert "12 episodes" in second
    assert "fold2-seed0-" in second
    assert "Records are in results/runs/tiny-voc/baseline-resnet18-layer2/1way-1shot." in out
    assert "Estimate" not in out  # so little is not worth it


def test_all_settings_with_v(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*asked(data, "--dry-run", "-v", "--method", "biopt", "--set", "recipe.lr=0.5")) == 0
    out = capsys.readouterr().out
    assert "| setting" in out
    (line,) = [line for line in out.splitlines() if line.startswith("| recipe.lr ")]
    assert [cell.strip() for cell in line.split("|")[2:4]] == ["0.5", "0.5"]
    assert "| switches.inner\\_grad " in out
    assert "warning: tiny-voc fold 1" in out


def test_one_valid_document_for_all_folds(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*asked(data, "--dry-run", "--json", "--seeds", "0,1")) == 0
    out, err = capsys.readouterr()
    assert err == ""
    found = json.loads(out)
    assert [(run["fold"], run["seed"], run["status"]) for run in found["runs"]] == [
        (1, 0, "new"),
        (2, 0, "new"),
        (1, 1, "new"),
        (2, 1, "new"),
    ]
    assert all(run["left"] == {"train": 0, "evaluate": 12} for run in found["runs"])
    assert all(run["record"].endswith(run["identity"][:8]) for run in found["runs"])
    assert found["runs"][0]["settings"]["switches"]["map_res"] == "adjoint"
    assert found["estimate"] is None
    assert found["not_here"] == []
    assert any(note.startswith("warning: tiny-voc fold 1") for note in found["notes"])
    # what the plan says is what comes
    assert call(*asked(data)) == 0
    records = {path.name for path in (data / "here").glob("results/runs/*/*/*/*")}
    assert records == {Path(run["record"]).name for run in found["runs"][:2]}


@pytest.mark.slow
def test_an_estimate(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ("--episodes", "100", "--dry-run")
    assert call(*asked(data, *more)) == 0
    out, err = capsys.readouterr()
    assert err == "measuring a few steps on made-up images ...\n"
    assert "Estimate of the time" in out
    assert "Not in it: reading and decoding images" in out
    assert call(*asked(data, *more, "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["estimate"]["seconds"] == pytest.approx(sum(run["seconds"] for run in found["runs"]))
    assert found["estimate"]["seconds"] > 0
    assert found["estimate"]["memory_bytes"] > 2**20
    assert call(*asked(data, *more, "--no-estimate")) == 0
    assert "Estimate" not in capsys.readouterr().out


def test_no_data_are_needed_to_see_what_would_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FSSEG_DATA", raising=False)
    arguments = ("run", "--method", "panet", "--dataset", "pascal5i", "--backbone", "resnet18-layer2")
    arguments = (*arguments, "--weights", "none", "--no-estimate", "--fold", "1,2")
    assert call(*arguments, "--dry-run") == 0
    out = capsys.readouterr().out
    assert "not here: the data of pascal5i were not found. Looked in: nowhere" in out
    assert "| panet    | 1      | 30,000 training steps, 1,000 episodes | -" in out
    assert call(*arguments, "--dry-run", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["not_here"]) == 1
    assert [run["record"] for run in found["runs"]] == [None, None]
    assert "episode_digest" not in found["runs"][0]["settings"]
    assert found["runs"][0]["settings"]["recipe"]["iterations"] == 30_000
    (tmp_path / "theirs-1.csv").write_text("class_1,query,support_1_1\n1,a,b\n2,c,d\n")
    (tmp_path / "theirs-2.csv").write_text("class_1,query,support_1_1\n6,a,b\n")
    assert call(*arguments, "--dry-run", "--json", "--episodes", "theirs-{fold}.csv") == 0
    assert [run["left"]["evaluate"] for run in json.loads(capsys.readouterr().out)["runs"]] == [2, 1]
    assert call(*arguments) == 2
    assert "the data of pascal5i were not found" in capsys.readouterr().err
    assert call(*arguments, "--dry-run", "--set", "recipe.learning=1") == 2  # a mistake is one without data, too
    assert "unknown recipe key 'learning'" in capsys.readouterr().err


def test_published_weights_that_are_not_here(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def offline(url: str, *_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    monkeypatch.setattr("fsseg_bench.nn.weight_files.weights_folders", lambda: (data,))
    given = [part for part in asked(data, "--dry-run", "--json") if part not in {"--weights", "none"}]
    with pytest.raises(SystemExit) as stop:
        main([*map(str, given)])
    assert not stop.value.code
    found = json.loads(capsys.readouterr().out)
    (told,) = found["not_here"]
    assert "cannot download resnet18" in told
    assert found["runs"][0]["settings"]["weights"] == "ResNet18_Weights.IMAGENET1K_V1"
    assert found["runs"][0]["identity"] is None
