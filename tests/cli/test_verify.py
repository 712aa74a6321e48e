"""``fsseg-bench verify``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fsseg_bench.cli.main import main
from tests.support.fresh import python
from tests.support.runs import edit_info, write_run, write_training


def verify(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(["verify", *map(str, arguments)])
    return int(stop.value.code or 0), *capsys.readouterr()


def test_good_records_and_a_changed_one(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    good, changed = (write_training(write_run(tmp_path, fold=fold)) for fold in (1, 2))
    code, out, _ = verify(capsys, good)
    assert (code, out) == (
        0,
        f"ok    {good}: mean-IoU 58.33 %, binary-IoU 69.20 % (input size), counted again: as in tables\n"
        "  not compared: episodes.csv: is not there, as in records of early versions: its classes and images were not "
        "compared\n  not compared: protocol: 'toy' is no protocol of this package; its rules were not compared\n",
    )
    edit_info(changed, scores={"input": {"mean_iou": 0.7}})
    code, out, _ = verify(capsys, tmp_path)
    assert code == 1
    assert f"WRONG {changed}\n" in out
    assert "\n  WRONG scores: mean_iou at input size is 58.3333 % by the counts; run.json says" in out
    assert out.endswith("1 of 2 records differ from what was recorded\n")
    code, out, _ = verify(capsys, good, changed / "run.json", "--json")
    assert code == 1
    assert [all(part["good"] for part in parts) for parts in json.loads(out).values()] == [True, False]
    code, out, _ = verify(capsys, good, "--parts")
    assert "\n  ok    episodes.jsonl: 2 episodes, as they were counted\n" in out


def test_mistakes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert verify(capsys)[0] == 2
    assert "no such folder; give a run's folder" in verify(capsys, tmp_path / "nowhere")[2]
    assert "holds no record" in verify(capsys, tmp_path)[2]


def test_it_needs_no_torch(tmp_path: Path) -> None:
    folder = write_run(tmp_path)
    code = f"from fsseg_bench.cli.main import main\ntry: main(['verify', '{folder}'])\nexcept SystemExit: pass\n"
    assert python(code + "import sys; print('torch' in sys.modules)").split()[-1] == "False"
