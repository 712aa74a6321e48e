"""``fsseg-bench episodes``: drawing, importing, and replaying what was imported."""

from __future__ import annotations

from pathlib import Path

import pytest

from fsseg_bench.protocol.load import load_protocol
from fsseg_bench.protocol.table import EpisodeTable
from tests.cli.test_main import TINY, call
from tests.support.datasets import write_protocol, write_voc
from tests.support.foreign import Layout, written


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_voc(tmp_path / "tiny-voc", train=3, val=4)
    write_protocol(tmp_path / "tiny.toml", size=64, count=12, root="tiny-voc")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def episodes(*more: str | Path) -> int:
    return call("episodes", "--dataset", "tiny.toml", *more)


def theirs(data: Path, **changes: object) -> dict[int, EpisodeTable]:
    """Writes theirs.csv: all folds, counted from 0, names with a suffix; gives what it means."""
    tables = {}
    for fold in (1, 2, 3, 4):
        assert episodes("--fold", str(fold), "--episodes", "9", "--out", "own-{fold}.csv") == 0
        tables[fold] = EpisodeTable.from_csv(data / f"own-{fold}.csv")
    columns = {"fold": "fold", "episode": "episode", "class": "class", "query": "query", "supports": "support"}
    layout = Layout(columns, fold_base=0, class_base=0, image=lambda image: f"{image}.jpg")
    (data / "theirs.csv").write_text(written(tables, load_protocol(data / "tiny.toml"), layout))
    return tables


@pytest.mark.slow
def test_another_tools_list_is_imported_and_replayed(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All folds of one file, then one table with one mean, apart from the protocol's own."""
    tables = theirs(data)
    capsys.readouterr()
    assert call("run", "--method", "baseline", "--dataset", "tiny.toml", *TINY, "--episodes", "theirs.csv") == 2
    assert "`fsseg-bench episodes --import` reads other layouts" in capsys.readouterr().err
    assert episodes("--import", "theirs.csv", "--out", "in-{fold}.csv") == 0
    said = capsys.readouterr().err
    assert "column 'fold' counted from 0: 9 rows of fold 0 are fold 1, " in said
    assert "theirs.csv: removed the suffix of 72 image names (" in said
    for fold, table in tables.items():
        assert EpisodeTable.from_csv(data / f"in-{fold}.csv") == table
        assert f"sha256 {table.digest} in-{fold}.csv: 9 episodes of fold {fold}, 1-way 1-shot" in said
    assert call("run", "--method", "baseline", "--dataset", "tiny.toml", *TINY, "--episodes", "in-{fold}.csv") == 0
    table = capsys.readouterr().out
    assert table.count("tiny-voc\\[episodes.list=given\\]: mean-IoU") == 1
    (row,) = [line for line in table.splitlines() if line.startswith("| baseline")]
    assert "episodes in-\\{fold\\}.csv" in row
    assert "- |" not in row
    assert call("report", "--results", "results/runs", "--commands") == 0
    assert "--fold" not in capsys.readouterr().out


def test_one_fold_of_several_is_asked_for(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables = theirs(data)
    assert episodes("--import", "theirs.csv", "--out", "in.csv") == 2
    assert "holds episodes of the folds 1, 2, 3, 4, and a file holds those of one" in capsys.readouterr().err
    assert not (data / "in.csv").exists()
    assert episodes("--import", "theirs.csv", "--fold", "3") == 0
    assert capsys.readouterr().out == tables[3].text()
    assert episodes("--import", "own-3.csv", "--out", "again.csv") == 0
    assert "own-3.csv: is in the form of `run --episodes` already; nothing was changed" in capsys.readouterr().err
    assert (data / "again.csv").read_bytes() == (data / "own-3.csv").read_bytes()


def test_without_data(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables = theirs(data)
    (data / "tiny-voc").rename(data / "elsewhere")
    assert episodes("--import", "theirs.csv", "--fold", "2") == 2
    capsys.readouterr()
    assert episodes("--import", "theirs.csv", "--fold", "2", "--no-check") == 0
    captured = capsys.readouterr()
    assert captured.out == tables[2].text()
    assert "not compared with the data (--no-check)" in captured.err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--columns", "class,query,support"], "--columns needs --import"),
        (["--class-base", "0"], "--class-base needs --import"),
        (["--no-check"], "--no-check needs --import"),
        (["--import", "x.csv", "--episodes", "5"], "--episodes and --import exclude each other"),
        (["--import", "nowhere.csv"], "nowhere.csv: no such episode file"),
        (["--import", "tiny.toml"], "tiny.toml: line 1: "),
        (["--fold", "5"], "has no such fold; its folds are 1 to 4"),
        (["--class-scope", "some"], "some"),
    ],
)
def test_mistakes(data: Path, capsys: pytest.CaptureFixture[str], options: list[str], told: str) -> None:
    assert episodes(*options) == 2
    error = capsys.readouterr().err
    assert told in error
    assert "Traceback" not in error
