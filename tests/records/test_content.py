"""Runs beside a new one that differ from it in nothing that anybody gave."""

from __future__ import annotations

import json
from pathlib import Path

from fsseg_bench.records.read import runs_with_other_content
from fsseg_bench.records.run import RunRecord
from tests.support.runs import request, settings, write_run


def told(root: Path, **changes: object) -> list[str]:
    with RunRecord.create(root, settings(**changes), request(), folds=4) as record:
        return runs_with_other_content(record)


def test_each_kind_of_content_is_named(tmp_path: Path) -> None:
    first = write_run(tmp_path)
    said = "a run with the same settings, but other {}; this one begins anew"
    assert told(tmp_path / "elsewhere") == []
    assert told(tmp_path) == []
    assert told(tmp_path, method_digest="c" * 64) == [f"{first}: {said.format('code')}"]
    words = "data, test images or masks (not noted there)"
    assert f"{first}: {said.format(words)}" in told(tmp_path, data_fingerprint="c" * 64, evaluated_digest="d" * 64)


def test_what_was_given_and_what_is_no_record_is_not_named(tmp_path: Path) -> None:
    first = write_run(tmp_path)
    assert told(tmp_path, method_digest="c" * 64, recipe={"iterations": 5}) == []
    assert told(tmp_path, method_digest="c" * 64, seed=1) == []
    first.rename(first.with_name(first.name + ".old-1"))
    broken = write_run(tmp_path, method_digest="d" * 64)
    (broken / "run.json").write_text(json.dumps({"schema": 1}))
    assert told(tmp_path, method_digest="e" * 64) == []
