"""``data init``: what it writes, what it never overwrites, and that ``run`` works on the result as it is."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from fsseg_bench.cli.data import init
from fsseg_bench.engine.plan import make_plan
from fsseg_bench.engine.run import execute
from fsseg_bench.errors import UserError
from fsseg_bench.records.request import RunRequest
from tests.support.datasets import write_class_folders, write_coco, write_voc


def run_init(*arguments: str) -> str:
    return CliRunner().invoke(init, arguments, catch_exceptions=False, standalone_mode=False).output


def bare_voc(root: Path) -> Path:
    shutil.rmtree(write_voc(root) / "ImageSets")
    return root


@pytest.mark.parametrize("write", [write_class_folders, write_voc, bare_voc, write_coco])
def test_run_works_on_the_result_as_it_is(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    root = write(tmp_path / "mine")
    output = run_init(str(root))
    assert f"wrote {root}/protocol.toml; tried out: 1000 test episodes in each fold" in output
    assert f"--dataset {root}/protocol.toml --shot 1" in output
    for fold in (1, 2, 3, 4):
        assert re.search(rf"warning: fold {fold}: only \d+ of 1,000 episodes are different", output)
        assert f"warning: fold {fold}: under 30 test images of a class (" in output
    request = RunRequest(
        "baseline",
        str(root / "protocol.toml"),
        fold=2,
        backbone="resnet18-layer2",
        weights="none",
        iterations=1,
        settings={"recipe.batch": "1"},
        episodes="20",
        workers=0,
        panels=0,
        device="cpu",
        out=str(tmp_path / "runs"),
    )
    with execute(make_plan(request)) as record:
        assert record.status == "done"
        assert 0 <= record.info.scores["native"]["mean_iou"] <= 1


def test_nothing_is_overwritten_without_force(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path / "mine", 2)
    run_init(str(root), "--name", "first")
    with pytest.raises(UserError, match=r"protocol\.toml: is there already; --force"):
        run_init(str(root), "--name", "second")
    assert 'name = "first"' in (root / "protocol.toml").read_text()
    run_init(str(root), "--name", "second", "--force")
    assert 'name = "second"' in (root / "protocol.toml").read_text()


def test_a_list_of_the_users_is_not_overwritten(tmp_path: Path) -> None:
    root = bare_voc(tmp_path / "mine")
    (root / "all.txt").write_text("mine\n")
    with pytest.raises(UserError, match=r"all\.txt: is there already, and this name is needed"):
        run_init(str(root))
    assert (root / "all.txt").read_text() == "mine\n"
    assert not (root / "protocol.toml").exists()


def test_a_mistake_writes_nothing(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path / "mine", 2)
    (root / "drum/masks/001.png").unlink()
    with pytest.raises(UserError, match="masks are missing"):
        run_init(str(root))
    assert not (root / "protocol.toml").exists()
