import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fsseg_bench.cli.listing import list_
from fsseg_bench.errors import UserError
from tests.support.backbones import PLAIN, write_backbone
from tests.support.runs import write_run


def call(*arguments: object) -> Result:
    return CliRunner().invoke(list_, [str(a) for a in arguments])


def test_methods_come_from_their_cards(tmp_path: Path):
    (tmp_path / "own_method.py").write_text(
        '"""Own: sums it up.\n\ntitle: A [bold]paper[/bold]\nvenue: NoConf\nyear: 2031\nfidelity: parity\n"""\n'
        'raise RuntimeError("listing must not import methods")\n'
    )
    result = call("methods", "--methods-path", tmp_path)
    assert result.exit_code == 0
    line = next(line for line in result.stdout.splitlines() if line.startswith("own-method"))
    assert line.split()[:6] == ["own-method", "A", "[bold]paper[/bold]", "NoConf", "2031", "parity"]
    assert line.endswith("Own: sums it up.")
    for name in ("baseline", "panet", "biopt"):
        assert any(line.startswith(name) for line in result.stdout.splitlines())


def test_datasets():
    lines = call("datasets").stdout.splitlines()
    assert lines[0].split()[:2] == ["dataset", "version"]
    rows = {line.split()[0]: line for line in lines[1:]}
    assert rows["pascal5i"].split()[1:11] == ["1", "5", "+", "5", "+", "5", "+", "5", "417", "1000"]
    assert "20 + 20 + 20 + 20" in rows["coco20i-a"]


def test_backbones(tmp_path: Path):
    write_backbone(tmp_path, "two_steps")
    write_backbone(tmp_path, "broken", "1 / 0")
    reads = PLAIN.replace("(4, 8, 3,", "(4, 640, 3,").replace(
        "        if ", "        self.a.weight.sum().item()\n        if "
    )
    write_backbone(tmp_path, "reading", reads)  # cannot be built without numbers
    lines = call("backbones", "--backbones-path", tmp_path).stdout.splitlines()
    rows = {line.split()[0]: line.split() for line in lines}
    assert rows["resnet50"][1:6] == ["2048", "8", "23.5", "M", "ResNet50_Weights.IMAGENET1K_V1"]
    assert rows["two-steps"][1:] == ["8", "4", "408", "none", "a", "(2),", "b", "(4)"]
    assert rows["reading"][3:5] == ["24", "k"]
    (broken,) = (line for line in lines if line.startswith("broken"))
    assert "cannot be used: " in broken
    assert "ZeroDivisionError" in broken


def test_runs_with_status_and_skipped_ones(tmp_path: Path):
    folder = write_run(tmp_path)
    write_run(tmp_path, fold=2, seed=5, status="training")
    broken = write_run(tmp_path, fold=3)
    (broken / "run.json").write_text("{")
    result = call("runs", "--results", tmp_path)
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[1] == ["toy", "baseline", "resnet18", "1", "1", "1", "0", "done", str(folder.relative_to(tmp_path))]
    assert lines[2][5:8] == ["2", "5", "training"]
    assert result.stderr.startswith(f"skipped: {broken / 'run.json'}")


def test_no_runs(tmp_path: Path):
    result = call("runs", "--results", tmp_path)
    assert isinstance(result.exception, UserError)
    assert "holds no usable runs" in str(result.exception)


def test_an_unknown_kind_names_the_known_ones():
    result = call("metods")
    assert result.exit_code == 2
    assert "'methods', 'datasets', 'sources', 'backbones', 'tables', 'runs'" in result.stderr


def test_finished_runs_without_their_episodes_are_named_and_left_out(tmp_path: Path, capsys):
    cut, gone, _ = (write_run(tmp_path, fold=fold) / "episodes.jsonl" for fold in (1, 2, 3))
    cut.write_bytes(cut.read_bytes()[:-9])
    gone.unlink()
    list_.main(["runs", "--results", str(tmp_path)], standalone_mode=False)
    out, err = capsys.readouterr()
    assert out.count("done") == 1
    assert f"skipped: {cut}: changed since the run was done" in err
    assert f"skipped: {gone}: cannot be read" in err


@pytest.mark.parametrize("terminal", [True, False])
def test_hostile_names_neither_style_nor_steer_the_terminal(tmp_path: Path, monkeypatch, capsys, terminal: bool):
    write_run(tmp_path, method="[red]x[/red]\x1b[31m")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    list_.main(["runs", "--results", str(tmp_path)], standalone_mode=False)
    out = capsys.readouterr().out
    assert "[red]x[/red]\ufffd[31m" in out
    assert "\x1b[31m" not in out
    assert ("───" in out) == terminal


@pytest.mark.parametrize("what", ["methods", "datasets", "sources", "runs"])
def test_no_torch(tmp_path: Path, what: str):
    write_run(tmp_path)
    code = (
        "import sys; from fsseg_bench.cli.listing import list_; "
        "list_([sys.argv[1], '--results', sys.argv[2]], standalone_mode=False); "
        "assert not {'torch', 'pandas', *sys.argv[3:]} & set(sys.modules)"
    )
    without = [] if what in {"datasets", "sources"} else ["numpy"]  # a source is a class that reads images
    subprocess.run([sys.executable, "-c", code, what, str(tmp_path), *without], check=True, capture_output=True)
