"""Whole runs of every method: several query scales and shots, half precision, and resuming."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from fsseg_bench.engine.plan import make_plan
from fsseg_bench.engine.run import execute
from fsseg_bench.records.lines import read_lines
from fsseg_bench.registry import method_names
from tests.support.tiny_run import tiny_request, tiny_stages, tiny_training, trained_methods

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("name", method_names())
def test_it_trains_and_evaluates_at_several_scales_in_half_precision(name: str, precision: str, tmp_path: Path) -> None:
    request = tiny_request(
        tmp_path,
        method=name,
        iterations=2 if name in trained_methods() else None,
        shot=2,
        scales=(0.7, 1.0, 1.3),
        precision=precision,
        episodes="6",
        settings=tiny_training(**{"recipe.lr": "0.001", "protocol.image.size": "40"}) | tiny_stages(name),
    )
    record = execute(make_plan(request))
    assert record.info.status == "done"
    assert len(read_lines(record.episodes_path)) == 6


@pytest.mark.parametrize("name", method_names())
def test_counts_depend_on_neither_head_batch_nor_cache(name: str, tmp_path: Path) -> None:
    request = tiny_request(tmp_path, method=name, episodes="8", settings=tiny_stages(name))
    folders = [
        execute(make_plan(dataclasses.replace(request, out=str(tmp_path / f"runs{i}"), **changes))).episodes_path
        for i, changes in enumerate(({}, {"head_batch": 3, "cache_gib": 0.0, "workers": 2}))
    ]
    one, two = ([(row["classes"], row["input"], row["native"]) for row in read_lines(folder)] for folder in folders)
    assert one == two
