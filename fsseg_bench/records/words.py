"""A record in words."""

from __future__ import annotations

from fsseg_bench.records.info import RunInfo


def result_words(info: RunInfo) -> str:
    """The score of a run that is done."""
    score = info.scores.get(info.settings.headline, {}).get("mean_iou")
    return "done" if score is None else f"mean IoU {100 * score:.2f} %"
