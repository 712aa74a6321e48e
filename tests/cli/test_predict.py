"""The predict command: its options reach the model, files are written, mistakes write nothing."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from rich.console import Console

from fsseg_bench.cli.predict import predict
from fsseg_bench.data.own.proposal import propose
from fsseg_bench.engine.plan import make_plan
from fsseg_bench.engine.predict.once import predict as from_python
from fsseg_bench.engine.run import execute
from fsseg_bench.errors import UserError
from fsseg_bench.screen import terminal as screen
from tests.support.datasets import write_class_folders
from tests.support.tiny_run import tiny_request

UNTRAINED = ("--method", "biopt", "--backbone", "resnet18-layer2", "--weights", "none", "--size", "64")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_class_folders(tmp_path / "photos", 3)


def files(photos: Path, name: str) -> list[str]:
    return [str(photos / "anchor" / "images" / f"{name}.jpg"), str(photos / "anchor" / "masks" / f"{name}.png")]


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(predict, (*arguments, "--device", "cpu"), standalone_mode=False)


def call(*arguments: str) -> str:
    result = invoke(*arguments)
    if result.exception:
        raise result.exception
    return result.output


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
        assert result.query is not None
        written = tmp_path / "out" / f"{result.query.stem}-mask.png"
        assert np.array_equal(np.asarray(Image.open(written)), result.mask * 255)
        assert f"{result.query}: {result.mask.mean():.1%} of the pixels -> {written}" in output
    assert "1 of the queries are supports themselves" in output
    assert output.splitlines()[-1].startswith("2 images in ")
    assert output.splitlines()[-1].endswith(f" images/s -> {tmp_path / 'out'}")


def test_a_run_needs_no_further_options(photos: Path, tmp_path: Path) -> None:
    folder = execute(make_plan(tiny_request(tmp_path))).folder
    support, query = files(photos, "000"), files(photos, "001")[0]
    output = call("--checkpoint", str(folder), "--support", *support, "--query", query, "--out", str(tmp_path / "o"))
    assert output.startswith("baseline on resnet18-layer2, input 64 x 64, not trained, weights none\n")
    assert len(list((tmp_path / "o").iterdir())) == 3


def test_supports_drawn_from_a_protocol(photos: Path, tmp_path: Path) -> None:
    """Several classes, a folder of queries with one that is broken: the others are written, and the call fails."""
    (photos / "protocol.toml").write_text(propose(photos).files["protocol.toml"])
    dataset = ("--dataset", str(photos / "protocol.toml"), "--class", "anchor", "--class", "drum", "--shots", "2")
    queries = tmp_path / "new"
    queries.mkdir()
    for number in range(3):
        data = (photos / "drum" / "images" / f"00{number}.jpg").read_bytes()
        (queries / f"00{number}.jpg").write_bytes(data)
        (queries / "broken.jpg").write_bytes(data[:300])
    (queries / "loop.jpg").symlink_to("loop.jpg")
    (queries / "._000.jpg").write_bytes(b"")
    asked = (*dataset, *UNTRAINED[:-2], "--query", str(queries), "--format", "png", "--format", "coco")
    results = [invoke(*asked, "--out", str(tmp_path / out)) for out in ("one", "two")]
    for result, out in zip(results, ("one", "two"), strict=True):
        assert isinstance(result.exception, UserError)
        broken = f"{queries}/broken.jpg, {queries}/loop.jpg"
        assert str(result.exception) == f"2 of 5 queries could not be segmented (see above): {broken}"
        assert f"error: {queries}/broken.jpg: the image cannot be read" in result.output
        assert "input 65 x 65" in result.output  # as the protocol says; without it, 417
        assert "skipped among the queries: 1 hidden" in result.output
        assert "anchor: drawn with seed 0 from photos: anchor/" in result.output
        assert (tmp_path / out / "legend.csv").read_text() == "value,name\n0,background\n1,anchor\n2,drum\n"
    contents = [json.loads((tmp_path / out / "predictions.json").read_text()) for out in ("one", "two")]
    assert contents[0] == contents[1]
    assert [image["file_name"] for image in contents[0]["images"]] == ["000.jpg", "001.jpg", "002.jpg"]
    assert sorted(path.name for path in (tmp_path / "one").glob("*-mask.png")) == [f"00{i}-mask.png" for i in range(3)]


def test_boxes_and_label_masks(photos: Path, tmp_path: Path) -> None:
    image, mask = files(photos, "000")
    pixels = np.asarray(Image.open(mask))
    ys, xs = np.nonzero(pixels)
    box = [str(value) for value in (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)]
    Image.fromarray((pixels > 0).astype(np.uint8) * 2).save(tmp_path / "labels.png")
    supports = [
        ("--support", image, mask),
        ("--support-box", image, *box),
        ("--support", image, str(tmp_path / "labels.png"), "--class", "anchor=2"),
    ]
    for number, support in enumerate(supports):
        out = call(*support, "--query", files(photos, "001")[0], *UNTRAINED, "--out", str(tmp_path / str(number)))
    assert "anchor (label value 2): 1 of 1 supports show it" in out
    masks = [(tmp_path / str(number) / "001-mask.png").read_bytes() for number in range(3)]
    assert masks[0] == masks[1] == masks[2]


def test_lines_stay_on_standard_output_beside_a_bar(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in `predict ... > masks.txt` on a terminal: a bar takes over sys.stdout while it is shown."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    shown = io.StringIO()
    terminal = Console(file=shown, force_terminal=True, width=120, color_system=None)
    monkeypatch.setattr(screen, "Console", lambda **_: terminal)
    asked = [*files(photos, "000"), "--query", files(photos, "001")[0], *UNTRAINED, "--out", str(tmp_path / "out")]
    predict.main(["--support", *asked, "--device", "cpu"], standalone_mode=False)
    assert "of the pixels -> " in capsys.readouterr().out
    assert "1/1" in click.unstyle(shown.getvalue())
    assert "of the pixels" not in shown.getvalue()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--size", "16"), "--size 16: it must be at least 32"),
        (("--method", "bipot"), "unknown method 'bipot'"),
        (("--backbone", "resnet19"), "unknown backbone 'resnet19'"),
        (("--set", "step=3"), "unknown switch of biopt 'step'"),
        (("--checkpoint", "gone"), "--checkpoint gone: no such checkpoint"),
        (("--shots", "2"), "--shots needs --dataset"),
        (("--data-root", "x"), "--data-root needs --dataset"),
        (("--set", "protocol.image.size=64"), "--set protocol.KEY needs --dataset"),
        (("--dataset", "shapes5i"), "--dataset and --support exclude each other"),
        (("--query", "nothing/*.jpg"), r"--query nothing/\*.jpg: no image there"),
    ],
)
def test_mistakes_write_nothing(photos: Path, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    support, query = files(photos, "000"), files(photos, "001")[0]
    with pytest.raises(UserError, match=message):
        call("--support", *support, "--query", query, "--out", str(tmp_path / "out"), *UNTRAINED, *arguments)
    assert not (tmp_path / "out").exists()


def test_no_support(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no support is given: use --support IMAGE MASK, --support-box, or --dataset"):
        call("--query", "a.jpg", "--out", str(tmp_path / "out"), *UNTRAINED)


def test_a_support_without_its_mask_is_told_so(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(click.BadParameter, match=r"no mask after .*jpg, but --query: give both, IMAGE MASK"):
        call("--support", files(photos, "000")[0], "--query", "a.jpg", "--out", str(tmp_path / "out"), *UNTRAINED)
