"""The end of a training log: means by hand, the constant predictor beside them, and records that were edited."""

from __future__ import annotations

from typing import Any

import pytest

from fsseg_bench.records.training import training_summary, training_words

THREE_QUARTERS = 0.5623351446188083  # 3/4 log 4/3 + 1/4 log 4


def _row(loss: float, labels: list[int], **parts: float) -> dict[str, Any]:
    return {"loss": loss, "parts": parts or {"query": loss}, "labels": labels}


def test_the_last_fifty_steps_alone() -> None:
    rows = [_row(9.0, [0, 100])] * 30 + [_row(0.5, [50, 0])] * 25 + [_row(0.25, [25, 25])] * 25
    assert training_summary(rows) == {
        "steps": 50,
        "loss": pytest.approx(0.375),
        "constant_predictor": pytest.approx(THREE_QUARTERS),  # 75 to 25 pooled; the steps' own entropies are lower
    }


def test_a_short_training_and_a_loss_of_parts() -> None:
    rows = [_row(3.0, [3, 1], query=1.0, align=2.0), _row(4.0, [3, 1], query=3.0, align=1.0)]
    assert training_summary(rows) == {
        "steps": 2,
        "loss": 3.5,
        "parts": {"query": 2.0, "align": 1.5},
        "constant_predictor": pytest.approx(THREE_QUARTERS),
    }
    assert training_summary([]) == {}


@pytest.mark.parametrize(
    ("training", "words"),
    [
        (
            {"steps": 50, "loss": 0.44123, "constant_predictor": 0.49612},
            "0.4412 (mean of the last 50 steps); constant predictor 0.4961",
        ),
        (
            {"steps": 50, "loss": 1.5, "parts": {"a": 1.0, "b": 0.5}, "constant_predictor": 0.5},
            "1.5000 (mean of the last 50 steps), the sum of 2 parts",
        ),
        ({"steps": 50, "loss": 0.5, "constant_predictor": None}, "0.5000 (mean of the last 50 steps)"),
        ({"steps": 50, "loss": "0.5"}, None),
        ({}, None),
        (None, None),
        ([1], None),
    ],
)
def test_words(training: Any, words: str | None) -> None:
    assert training_words({"training": training}) == words
    assert training_words({}) is None
