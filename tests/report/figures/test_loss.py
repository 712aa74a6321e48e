from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fsseg_bench.errors import UserError
from fsseg_bench.report.contender import Contender
from fsseg_bench.report.figures.loss import loss_curve, loss_figure, smoothed
from fsseg_bench.report.select import select
from tests.support.runs import write_run


def write_trained(root: Path, losses: list[float], parts: tuple[str, ...] = ("final",), **changes: object) -> Path:
    folder = write_run(root, **changes)
    rows = [
        {"iteration": i, "lr": 0.1, "loss": loss, "parts": {name: loss / (k + 2) for k, name in enumerate(parts)}}
        for i, loss in enumerate(losses)
    ]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def contender(root: Path, text: str = "baseline") -> Contender:
    return select([text], root, {}).contenders[0]


def test_a_curve_is_the_mean_over_the_folds_as_far_as_all_go(tmp_path: Path):
    write_trained(tmp_path, [4.0, 2.0, 3.0])
    write_trained(tmp_path, [2.0, 1.0], fold=2)
    curve = loss_curve(contender(tmp_path))
    assert (curve.name, curve.folds) == ("baseline", (1, 2))
    assert curve.total.tolist() == [3.0, 1.5]
    assert {name: part.tolist() for name, part in curve.parts.items()} == {"final": [1.5, 0.75]}


def test_smoothing_by_hand_and_against_a_loop():
    centres, means = smoothed(np.array([1.0, 2.0, 6.0, 3.0]), 3)
    assert (centres.tolist(), means.tolist()) == ([1.0, 2.0], pytest.approx([3.0, 11 / 3]))
    values = np.random.default_rng(0).random(50)
    centres, means = smoothed(values, 8)
    assert centres[0] == 3.5
    assert means == pytest.approx([sum(values[i : i + 8]) / 8 for i in range(43)])
    centres, means = smoothed(np.array([1.0, 3.0]), 10)
    assert (centres.tolist(), means.tolist()) == ([0.5], [2.0])


def test_the_figure_shows_raw_smoothed_and_final_losses(tmp_path: Path):
    rng = np.random.default_rng(1)
    losses = {name: rng.random(60).tolist() for name in ("baseline", "biopt")}
    write_trained(tmp_path, losses["baseline"])
    write_trained(tmp_path, losses["biopt"], ("support", "start", "final"), method="biopt")
    curves = [loss_curve(contender(tmp_path, name)) for name in losses]
    (axes,) = loss_figure(curves, "toy", window=5).axes
    raw_a, line_a, raw_b, line_b, final_b = axes.lines
    assert raw_a.get_ydata().tolist() == losses["baseline"]
    assert raw_b.get_ydata().tolist() == losses["biopt"]
    for line, values in (
        (line_a, losses["baseline"]),
        (line_b, losses["biopt"]),
        (final_b, [x / 4 for x in losses["biopt"]]),
    ):
        assert line.get_xdata().tolist() == list(range(2, 58))
        assert line.get_ydata().tolist() == pytest.approx([np.mean(values[i : i + 5]) for i in range(56)])
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["baseline", "biopt (sum of 3 parts)", "biopt, part final alone"]
    assert "moving average over 5" in axes.get_xlabel()
    assert "moving average over 2" in loss_figure(curves, "toy").axes[0].get_xlabel()  # 60 // 25


def test_the_constant_predictor_is_drawn_where_labels_were_counted(tmp_path: Path):
    for fold, pixels in ((1, [[75, 25], [75, 25]]), (2, [[50, 50], [50, 50]])):
        folder = write_trained(tmp_path, [1.0, 0.5], fold=fold)
        rows = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
        text = "".join(json.dumps({**row, "labels": n}) + "\n" for row, n in zip(rows, pixels, strict=True))
        (folder / "train.jsonl").write_text(text)
    curve = loss_curve(contender(tmp_path))
    expected = (0.5623351446188083 + np.log(2)) / 2  # 3/4 log 4/3 + 1/4 log 4, and log 2
    assert curve.constant == pytest.approx([expected, expected])
    (axes,) = loss_figure([curve], "toy", window=1).axes
    assert axes.lines[-1].get_ydata().tolist() == pytest.approx([expected, expected])
    assert axes.get_legend().get_texts()[-1].get_text() == "baseline's labels, constant predictor"
    write_trained(tmp_path / "old", [1.0, 0.5])
    assert loss_curve(contender(tmp_path / "old")).constant is None


def test_mistakes(tmp_path: Path):
    folder = write_run(tmp_path)
    with pytest.raises(UserError, match=f"{folder}: has no training log; choose runs that were trained"):
        loss_curve(contender(tmp_path))
    root = tmp_path / "trained"
    path = write_trained(root, [1.0, 2.0]) / "train.jsonl"
    with pytest.raises(UserError, match="--window 0: it must be at least 1"):
        loss_figure([loss_curve(contender(root))], "", window=0)
    lines = path.read_text().splitlines(keepends=True)
    for text, told in (
        (lines[1] + lines[0], "line 2: its iteration is 0"),
        (lines[1], "not numbered 0, 1, 2"),
        (lines[0] + lines[1].replace('"final"', '"other"'), "the loss has other parts in some lines"),
        (lines[0] + lines[1].replace("2.0", '"much"'), "line 2: loss is much, not a number"),
        (lines[0] + lines[1].replace("2.0", "NaN"), "line 2: it is not a JSON object: NaN"),
        (lines[0] + lines[1].replace("2.0", "9" * 400), "line 2: .* too large"),
        ("damaged\n" + lines[0], "line 1: it is not a JSON object"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=told):
            loss_curve(contender(root))
