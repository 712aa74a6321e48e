"""The command line as a user meets it: what it prints, and how it ends on every mistake."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fsseg_bench.cli.main import main
from fsseg_bench.records import lines as files
from tests.support.datasets import save_mask, write_protocol, write_voc
from tests.support.options import changed

TINY = ("--backbone", "resnet18-layer2", "--weights", "none", "--iterations", "0", "--device", "cpu", "--panels", "0")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny data set with its protocol; the current folder is empty."""
    write_voc(tmp_path / "tiny-voc", train=3, val=4)
    write_protocol(tmp_path / "tiny.toml", size=64, count=12, root="tiny-voc")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(a) for a in arguments])
    return int(stop.value.code or 0)


def run(data: Path, *more: str | Path, method: str = "baseline", fold: str = "1") -> int:
    options = ("--method", method, "--dataset", data / "tiny.toml", "--fold", fold, *TINY)
    return call("run", *changed(options, *more))


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--help") == 0
    assert call("--version") == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ("run", "report", "list", "episodes", "check-method"))


def test_run_prints_the_table_and_the_record(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(data, "-v", fold="all") == 0
    out, err = capsys.readouterr()
    assert "baseline" in out
    for fold in range(1, 5):
        assert f"warning: tiny-voc fold {fold}: under 30 test images of a class (" in err
    assert out.count("record: results/runs/tiny-voc/baseline-resnet18-layer2/1way-1shot/fold") == 4
    assert (data / "here" / "results" / "runs").is_dir()


def test_episodes_replay(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("episodes", "--dataset", data / "tiny.toml", "--out", data / "e.csv") == 0
    assert "sha256" in capsys.readouterr().err
    assert call("episodes", "--dataset", data / "tiny.toml") == 0
    assert capsys.readouterr().out == (data / "e.csv").read_text()
    assert run(data, "--episodes", data / "e.csv") == 0


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--method", "bioptt"], "unknown method 'bioptt'. Did you mean 'biopt'"),
        (["--backbone", "resnet19"], "unknown backbone 'resnet19'. Did you mean 'resnet18'"),
        (["--fold", "5"], "has no such fold; its folds are 1 to 4"),
        (["--set", "recipe.learning=1"], "unknown recipe key 'learning'"),
        (["--set", "recipe.lr=fast"], "recipe.lr=fast is not a number"),
        (["--set", "map_ress=adjoint"], "unknown switch of baseline 'map_ress'. Did you mean 'map_res'"),
        (["--set", "map_res=cubic"], "map_res=cubic is not allowed; use one of: adjoint, nearest, bilinear"),
        (["--set", "protocol.image.sise=64"], "unknown protocol key 'image.sise'. Did you mean 'image.size'"),
        (["--set", "protocol.image.size=small"], "image.size"),
        (["--set", "novalue"], "use KEY=VALUE"),
        (["--shot", "9"], "fewer than|needs|at least"),
        (["--shot", "0"], "--shot is 0; it must be at least 1"),
        (["--way", "3"], "way"),
        (["--episodes", "0"], "at least 1 episode"),
        (["--episodes", "nowhere.csv"], "nowhere.csv"),
        (["--weights", "nowhere.pth"], "nowhere.pth"),
        (["--device", "warp"], "use auto, cpu, cuda or cuda:INDEX"),
        (["--eval-only", "nowhere"], "no such checkpoint"),
        (["--eval-only", "nowhere", "--iterations", "5"], "exclude each other"),
        (["--scales", "0,1"], "must be above 0"),
        (["--methods-path", "nowhere"], "no such folder"),
        (["--iterations", "3", "--set", "recipe.freeze=all"], "nothing to train"),
        (["--no-such-option"], "No such option"),
        (["--precision", "fp8"], "fp8"),
    ],
)
def test_mistakes_end_with_code_2_and_one_message(
    data: Path, capsys: pytest.CaptureFixture[str], more: list[str], told: str
) -> None:
    assert run(data, *more) == 2
    err = capsys.readouterr().err
    assert any(part in err for part in told.split("|")), err
    assert "Traceback" not in err


