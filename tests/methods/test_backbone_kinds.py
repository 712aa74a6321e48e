"""Each kind of timm's networks runs methods that train and one that does not, on photographs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fsseg_bench.records.request import RunRequest
from tests.support.tiny_run import finish

VOC12_MINI = Path(__file__).parents[1] / "fixtures" / "voc12-mini.toml"
KINDS = {"vit": "timm:test_vit", "convnext": "timm:test_convnext", "efficientnet": "timm:test_efficientnet"}


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_runs_each_sort_of_method(kind: str, test_data: Path, tmp_path: Path) -> None:
    """Small networks of random numbers, one training step: that it runs, and counts each pixel once."""
    pytest.importorskip("timm", reason="timm is not installed (the extra timm)")
    for method, training in (("baseline", {"recipe.batch": 1}), ("biopt", {"recipe.batch": 1}), ("insid3", {})):
        folder = finish(
            RunRequest(
                method=method,
                dataset=str(VOC12_MINI),
                data_root=str(test_data / "data"),
                backbone=KINDS[kind],
                weights="none",
                device="cpu",
                iterations=1 if training else None,
                episodes="6",
                settings={"protocol.image.size": 97, **training},
                workers=0,
                panels=0,
                no_check=True,
                out=str(tmp_path),
            )
        )
        pixels = [sum(json.loads(line)["input"]) for line in (folder / "episodes.jsonl").read_text().splitlines()]
        assert len(pixels) == 6
        assert all(0.5 * 97**2 < count <= 97**2 for count in pixels), (method, pixels)  # void pixels are not counted
        assert (folder / "train.jsonl").exists() == bool(training)
