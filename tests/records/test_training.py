"""The end of a training log: means by hand, the constant predictor beside them, and records that were edited."""

from __future__ import annotations

from typing import Any

import pytest

from fsseg_bench.records.training import LossSummary, training_summary

THREE_QUARTERS = 0.5623351446188083  # 3/4 log 4/3 + 1/4 log 4


def _row(loss: float, labels: list[int], **parts: float) -> dict[str, Any]:
    return {"loss": loss, "parts": parts or {"query": loss}, "labels": labels}


def test_the_last_fifty_steps_alone() -> None:
    rows = [_row(9.0, [0, 100])] * 30 + [_row(0.5, [50, 0])] * 25 + [_row(0.25, [25, 25])] * 25
    # 75 to 25 pooled; the steps' own entropies are lower
    assert training_summary(rows) == LossSummary(50, pytest.approx(0.375), None, pytest.approx(THREE_QUARTERS))


def test_a_short_training_and_a_loss_of_parts() -> None:
    rows = [_row(3.0, [3, 1], query=1.0, align=2.0), _row(4.0, [3, 1], query=3.0, align=1.0)]
    means = {"query": 2.0, "align": 1.5}
    assert training_summary(rows) == LossSummary(2, 3.5, means, pytest.approx(THREE_QUARTERS))
    assert training_summary([]) is None


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
    ],
)
def test_words(training: Any, words: str) -> None:
    assert str(LossSummary(**training)) == words
