"""What a source leaves out or reads otherwise: said by ``data init``, ``data verify``, ``run``, and in the record."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from fsseg_bench.cli.data import data
from fsseg_bench.engine.batch import plan_all
from fsseg_bench.engine.plan import make_plan
from fsseg_bench.engine.run import execute
from fsseg_bench.records.info import read_info
from fsseg_bench.records.request import RunRequest
from tests.support.datasets import CLASSES, write_coco


def test_remarks_are_said_wherever_the_data_are_used(tmp_path: Path) -> None:
    root = write_coco(tmp_path / "mine", 3, 3)
    path = root / "annotations/instances_train2017.json"
    table = json.loads(path.read_text())
    table["annotations"][0]["segmentation"] = []
    table["annotations"][0]["iscrowd"] = "0"
    path.write_text(json.dumps(table))
    crowds = {name: f"annotations/instances_{name}2017.json: 8 annotations with iscrowd 1" for name in ("train", "val")}
    flag = "an iscrowd that is not the number 0 or 1 (text, true, false, null): read as 0 or 1; anchor 1 (id 1)"
    box = "without an outline (a box alone, or less than three points): left out; anchor 1 (id 1)"
    said = [
        f"{path.relative_to(root)}: 1 annotation {box}",
        f"{path.relative_to(root)}: 1 annotation with {flag}",
        *crowds.values(),
    ]
    protocol = root / "protocol.toml"
    for command in (["init", str(root)], ["verify", str(protocol)]):
        result = CliRunner().invoke(data, command, catch_exceptions=False)
        assert result.exit_code == 0
        for text in said:
            assert f"\n{text}" in result.output
    request = RunRequest(
        method="baseline",
        dataset=str(protocol),
        backbone="resnet18-layer2",
        weights="none",
        device="cpu",
        iterations=0,
        episodes="2",
        panels=0,
        workers=0,
        out=str(tmp_path / "runs"),
    )
    (note,) = [note for note in plan_all([request], {}).notes if note.startswith("data: ")]
    assert note == f"data: {said[0].partition(';')[0]} (and 3 remarks more: run.json, data verify)"
    with execute(make_plan(request)) as record:
        remarks = read_info(record.folder / "run.json").remarks
        assert len(remarks) == 4
        for remark, text in zip(remarks, said, strict=True):
            assert remark.startswith(text)
        assert "remarks" not in record.info.settings.to_json()
    assert set(CLASSES) <= set(remarks[3].replace(",", "").split()), "counted by class"