def test_an_unknown_dataset_shows_near_matches(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("run", "--method", "baseline", "--dataset", "pascal51") == 2
    assert "Did you mean 'pascal5i'" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(data, "--device", "cuda") == 2
    assert "PyTorch sees no GPU here; use --device cpu" in capsys.readouterr().err


def test_missing_data_say_where_they_were_looked_for(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("run", "--method", "baseline", "--dataset", "pascal5i", "--data-root", data / "here") == 2
    err = capsys.readouterr().err
    assert "VOCdevkit/VOC2012" in err
    assert "FSSEG_DATA" in err


def test_a_corrupt_image_is_named_before_the_run_and_without_the_check_where_it_is_needed(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from fsseg_bench.engine.plan import make_plan
    from fsseg_bench.records.request import RunRequest

    plan = make_plan(RunRequest("baseline", str(data / "tiny.toml"), backbone="resnet18-layer2", weights="none"))
    first = {plan.table.queries[0], *plan.table.supports[0][0]}
    later = next(q for q in plan.table.queries if q not in first)
    broken = plan.source.image_path(later)
    good = broken.read_bytes()
    broken.write_bytes(good[:-100])
    assert run(data) == 2
    assert str(broken) in capsys.readouterr().err
    assert list(Path().iterdir()) == []
    assert run(data, "--no-check") == 2
    assert str(broken) in capsys.readouterr().err
    (log,) = Path().rglob("episodes.jsonl")
    assert 0 < len(log.read_text().splitlines()) < 12  # earlier episodes stay
    broken.write_bytes(good)
    assert run(data) == 0
    said = capsys.readouterr().err
    assert (
        f"{log.parent}: a run with the same settings, but other data, test images or masks; this one begins anew"
        in said
    )


def test_a_mask_of_another_size(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = next((data / "tiny-voc" / "SegmentationClass").glob("val_c1_*.png"))
    with Image.open(path) as mask:
        mask.resize((10, 10), Image.Resampling.NEAREST).save(path)
    assert run(data) == 2
    err = capsys.readouterr().err
    assert path.name in err
    assert "10" in err


def test_labels_outside_the_classes(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = next((data / "tiny-voc" / "SegmentationClass").glob("val_c1_*.png"))
    with Image.open(path) as mask:
        labels = np.array(mask)
    labels[0, :3] = 77
    save_mask(path, labels)
    assert run(data) == 2
    err = capsys.readouterr().err
    assert path.name in err
    assert "77" in err


def test_a_hostile_pickle_is_refused(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {data / 'pwned'}",)

    torch.save({"conv1.weight": Hostile()}, data / "hostile.pth")
    for option in ("--weights", "--eval-only"):
        arguments = ["--iterations", "0", option, data / "hostile.pth"]
        assert run(data, *arguments) == 2
        assert "hostile.pth" in capsys.readouterr().err
    assert not (data / "pwned").exists()


def test_a_full_disk_loses_nothing(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = files.write_all

    def full(handle: int, content: bytes, offset: int) -> None:
        if offset > 300:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(handle, content, offset)

    monkeypatch.setattr(files, "write_all", full)
    assert run(data) == 75
    assert "the disk is full" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.chdir(data / "here")
    (log,) = (data / "here").rglob("episodes.jsonl")
    kept = log.read_text()
    assert kept.count("\n") >= 1
    assert run(data) == 0
    assert log.read_text().startswith(kept)


def test_an_output_folder_that_cannot_be_written(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "file").write_text("not a folder")
    assert run(data, "--out", data / "file") == 2
    assert "file" in capsys.readouterr().err


def test_a_folder_that_holds_another_run(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(data) == 0
    (record,) = (data / "here").rglob("run.json")
    record.write_text(record.read_text().replace('"seed": 0', '"seed": 1'))
    assert run(data) == 2
    assert "--fresh" in capsys.readouterr().err
    assert run(data, "--fresh") == 0


@pytest.mark.slow
def test_check_method_of_a_third_partys_adapter(capsys: pytest.CaptureFixture[str]) -> None:
    example = Path(__file__).parents[2] / "methods" / "example"
    assert len((example / "nearest_mean.py").read_text().splitlines()) <= 42
    assert call("check-method", "nearest-mean", "--methods-path", example) == 0
    assert "contract tests passed" in capsys.readouterr().out


def test_a_broken_contract_ends_with_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example = Path(__file__).parents[2] / "methods" / "example" / "nearest_mean.py"
    spoilt = example.read_text().replace("return -self", "return nn.init.normal_(tensor([0.0])) - self")
    (tmp_path / "spoilt.py").write_text(spoilt)
    assert call("check-method", "spoilt", "--methods-path", tmp_path) == 1
    assert "FAIL evaluation is deterministic" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["list", "methods"], ["report", "--help"], ["--help"]])
def test_quick_commands_do_not_load_torch(tmp_path: Path, arguments: list[str]) -> None:
    code = (
        "import sys\nfrom fsseg_bench.cli.main import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit as stop:\n    assert not stop.code\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=os.environ, stdout=subprocess.DEVNULL)
