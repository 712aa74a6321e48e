import math
from pathlib import Path

import pytest

import fsseg_bench
from fsseg_bench.errors import UserError
from tests.support.paper import paper_runs


def test_the_paper_s_shape(tmp_path: Path) -> None:
    paper_runs(tmp_path, 40, method="panet", backbone="vgg16")
    frame = fsseg_bench.table(1, tmp_path)
    assert frame.index.names == ["backbone", "method"]
    assert len(frame) == 16
    panet = frame.loc[("VGG-16", "PANet")]
    assert panet["1-shot", "mean", "published"] == 48.10
    assert panet["1-shot", "mean", "measured"] == pytest.approx(41.5)
    assert panet["1-shot", "mean", "difference"] == pytest.approx(-6.6)
    assert math.isnan(panet["5-shot", "fold 1", "measured"])


def test_notes_say_which_number_they_concern() -> None:
    frame = fsseg_bench.table("2")
    assert frame.index.names == ["protocol", "backbone", "method"]
    notes = {(row, column): text for row, column, text in frame.attrs["notes"]}
    assert "23.65" in notes[("coco20i-b", "ResNet-101", "FWB"), ("5-shot", "mean", "published")]
    assert "swaps the letters" in frame.attrs["remarks"][0]


def test_without_a_results_folder_only_published_numbers(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    frame = fsseg_bench.table(3)
    assert frame.xs("measured", axis=1, level=2).isna().all(axis=None)
    assert frame.xs("published", axis=1, level=2).notna().all(axis=None)
    with pytest.raises(UserError, match="no such results folder"):
        fsseg_bench.table(3, tmp_path / "none")


def test_skipped_records_are_named_and_subsets_counted(tmp_path: Path) -> None:
    paper_runs(tmp_path)
    assert fsseg_bench.table(1, tmp_path, episodes=5, resolution="native").attrs["skipped"] == []
    assert len(fsseg_bench.table(1, tmp_path, episodes=6).attrs["skipped"]) == 4


def test_an_unknown_table() -> None:
    with pytest.raises(UserError, match="unknown table '6'"):
        fsseg_bench.table(6)
