"""``fsseg-bench weights import``: what it says of a file, and what it writes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from fsseg_bench.cli.main import cli
from fsseg_bench.engine.released import read_imported
from fsseg_bench.errors import UserError
from tests.support.official import toy_folder, toy_state


@pytest.fixture(scope="module")
def methods(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_folder(tmp_path_factory.mktemp("methods") / "theirs")


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory, methods: Path) -> Path:
    path = tmp_path_factory.mktemp("files") / "best.pth"
    torch.save({"state_dict": toy_state(methods)}, path)
    return path


def test_a_file_is_described_and_written(tmp_path: Path, methods: Path, official: Path) -> None:
    out = tmp_path / "toy.safetensors"
    command = ["weights", "import", str(official), "--method", "toy", "--backbone", "resnet18-layer2"]
    result = CliRunner().invoke(
        cli, [*command, "--methods-path", str(methods), "--out", str(out)], obj={"debug": False}
    )
    assert result.exit_code == 0, result.output
    told = {line.split("  ")[0]: line.split("  ")[-1].strip() for line in result.stdout.splitlines()}
    assert told["file"] == "official:best.pth"
    assert told["SHA-256"] == hashlib.sha256(official.read_bytes()).hexdigest()
    assert told["unused"] == "1 (net.fc.weight): the classifier of ImageNet"
    assert told["switches"] == "width=3"
    assert told["claims"] == "row 'Toy' of a table"
    assert "note: Shots are averaged." in result.stdout
    assert f"wrote {out}" in result.stderr
    found = read_imported(out)
    assert found is not None
    assert torch.equal(found.state["head.bias"], toy_state(methods)["cls.0.bias"])


def test_nothing_is_written_without_out_or_in_another_form(tmp_path: Path, methods: Path, official: Path) -> None:
    command = ["weights", "import", f"official:{official}", "--methods-path", str(methods)]
    assert CliRunner().invoke(cli, command, obj={"debug": False}).exit_code == 0
    wrong = CliRunner().invoke(cli, [*command, "--out", str(tmp_path / "toy.pth")], obj={"debug": False})
    assert isinstance(wrong.exception, UserError)
    assert "must end in .safetensors" in str(wrong.exception)
    assert not list(tmp_path.iterdir())
