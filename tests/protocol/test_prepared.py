"""Protocols of the package whose lists of classes ``data prepare`` writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.find import builtin_protocols, prepared_protocols
from fsseg_bench.protocol.load import load_protocol


def written(root: Path, name: str = "lvis92i-1shot", more: str = "") -> Path:
    """As ``data prepare`` writes it, for 20 classes."""
    folder = root / name
    folder.mkdir(parents=True)
    names = [f"class {i}" for i in range(25)]
    (folder / "classes.txt").write_text("\n".join(names))
    (folder / "rest.txt").write_text("\n".join(names[20:]))
    for fold in range(10):
        (folder / f"fold{fold + 1}.txt").write_text("\n".join(names[fold:20:10]))
    (folder / "protocol.toml").write_bytes(prepared_protocols()[name].read_bytes() + more.encode())
    return folder / "protocol.toml"


def test_names_lead_to_what_was_prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not builtin_protocols().keys() & prepared_protocols().keys()
    monkeypatch.delenv("FSSEG_DATA", raising=False)
    with pytest.raises(UserError, match=r"FSSEG_DATA is not set; fsseg-bench data prepare lvis92i-1shot --root DIR"):
        load_protocol("lvis92i-1shot")
    monkeypatch.setenv("FSSEG_DATA", str(tmp_path))
    with pytest.raises(UserError, match=r"lvis92i-1shot/protocol\.toml is not there"):
        load_protocol("lvis92i-1shot")
    with pytest.raises(UserError, match=r"unknown dataset 'lvis92-1shot'. Did you mean 'lvis92i-1shot'"):
        load_protocol("lvis92-1shot")
    path = written(tmp_path)
    protocol = load_protocol("lvis92i-1shot")
    assert protocol.folds[2] == ("class 1", "class 11")
    assert len(protocol.base_classes(2)) == 23
    assert load_protocol(path).digest == protocol.digest


def test_it_is_the_packages_own_wherever_it_lies_until_it_is_changed(tmp_path: Path) -> None:
    """Images are counted as the papers counted them: copies are not looked for."""
    assert load_protocol(written(tmp_path / "here")).home is None
    changed = written(tmp_path / "there", more="# mine\n")
    assert load_protocol(changed).home == changed.parent
