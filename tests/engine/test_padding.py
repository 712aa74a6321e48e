"""A protocol that pads: what is counted against everything done image by image, and the same by every other way in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import fsseg_bench
from fsseg_bench.engine.inference import normalise
from fsseg_bench.engine.plan import Plan, make_plan
from fsseg_bench.engine.predict.predictor import Predictor
from fsseg_bench.engine.rerun import predicted_labels
from fsseg_bench.records.lines import read_lines
from fsseg_bench.records.read import read_run
from fsseg_bench.report.collect import find_runs
from fsseg_bench.report.record_facts import record_facts
from fsseg_bench.report.recorded import RecordedEpisodes
from fsseg_bench.report.table import runs_tables
from tests.support.tiny_run import finish, tiny_request, tiny_training

PAD = {"protocol.image.resize": "pad", "protocol.image.multiple": "8"}
BAND = {"protocol.scoring.boundary": "0.04"}
SIDE, TALL, WIDE = 64, 48, 64
"""Photos are 40 x 30."""
BAND_PIXELS = {"input_boundary": 3, "native_boundary": 2}
"""4 % of diagonals of 80 (the filled part's) and of 50."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Path]:
    request = tiny_request(tmp_path_factory.mktemp("padding"), settings={**PAD, **BAND}, panels=1)
    return make_plan(request), finish(request)


def counts(folder: Path) -> list[tuple[Any, ...]]:
    rows = read_lines(folder / "episodes.jsonl")
    return [(row["episode"], row["classes"], row["input"], row["native"]) for row in rows]


def test_padding_is_no_void_of_the_image(made: tuple[Plan, Path]) -> None:
    """All that was counted, void or not, are the pixels that the image fills."""
    for row in read_lines(made[1] / "episodes.jsonl"):
        assert sum(row["input"]) + sum(row["input_void"]) == TALL * WIDE
        assert sum(row["native"]) + sum(row["native_void"]) == 40 * 30


def square(plan: Plan, image: str) -> np.ndarray:
    small = Image.fromarray(plan.source.image(image)).resize((WIDE, TALL), Image.Resampling.BILINEAR)
    whole = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
    whole[:TALL] = np.asarray(small)
    return whole


def mask_of(plan: Plan, image: str, class_id: int) -> tuple[np.ndarray, np.ndarray]:
    """In the square, void below; and as it is."""
    native = plan.source.class_masks(image, [class_id])[0]
    whole = np.full((SIDE, SIDE), 255, dtype=np.uint8)
    whole[:TALL] = np.asarray(Image.fromarray(native).resize((WIDE, TALL), Image.Resampling.NEAREST))
    return whole, native


def matrix(prediction: np.ndarray, label: np.ndarray) -> list[int]:
    return [int(((label == t) & (prediction == p)).sum()) for t in (0, 1) for p in (0, 1)]


def bands(guess: np.ndarray, label: np.ndarray, pixels: int) -> list[int]:
    """By squared windows; the outside of the image is no mask's."""

    def band(mask: np.ndarray) -> np.ndarray:
        kept = np.zeros_like(mask)
        for y in range(pixels, mask.shape[0] - pixels):
            for x in range(pixels, mask.shape[1] - pixels):
                kept[y, x] = mask[y - pixels : y + pixels + 1, x - pixels : x + pixels + 1].all()
        return mask & ~kept

    true, found = band(label == 1), band((guess == 1) & (label != 255))
    return [int((true & found).sum()), int((found & ~true).sum()), int((true & ~found).sum())]


def test_counts_equal_a_naive_evaluation(made: tuple[Plan, Path]) -> None:
    plan, folder = made
    backbone, table, cpu = plan.model.backbone.eval(), plan.table, torch.device("cpu")
    disputed, rows = 0, read_lines(folder / "episodes.jsonl")
    with torch.no_grad():
        for i, (_, (class_id,), at_input, at_native) in enumerate(counts(folder)):

            def encoded(image: str) -> torch.Tensor:
                return backbone(normalise(torch.from_numpy(square(plan, image)).permute(2, 0, 1)[None], backbone, cpu))

            (support,) = table.supports[i][0]
            full = F.interpolate(encoded(support), (SIDE, SIDE), mode="bilinear", align_corners=False)[0]
            mask = torch.from_numpy(mask_of(plan, support, class_id)[0])
            means = torch.stack([full[:, mask == v].sum(dim=1) / ((mask == v).sum() + 1e-5) for v in (0, 1)])
            cosine = F.cosine_similarity(encoded(table.queries[i]), means[:, :, None, None], dim=1)[None]
            whole, native = mask_of(plan, table.queries[i], class_id)
            prediction = F.interpolate(cosine, (SIDE, SIDE), mode="bilinear", align_corners=False).argmax(dim=1)[0]
            disputed += int(np.abs(np.array(at_input) - matrix(prediction.numpy(), whole)).sum())
            height, width = native.shape
            y = (torch.arange(height) + 0.5) / height * (TALL / SIDE) * 2 - 1  # of the whole map's [-1, 1]
            x = (torch.arange(width) + 0.5) / width * (WIDE / SIDE) * 2 - 1
            grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)[None]
            read = F.grid_sample(cosine, grid, mode="bilinear", padding_mode="border", align_corners=False)
            guessed = read.argmax(dim=1)[0].numpy()
            disputed += int(np.abs(np.array(at_native) - matrix(guessed, native)).sum())
            row = rows[i]
            for key, guess, label in (
                ("input_boundary", prediction.numpy()[:TALL], whole[:TALL]),
                ("native_boundary", guessed, native),
            ):
                disputed += int(np.abs(np.array(row[key]) - bands(guess, label, BAND_PIXELS[key])).sum())
    assert disputed <= 4  # folding batch-norm may flip a pixel whose scores tie to the last bits


