"""``fsseg-bench reproduce``."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from fsseg_bench.cli.main import main
from tests.support.tiny_run import finish, tiny_request


def reproduce(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    with pytest.raises(SystemExit) as stop:
        main(["reproduce", *map(str, arguments)])
    return int(stop.value.code or 0), capsys.readouterr().out


def test_it_says_identical_or_what_differs(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = finish(tiny_request(tmp_path))
    code, out = reproduce(capsys, folder, "--dry-run")
    assert code == 0
    assert "same  settings: all others of the run\n" in out
    assert not (tmp_path / "results").exists()
    code, out = reproduce(capsys, folder / "run.json")
    assert code == 0
    *_, verdict, record = out.splitlines()
    assert verdict == "identical"
    assert record.startswith("record: results/reproduced/tiny-voc/")
    for mask in (tmp_path / "tiny-voc").rglob("SegmentationClass/*.png"):
        Image.open(mask).transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(mask)
    code, out = reproduce(capsys, folder, "--out", "other")
    assert code == 1
    assert "OTHER test images or masks: " in out
    assert "OTHER mean-IoU: " in out
    assert "\nnot identical, though not all is as it was: " in out
