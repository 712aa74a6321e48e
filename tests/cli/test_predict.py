"""The predict command: its options reach the model, files are written, mistakes write nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from fsseg_bench.cli.predict import predict
from fsseg_bench.engine.plan import make_plan
from fsseg_bench.engine.predict import predict as from_python
from fsseg_bench.engine.run import execute
from fsseg_bench.errors import UserError
from tests.support.datasets import write_class_folders
from tests.support.tiny_run import tiny_request

UNTRAINED = ("--method", "biopt", "--backbone", "resnet18-layer2", "--weights", "none", "--size", "64")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_class_folders(tmp_path / "photos", 3)


def files(photos: Path, name: str) -> list[str]:
    return [str(photos / "anchor" / "images" / f"{name}.jpg"), str(photos / "anchor" / "masks" / f"{name}.png")]


def call(*arguments: str) -> str:
    arguments = (*arguments, "--device", "cpu")
    return CliRunner().invoke(predict, arguments, catch_exceptions=False, standalone_mode=False).output


def test_supports_and_queries_repeat(photos: Path, tmp_path: Path) -> None:
    first, second = files(photos, "000"), files(photos, "001")
    queries = [files(photos, "002")[0], first[0]]
    asked = [part for pair in (first, second) for part in ("--support", *pair)]
    asked += [part for query in queries for part in ("--query", query)]
    output = call(*asked, *UNTRAINED, "--set", "steps=3", "--out", str(tmp_path / "out"))
    assert output.startswith("biopt on resnet18-layer2, input 64 x 64, not trained, weights none\n")
    expected = from_python(
        [(first[0], first[1]), (second[0], second[1])],
        queries,
        method="biopt",
        backbone="resnet18-layer2",
        weights="none",
        size=64,
        device="cpu",
        switches={"steps": 3},
    )
    for result in expected:
        written = tmp_path / "out" / f"{result.query.stem}-mask.png"
        assert np.array_equal(np.asarray(Image.open(written)), result.mask * 255)
        assert f"{result.query}: {result.mask.mean():.1%} of the pixels -> {written}" in output


def test_a_run_needs_no_further_options(photos: Path, tmp_path: Path) -> None:
    folder = execute(make_plan(tiny_request(tmp_path))).folder
    support = files(photos, "000")
    output = call(
        "--checkpoint",
        str(folder),
        "--support",
        *support,
        "--query",
        files(photos, "001")[0],
        "--out",
        str(tmp_path / "o"),
    )
    assert output.startswith("baseline on resnet18-layer2, input 64 x 64, not trained, weights none\n")
    assert len(list((tmp_path / "o").iterdir())) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--size", "16"), "--size 16: it must be at least 32"),
        (("--method", "bipot"), "unknown method 'bipot'"),
        (("--backbone", "resnet19"), "unknown backbone 'resnet19'"),
        (("--set", "step=3"), "unknown switch of biopt 'step'"),
        (("--checkpoint", "gone"), "--checkpoint gone: no such checkpoint"),
    ],
)
def test_mistakes_write_nothing(photos: Path, tmp_path: Path, arguments: tuple[str, str], message: str) -> None:
    support, query = files(photos, "000"), files(photos, "001")[0]
    with pytest.raises(UserError, match=message):
        call("--support", *support, "--query", query, "--out", str(tmp_path / "out"), *UNTRAINED, *arguments)
    assert not (tmp_path / "out").exists()