def test_pictures_recounts_and_repetitions_pad_too(made: tuple[Plan, Path]) -> None:
    plan, folder = made
    recorded = RecordedEpisodes()
    run = read_run(folder)
    assert "12 predictions and the masks" in recorded.recount(run)  # the masks at the input size are the padded ones
    images = recorded.images(run, 3)
    assert np.array_equal(images.query, square(plan, plan.table.queries[3]))
    assert np.array_equal(images.truth, mask_of(plan, plan.table.queries[3], plan.table.classes[3][0])[0])
    (again,) = predicted_labels({folder: [3]}).values()
    (stored,) = recorded.predictions(run, [3]) or []
    assert np.array_equal(again, stored)
    assert (run.settings.pad_multiple, run.settings.boundary) == (8, 0.04)
    assert list((folder / "panels").iterdir())


def test_predict_pads_as_the_run_did(made: tuple[Plan, Path]) -> None:
    plan, folder = made
    predictor = Predictor(folder)
    assert "input 64 x 64, padded" in predictor.title
    assert Predictor(folder, size=96)._size.multiple == 8
    for i in (0, 5):
        (support,), class_id = plan.table.supports[i][0], plan.table.classes[i][0]
        mask = plan.source.class_masks(support, [class_id])[0]
        predictor.set_support([plan.source.image(support)], [(mask == 1).astype(np.uint8)])
        found = predictor.predict(plan.source.image(plan.table.queries[i])).mask
        native = mask_of(plan, plan.table.queries[i], class_id)[1]
        assert found.shape == native.shape
        assert np.abs(np.array(counts(folder)[i][3]) - matrix(found, native)).sum() <= 40  # void of the support


def test_it_trains_and_is_evaluated_at_several_scales(tmp_path: Path) -> None:
    request = tiny_request(tmp_path, settings={**PAD, **tiny_training()}, iterations=2, scales=(0.7, 1.0))
    folder = finish(request)
    totals = {(sum(at_input), sum(at_native)) for _, _, at_input, at_native in counts(folder)}
    assert max(at_input for at_input, _ in totals) <= TALL * WIDE  # padding is void
    assert max(at_native for _, at_native in totals) <= 40 * 30


def test_bands_are_in_tables_and_frames(made: tuple[Plan, Path]) -> None:
    _, folder = made
    rows, run = read_lines(folder / "episodes.jsonl"), read_run(folder)
    expected = {}
    for resolution in ("input", "native"):
        of_class: dict[int, np.ndarray] = {}
        for row in rows:
            of_class.setdefault(row["classes"][0], np.zeros(3))
            of_class[row["classes"][0]] += row[f"{resolution}_boundary"]
        expected[resolution] = 100 * np.mean([counted[0] / counted.sum() for counted in of_class.values()])
    (table,) = runs_tables(find_runs(folder), resolution="native")
    place = [column.title for column in table.columns].index("1-shot boundary")
    assert table.rows[0][place].value is None  # of one of four folds there is no mean
    assert "lie within 4 % of the image's diagonal" in " ".join(table.remarks)
    frame = fsseg_bench.results(folder)
    found = frame[frame["metric"] == "boundary"].set_index("resolution")
    assert found["iou"].to_dict() == pytest.approx(expected)
    assert (found["iou_low"] < found["iou"]).all()
    shown = record_facts(folder)["scores"]["native"]["boundary-IoU"]["iou"]
    assert shown == pytest.approx(expected["native"])
    assert run.info.scores["native"]["boundary_iou"] == pytest.approx(expected["native"] / 100)
