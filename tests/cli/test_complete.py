"""What a shell completes; and that it need not wait for torch."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from fsseg_bench.cli.main import cli
from tests.support.fresh import ROOT

RUN = ["run", "--method", "biopt"]


def completed(words: list[str], incomplete: str) -> list[str]:
    shell = ShellComplete(cli, {"obj": {}}, "fsseg-bench", "_FSSEG_BENCH_COMPLETE")
    return [item.value for item in shell.get_completions(words, incomplete)]


@pytest.mark.parametrize(
    ("words", "incomplete", "names"),
    [
        (["run", "--method"], "b", ["bam", "baseline", "biopt"]),
        (["run", "--method"], "tr", ["training-free"]),
        ([*RUN, "--dataset"], "coco", ["coco20i-a", "coco20i-b", "coco20i-b-1024"]),
        ([*RUN, "--dataset", "shapes5i", "--fold"], "", ["all", "1", "2", "3", "4"]),
        ([*RUN, "--backbone"], "resnet1", ["resnet101", "resnet101-deep", "resnet18"]),
        ([*RUN, "--backbone"], "pub", ["published"]),
        ([*RUN, "--weights"], "", ["imagenet", "none"]),
        ([*RUN, "--precision"], "", ["fp32", "tf32", "bf16", "fp16"]),
        ([*RUN, "--set"], "inner_g", ["inner_grad="]),
        ([*RUN, "--set"], "recipe.l", ["recipe.lr=", "recipe.lr_factors="]),
        (["report", "--table"], "biopt:", [f"biopt:{i}" for i in range(1, 6)]),
        (["report", "--table"], "r", ["runs"]),
        (["report", "--method"], "bi", ["biopt"]),
        (["compare", "baseline"], "bi", ["biopt"]),
        (["compare", "baseline", "biopt", "--dataset"], "sh", ["shapes5i"]),
        (["report", "--backbone"], "vgg", ["vgg16", "vgg16-bn"]),
        (["run"], "--see", ["--seed", "--seeds"]),
        (["check-method"], "pan", ["panet"]),
        (["check-backbone"], "vgg", ["vgg16", "vgg16-bn"]),
        (["predict", "--dataset"], "pascal5", ["pascal5i"]),
        (["predict", "--method"], "pan", ["panet"]),
        (["episodes", "--dataset"], "pascal5", ["pascal5i"]),
        (["run", "--dataset", "nowhere", "--fold"], "", []),
    ],
)
def test_values(words: list[str], incomplete: str, names: list[str]) -> None:
    found = completed(words, incomplete)
    assert [name for name in found if name in names] == names
    if incomplete:
        assert set(found) == set(names)


def test_a_protocol_or_weights_may_be_a_file() -> None:
    shell = ShellComplete(cli, {"obj": {}}, "fsseg-bench", "_FSSEG_BENCH_COMPLETE")
    for option in ("--dataset", "--weights"):
        (item,) = shell.get_completions(["run", option], "own/my")
        assert (item.value, item.type) == ("own/my", "file")


def test_methods_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text('"""Mine."""\n')
    assert completed(["run", "--methods-path", str(tmp_path), "--method"], "mi") == ["mine"]
    (tmp_path / "panet.py").write_text('"""Two of one name are an error, of which a shell says nothing."""\n')
    assert completed(["run", "--methods-path", str(tmp_path), "--method"], "mi") == []


def test_torch_is_not_imported() -> None:
    script = (
        "import sys; from tests.cli.test_complete import completed, RUN\n"
        "assert completed(['run', '--method'], 'pan') == ['panet']\n"
        "assert completed([*RUN, '--set'], 'inner_g') == ['inner_grad=']\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_gets_a_script() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from fsseg_bench.cli.main import main; main()"],
        env={"PATH": "", "_FSSEG_BENCH_COMPLETE": "bash_source", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert "complete -o nosort -F" in done.stdout
