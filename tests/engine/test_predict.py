"""Own images segmented: the same pixels as the evaluation counts, classes merged pixel by pixel, photos upright."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import fsseg_bench
from fsseg_bench.data.own.proposal import propose
from fsseg_bench.engine.inference import InferenceModel
from fsseg_bench.engine.plan import Plan, make_plan
from fsseg_bench.engine.predict import predictor as module
from fsseg_bench.engine.predict.once import predict
from fsseg_bench.engine.predict.predictor import Predictor, Segmentation
from fsseg_bench.engine.run import execute
from fsseg_bench.errors import UserError
from fsseg_bench.pictures.overlay import overlay
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


@pytest.fixture(scope="module")
def loaded() -> Predictor:
    return Predictor(**BASELINE)


@pytest.fixture
def predictor(loaded: Predictor) -> Predictor:
    """Without supports; the model is loaded once."""
    loaded.clear()
    return loaded


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
    opened = Predictor(folder, device="cpu")
    for i in (0, 5, 11):
        supports = [files(photos, image) for image in plan.table.supports[i][0]]
        opened.set_support(*zip(*supports, strict=True))
        image, mask = files(photos, plan.table.queries[i])
        assert counted(opened.predict(image).mask, mask) == rows[i]["native"]
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
        assert result.query is not None
        assert np.array_equal(drawn, overlay(np.asarray(Image.open(result.query)), result.mask))


def save(path: Path, size: tuple[int, int]) -> Path:
    noise = np.random.RandomState(1).randint(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    Image.fromarray(noise).save(path)
    return path


def test_exported_and_text_paths_work(photos: Path) -> None:
    image, mask = map(str, files(photos, "anchor/000"))
    results = fsseg_bench.predict(
        [(image, mask)],
        [image, str(files(photos, "anchor/001")[0])],
        **BASELINE | {"method": "biopt", "switches": {"steps": 2, "void_in_bg": False}},
    )
    assert [r.query.name for r in results] == ["000.jpg", "001.jpg"]
    assert fsseg_bench.Predictor is Predictor
    with pytest.raises(UserError, match=r"unknown option of predict 'sise'\. Did you mean 'size'"):
        fsseg_bench.predict([(image, mask)], [image], sise=64)


def test_a_mask_that_was_written_is_a_support_mask(photos: Path, tmp_path: Path, predictor: Predictor) -> None:
    image, mask = files(photos, "anchor/000")
    (result,) = predict([(image, mask)], [image], out=tmp_path, **BASELINE)
    predictor.set_support(image, tmp_path / "000-mask.png")
    again = predictor.predict(image)
    predictor.set_support(image, result.mask)
    assert np.array_equal(predictor.predict(image).probability, again.probability)


def pair_of(photos: Path, name: str) -> tuple[list[Path], list[Path]]:
    images, masks = zip(files(photos, f"{name}/000"), files(photos, f"{name}/001"), strict=True)
    return list(images), list(masks)


def alone(predictor: Predictor, photos: Path, name: str, query: Path) -> Segmentation:
    predictor.clear()
    predictor.set_support(*pair_of(photos, name), name=name)
    return predictor.predict(query)


@pytest.mark.parametrize("names", [("anchor", "drum"), ("drum", "barrel", "anchor")])
def test_of_several_classes_each_pixel_gets_the_most_probable(
    photos: Path, predictor: Predictor, names: Sequence[str]
) -> None:
    query = files(photos, "anchor/002")[0]
    singles = [alone(predictor, photos, name, query).probability for name in names]
    predictor.clear()
    for name in names:
        predictor.set_support(*pair_of(photos, name), name=name)
    merged = predictor.predict(query)
    assert merged.classes == predictor.classes == names
    for y in range(HEIGHT):
        for x in range(WIDTH):
            probabilities = [float(single[y, x]) for single in singles]
            best = max(probabilities)
            assert merged.probability[y, x] == best
            if abs(best - 0.5) > 1e-6:
                assert merged.mask[y, x] == (probabilities.index(best) + 1 if best > 0.5 else 0)
    assert len(np.unique(merged.mask)) > 2


def test_supports_are_replaced_by_name(photos: Path, predictor: Predictor) -> None:
    query = files(photos, "anchor/002")[0]
    expected = alone(predictor, photos, "drum", query).probability
    predictor.clear()
    predictor.set_support(*pair_of(photos, "anchor"))
    predictor.set_support(*pair_of(photos, "drum"))
    assert predictor.classes == ("object",)
    assert np.array_equal(predictor.predict(query).probability, expected)
    predictor.clear()
    with pytest.raises(UserError, match="no support is set; call set_support"):
        predictor.predict(query)


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_each_query_is_segmented_as_if_alone(photos: Path, monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    """Also where several are encoded together, the last batch filled up, as on a GPU; broken ones among them."""

    class Batched(InferenceModel):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.encode_batch = batch

    monkeypatch.setattr(module, "InferenceModel", Batched)
    predictor = Predictor(**BASELINE)
    predictor.set_support(*files(photos, "drum/000"))
    queries = [files(photos, f"{name}/00{i}")[0] for name in ("drum", "anchor") for i in (1, 2, 3)]
    missing = photos / "gone.jpg"
    asked = [queries[0], missing, *queries[1:5], missing, queries[5], missing]
    failed: list[tuple[Any, str]] = []
    together = list(predictor.predict_many(iter(asked), lambda image, error: failed.append((image, str(error)))))
    assert [result.query for result in together] == queries
    assert failed == [(missing, f"{missing}: no such image")] * 3
    for query, result in zip(queries, together, strict=True):
        assert np.array_equal(result.probability, predictor.predict(query).probability)
    came = []
    with pytest.raises(UserError, match=r"gone.jpg: no such image"):
        came += [result.query for result in predictor.predict_many(asked)]
    kept = predictor.predict_many(asked)
    assert next(kept).query == queries[0]


def test_a_query_without_finite_logits_is_left_out(
    photos: Path, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor.set_support(*files(photos, "drum/000"))
    queries = [files(photos, f"drum/00{i}")[0] for i in (1, 2, 3)]
    ordinary, calls = InferenceModel.predict, []

    def sometimes(self: InferenceModel, episode: Any) -> Any:
        logits, notes = ordinary(self, episode)
        calls.append(1)
        return (torch.full_like(logits, torch.nan) if len(calls) == 2 else logits), notes

    monkeypatch.setattr(InferenceModel, "predict", sometimes)
    failed: list[str] = []
    results = predictor.predict_many(queries, lambda _, error: failed.append(str(error)))
    assert [result.query for result in results] == [queries[0], queries[2]]
    assert failed == [f"{queries[1]}: the method's logits are not finite; perhaps its training has diverged"]


def test_arrays_are_as_good_as_files(photos: Path, predictor: Predictor) -> None:
    (image, mask), query = files(photos, "anchor/000"), files(photos, "anchor/002")[0]
    predictor.set_support(image, mask)
    expected = predictor.predict(query)
    predictor.set_support([np.asarray(Image.open(image))], [np.asarray(Image.open(mask)) > 0])
    result = predictor.predict(np.asarray(Image.open(query)))
    assert result.query is None
    assert np.array_equal(result.probability, expected.probability)
    for wrong in (np.zeros((4, 5), np.uint8), np.zeros((4, 5, 3)), np.zeros((0, 5, 3), np.uint8), None):
        with pytest.raises(UserError, match=r"an image (is|has no pixels)"):
            predictor.predict(wrong)  # type: ignore[arg-type]


_BACK = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_taken_upright(photos: Path, tmp_path: Path, predictor: Predictor, orientation: int) -> None:
    """Stored as a camera held otherwise stores them; masks are drawn on, and come out for, the upright picture."""
    stored = {}
    for name in ("anchor/000", "anchor/002"):
        upright = Image.open(files(photos, name)[0])
        exif = upright.getexif()
        exif[0x0112] = orientation
        stored[name] = tmp_path / f"{name[-3:]}.png"
        turned = upright.transpose(_BACK[orientation]) if orientation > 1 else upright
        turned.save(stored[name], exif=exif)
    mask = files(photos, "anchor/000")[1]
    predictor.set_support(files(photos, "anchor/000")[0], mask)
    expected = predictor.predict(files(photos, "anchor/002")[0])
    predictor.set_support(stored["anchor/000"], mask)
    result = predictor.predict(stored["anchor/002"])
    assert np.array_equal(result.probability, expected.probability)
    if orientation > 4:
        Image.open(mask).transpose(_BACK[orientation]).save(tmp_path / "stored-mask.png")
        with pytest.raises(UserError, match=f"{HEIGHT} x {WIDTH} .* EXIF orientation says; .* turn it too"):
            predictor.set_support(stored["anchor/000"], tmp_path / "stored-mask.png")


class TestDrawnSupports:
    def test_they_are_those_files_and_the_seed_decides(self, photos: Path, predictor: Predictor) -> None:
        dataset = photos / "protocol.toml"
        query = files(photos, "drum/000")[0]
        (drawn,) = predictor.draw_support(dataset, "anchor", shots=3)
        assert (drawn.name, len(set(drawn.images))) == ("anchor", 3)
        assert drawn.files == tuple(files(photos, image)[0] for image in drawn.images)
        result = predictor.predict(query)
        for image in drawn.images:
            assert image.startswith("anchor/")
        predictor.clear()
        predictor.set_support(*zip(*(files(photos, image) for image in drawn.images), strict=True))
        assert np.array_equal(predictor.predict(query).probability, result.probability)
        value = str(sorted(path.parent.name for path in photos.glob("*/images")).index("anchor") + 1)
        (again,) = predictor.draw_support(dataset, value, shots=2)
        assert (again.name, again.images) == ("anchor", drawn.images[:2])
        seeds = [predictor.draw_support(dataset, "anchor", shots=2, seed=seed)[0].images for seed in range(8)]
        assert len(set(seeds)) > 2
        both = predictor.draw_support(dataset, "drum", "anchor", shots=3)
        assert both[1].images == drawn.images

    @pytest.mark.parametrize(
        ("classes", "shots", "message"),
        [
            (("anchor",), 5, r"--shots 5: .* has 4 images of 'anchor'"),
            (("anchor",), 0, "at least 1 support"),
            (("ankor",), 1, "unknown class 'ankor'.* Did you mean 'anchor'"),
            (("anchor", "anchor"), 1, "anchor is given twice"),
            ((), 1, "--class is needed .* anchor, barrel"),
        ],
    )
    def test_mistakes(
        self, photos: Path, predictor: Predictor, classes: Sequence[str], shots: int, message: str
    ) -> None:
        with pytest.raises(UserError, match=message):
            predictor.draw_support(photos / "protocol.toml", *classes, shots=shots)


def test_an_object_that_vanishes(tmp_path: Path, predictor: Predictor) -> None:
    """One pixel of 640 x 480 is not among the 64 x 64 that nearest keeps."""
    save(tmp_path / "a.jpg", (640, 480))
    mask = np.zeros((480, 640), dtype=np.uint8)
    mask[0, 0] = 1
    Image.fromarray(mask).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"a.png: the object vanishes at the input size of 64"):
        predictor.set_support(tmp_path / "a.jpg", tmp_path / "a.png")


def test_bad_queries(photos: Path, tmp_path: Path, predictor: Predictor) -> None:
    predictor.set_support(*files(photos, "anchor/000"))
    with pytest.raises(UserError, match=r"gone.jpg: no such image"):
        predictor.predict(tmp_path / "gone.jpg")
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(UserError, match=r"bad.jpg: the image cannot be read"):
        predictor.predict(tmp_path / "bad.jpg")
