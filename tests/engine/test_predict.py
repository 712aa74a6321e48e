"""Own images segmented: the same pixels as the evaluation counts, files as promised, bad input by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fsseg_bench
from fsseg_bench.data.own.proposal import propose
from fsseg_bench.engine.overlay import overlay
from fsseg_bench.engine.plan import Plan, make_plan
from fsseg_bench.engine.predict import Segmentation, predict, save_segmentation
from fsseg_bench.engine.run import execute
from fsseg_bench.errors import UserError
from fsseg_bench.records.request import RunRequest
from tests.support.datasets import HEIGHT, WIDTH, write_class_folders

BASELINE: dict[str, Any] = {
    "method": "baseline",
    "backbone": "resnet18-layer2",
    "weights": "none",
    "size": 64,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders with a proposed protocol."""
    root = write_class_folders(tmp_path_factory.mktemp("own") / "photos", 4)
    (root / "protocol.toml").write_text(propose(root).files["protocol.toml"])
    return root


def plan_of(photos: Path, method: str, shot: int) -> Plan:
    request = RunRequest(
        method,
        str(photos / "protocol.toml"),
        shot=shot,
        episodes="12",
        backbone="resnet18-layer2",
        weights="none",
        iterations=0,
        workers=0,
        panels=0,
        device="cpu",
        out=str(photos / "runs"),
    )
    return make_plan(request)


def files(photos: Path, image_id: str) -> tuple[Path, Path]:
    name, stem = image_id.split("/")
    return photos / name / "images" / f"{stem}.jpg", photos / name / "masks" / f"{stem}.png"


def counted(prediction: np.ndarray, mask_file: Path) -> list[int]:
    """The confusion matrix of one episode, pixel by pixel."""
    cells = [0, 0, 0, 0]
    truth = np.asarray(Image.open(mask_file)) > 0
    for true, said in zip(truth.ravel().tolist(), prediction.ravel().tolist(), strict=True):
        cells[2 * int(true) + int(said)] += 1
    return cells


@pytest.mark.parametrize(("method", "shot"), [("baseline", 1), ("biopt", 2)])
def test_the_same_pixels_as_the_evaluation(photos: Path, method: str, shot: int) -> None:
    plan = plan_of(photos, method, shot)
    folder = execute(plan).folder
    rows = [json.loads(line) for line in (folder / "episodes.jsonl").read_text().splitlines()]
    for i in (0, 5, 11):
        support = [files(photos, image) for image in plan.table.supports[i][0]]
        image, mask = files(photos, plan.table.queries[i])
        (result,) = predict(support, [image], checkpoint=folder, device="cpu")
        assert counted(result.mask, mask) == rows[i]["native"]
        assert rows[i]["native"][1] + rows[i]["native"][3] > 0  # something is found


class TestSizes:
    """Supports and query of three different sizes."""

    @pytest.fixture
    def result(self, photos: Path, tmp_path: Path) -> Segmentation:
        first, second = files(photos, "anchor/000"), files(photos, "anchor/001")
        large = tmp_path / "large.jpg", tmp_path / "large.png"
        Image.open(second[0]).resize((97, 53)).save(large[0])
        Image.open(second[1]).resize((97, 53), Image.Resampling.NEAREST).save(large[1])
        query = save(tmp_path / "query.jpg", (71, 88))
        return predict([first, large], [query], out=tmp_path / "out", **BASELINE)[0]

    def test_results_have_the_querys_size(self, result: Segmentation) -> None:
        assert result.mask.shape == result.probability.shape == (88, 71)
        assert result.mask.dtype == np.uint8
        assert result.probability.dtype == np.float32
        assert set(np.unique(result.mask)) <= {0, 1}
        assert 0 <= result.probability.min() <= result.probability.max() <= 1
        clear = np.abs(result.probability - 0.5) > 1e-6
        assert np.array_equal((result.probability > 0.5)[clear], result.mask.astype(bool)[clear])

    def test_files(self, result: Segmentation, tmp_path: Path) -> None:
        out = tmp_path / "out"
        assert sorted(p.name for p in out.iterdir()) == ["query-mask.png", "query-overlay.png", "query-probability.png"]
        mask = Image.open(out / "query-mask.png")
        assert mask.mode == "L"
        assert np.array_equal(np.asarray(mask), result.mask * 255)
        probability = Image.open(out / "query-probability.png")
        assert probability.mode == "I;16"
        assert np.abs(np.asarray(probability) / 65535 - result.probability).max() <= 0.5 / 65535 + 1e-7
        drawn = np.asarray(Image.open(out / "query-overlay.png"))
        assert np.array_equal(drawn, overlay(np.asarray(Image.open(result.query)), result.mask))


