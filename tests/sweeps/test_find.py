from pathlib import Path

import pytest

from fsseg_bench.errors import UserError
from fsseg_bench.sweeps.find import find_sweep, sweeps_in
from tests.support.sweeps import cell, planned


def test_a_sweep_is_found_by_its_name_or_its_file(tmp_path: Path, monkeypatch) -> None:
    root, other = tmp_path / "runs", tmp_path / "other"
    folder = planned(root, [cell(root, "panet")], "shots")
    elsewhere = planned(other, [cell(other, "panet")], "shots")
    (root / "sweeps" / "unplanned").mkdir()
    text = f'out = "{root}"\n[common]\ndataset = "shapes5i"\n[grid]\nmethod = ["panet"]\n'
    (tmp_path / "shots.toml").write_text(text)
    assert find_sweep("shots", root) == folder
    assert find_sweep(tmp_path / "shots.toml") == folder
    assert find_sweep(str(tmp_path / "shots.toml"), other) == elsewhere
    monkeypatch.setenv("FSSEG_RESULTS", str(other))
    assert find_sweep("shots") == elsewhere
    assert sweeps_in(root) == [folder]
    with pytest.raises(UserError, match=r"unknown sweep 'shot'. Did you mean 'shots'\?"):
        find_sweep("shot", root)
    with pytest.raises(UserError, match="unknown sweep 'unplanned'"):
        find_sweep("unplanned", root)
    with pytest.raises(UserError, match=f"^{root}: unknown sweep 'elsewhere'.*--out FOLDER"):
        find_sweep("elsewhere", root)
    (tmp_path / "later one.toml").write_text(f'name = "later"\n{text}')
    with pytest.raises(UserError, match=r"sweep 'later' is not planned in .*; 'fsseg-bench sweep '.*later one.toml''"):
        find_sweep(tmp_path / "later one.toml")