def save(path: Path, size: tuple[int, int]) -> Path:
    noise = np.random.RandomState(1).randint(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    Image.fromarray(noise).save(path)
    return path


def test_a_mask_that_was_written_is_a_support_mask(photos: Path, tmp_path: Path) -> None:
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    mask[5:20, 5:20] = 1
    image = files(photos, "anchor/000")[0]
    written = save_segmentation(Segmentation(image, mask, mask.astype(np.float32)), tmp_path)[0]
    assert segment(photos, [(image, written)]).mask.shape == (HEIGHT, WIDTH)


def segment(photos: Path, support: list[tuple[Path, Path]], query: Path | None = None) -> Segmentation:
    return predict(support, [query or files(photos, "anchor/001")[0]], **BASELINE)[0]


def test_exported_and_text_paths_work(photos: Path) -> None:
    image, mask = map(str, files(photos, "anchor/000"))
    results = fsseg_bench.predict(
        [(image, mask)],
        [image, str(files(photos, "anchor/001")[0])],
        method="biopt",
        backbone="resnet18-layer2",
        weights="none",
        size=64,
        device="cpu",
        switches={"steps": 2, "void_in_bg": False},
    )
    assert [r.query.name for r in results] == ["000.jpg", "001.jpg"]


def test_each_query_is_segmented_as_if_alone(photos: Path) -> None:
    support = [files(photos, "drum/000")]
    queries = [files(photos, f"drum/00{i}")[0] for i in (1, 2, 3)]
    together = predict(support, queries, **BASELINE)
    for query, result in zip(queries, together, strict=True):
        assert np.array_equal(result.probability, segment(photos, support, query).probability)


# Bad input


def refused(photos: Path, support: list[tuple[Path, Path]], query: Path | None = None) -> str:
    with pytest.raises(UserError) as error:
        segment(photos, support, query)
    return str(error.value)


def test_bad_supports(photos: Path, tmp_path: Path) -> None:
    image, mask = files(photos, "anchor/000")
    assert "no support is given" in refused(photos, [])
    assert f"{tmp_path}/gone.jpg: no such image" in refused(photos, [(tmp_path / "gone.jpg", mask)])
    assert f"{tmp_path}/gone.png: no such mask" in refused(photos, [(image, mask), (image, tmp_path / "gone.png")])
    other = tmp_path / "m.png"
    Image.new("L", (WIDTH, HEIGHT)).save(other)
    assert "m.png: the mask is empty" in refused(photos, [(image, other)])
    Image.new("L", (HEIGHT, WIDTH), 1).save(other)
    sizes = f"m.png is {HEIGHT} x {WIDTH} pixels and its image {image} {WIDTH} x {HEIGHT}"
    assert sizes in refused(photos, [(image, other)])
    other.write_bytes(b"no picture")
    assert "m.png: the mask cannot be read" in refused(photos, [(image, other)])
    Image.fromarray(np.arange(WIDTH * HEIGHT, dtype=np.uint8).reshape(HEIGHT, WIDTH)).save(other)
    assert "m.png: the mask has the values 1, 2, 3, 4, 5, ... beside 0" in refused(photos, [(image, other)])


def test_an_object_that_vanishes(photos: Path, tmp_path: Path) -> None:
    """One pixel of 640 x 480 is not among the 64 x 64 that nearest keeps."""
    save(tmp_path / "a.jpg", (640, 480))
    mask = np.zeros((480, 640), dtype=np.uint8)
    mask[0, 0] = 1
    Image.fromarray(mask).save(tmp_path / "a.png")
    message = refused(photos, [(tmp_path / "a.jpg", tmp_path / "a.png")])
    assert "a.png: the object vanishes at the input size of 64" in message


def test_bad_queries(photos: Path, tmp_path: Path) -> None:
    support = [files(photos, "anchor/000")]
    assert "gone.jpg: no such image" in refused(photos, support, tmp_path / "gone.jpg")
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff")
    assert "bad.jpg: the image cannot be read" in refused(photos, support, tmp_path / "bad.jpg")


def test_two_queries_of_one_name_do_not_overwrite_each_other(photos: Path, tmp_path: Path) -> None:
    queries = [files(photos, "anchor/001")[0], files(photos, "drum/001")[0]]
    with pytest.raises(UserError, match="would write the same files"):
        predict([files(photos, "anchor/000")], queries, out=tmp_path / "out", **BASELINE)
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="no query is given"):
        predict([files(photos, "anchor/000")], [], out=tmp_path / "out", **BASELINE)


def test_an_output_folder_that_is_a_file(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(UserError, match="out: cannot be written"):
        predict([files(photos, "anchor/000")], [files(photos, "anchor/001")[0]], out=tmp_path / "out", **BASELINE)
