"""The bytes of test images belong to a run: changed ones are another run, and none slips in meanwhile."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from fsseg_bench.engine.batch import plan_all
from fsseg_bench.engine.open_run import open_run
from fsseg_bench.engine.plan import make_plan
from fsseg_bench.engine.run import execute
from fsseg_bench.engine.training_data import OpenSources
from fsseg_bench.errors import UserError
from fsseg_bench.records.request import RunRequest
from fsseg_bench.records.run import RunRecord
from fsseg_bench.records.settings import identity_hash
from tests.support.runs import edit_info
from tests.support.tiny_run import Watched, tiny_request, tiny_training


def finish(request: RunRequest) -> tuple[RunRecord, list[str]]:
    said = Watched()
    return execute(make_plan(request), said), said.said


def query(request: RunRequest, episode: int = 0) -> Path:
    plan = make_plan(request)
    return plan.source.image_path(plan.table.queries[episode])


def one_bit_changed(path: Path) -> bytes:
    """The bytes of a JPEG of the same size that still decodes, to other pixels."""
    whole = path.read_bytes()
    before = Image.open(path).tobytes()
    copy = path.with_name("copy.jpg")
    for place in range(len(whole) - 40, 0, -1):
        data = bytearray(whole)
        data[place] ^= 1
        copy.write_bytes(data)
        try:
            after = Image.open(copy).tobytes()
        except (OSError, SyntaxError):
            continue
        if after != before:
            copy.unlink()
            return bytes(data)
    raise AssertionError("no such bit")


def test_a_damaged_image_of_equal_size_is_another_run_and_the_user_is_told(tmp_path: Path) -> None:
    request = tiny_request(tmp_path)
    first, lines = finish(request)
    assert lines == []
    path = query(request)
    data = one_bit_changed(path)
    assert len(data) == path.stat().st_size
    path.write_bytes(data)
    second, lines = finish(request)
    assert second.folder != first.folder
    (line,) = lines
    assert line == (
        f"{first.folder}: a run with the same settings, but other test images or masks; this one begins anew "
        f"(changed: {path.stem})"
    )
    assert (first.folder / "evaluated.csv").read_text() != (second.folder / "evaluated.csv").read_text()
    assert finish(request)[1] == [f"{second.folder}: already finished"]


def test_a_changed_mask_of_equal_size_is_another_run(tmp_path: Path) -> None:
    request = tiny_request(tmp_path)
    plan = make_plan(request)
    mask = tmp_path / "tiny-voc" / "SegmentationClass" / f"{plan.table.supports[3][0][0]}.png"
    time = mask.stat()
    labels = Image.open(mask)
    labels.putpixel((0, 0), 255)
    labels.save(mask)
    import os

    os.utime(mask, ns=(time.st_atime_ns, time.st_mtime_ns))
    other = make_plan(request)
    assert other.settings.identity != plan.settings.identity
    assert other.settings.evaluated_digest != plan.settings.evaluated_digest


def test_images_that_no_episode_needs_do_not_count(tmp_path: Path) -> None:
    request = tiny_request(tmp_path)
    plan = make_plan(request)
    used = {image for i in range(len(plan.table)) for image in plan.table.images(i)}
    (unused, *_) = sorted(p for p in (tmp_path / "tiny-voc" / "JPEGImages").glob("val_*.jpg") if p.stem not in used)
    unused.write_bytes(one_bit_changed(unused))
    again = make_plan(request)
    assert again.settings.evaluated_digest == plan.settings.evaluated_digest


@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_that_is_damaged_between_planning_and_evaluation_ends_the_run(tmp_path: Path, workers: int) -> None:
    request = tiny_request(tmp_path, workers=workers)
    plan = make_plan(request)
    path = plan.source.image_path(plan.table.queries[-1])
    path.write_bytes(one_bit_changed(path))
    with pytest.raises(UserError, match=rf"{path.stem}\.jpg: the image has changed since this run was planned"):
        execute(plan)
    (info,) = (tmp_path / "runs").rglob("run.json")
    assert json.loads(info.read_text())["status"] == "failed"
    assert path.stem in json.loads(info.read_text())["reason"]


def test_a_broken_image_is_found_before_training(tmp_path: Path) -> None:
    request = tiny_request(tmp_path, iterations=2, settings=tiny_training())
    path = query(request, 5)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=rf"1 of \d+ test images cannot be evaluated.*{path.stem}\.jpg"):
        make_plan(request)
    assert not (tmp_path / "runs").exists()
    with pytest.raises(UserError, match=rf"{path.stem}\.jpg: the image cannot be read"):
        finish(replace(request, no_check=True))
    (log,) = (tmp_path / "runs").rglob("train.jsonl")
    assert len(log.read_text().splitlines()) == 2  # it was trained all the same


def test_the_check_is_no_part_of_the_identity(tmp_path: Path) -> None:
    request = tiny_request(tmp_path)
    assert make_plan(request).settings == make_plan(replace(request, no_check=True)).settings


def test_each_image_is_read_and_decoded_once_for_all_plans_of_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: OpenSources = {}
    request = tiny_request(tmp_path)
    make_plan(request, opened)
    ((own, _),) = opened.values()
    monkeypatch.setattr(type(own), "content", lambda *_, **__: pytest.fail("read again"))
    monkeypatch.setattr(type(own), "image", lambda *_, **__: pytest.fail("decoded again"))
    make_plan(replace(request, method="panet"), opened)


def test_methods_that_look_at_further_images_have_the_same_test_images(tmp_path: Path) -> None:
    folder = str(Path(__file__).parents[1] / "fixtures" / "methods")
    plain = make_plan(tiny_request(tmp_path))
    more = make_plan(tiny_request(tmp_path, method="demanding", methods_path=folder))
    assert more.settings.evaluated_digest == plain.settings.evaluated_digest
    assert plain.settings.unlabelled_digest is None
    image = more.source.image_path(more.further[0][0][0])
    image.write_bytes(one_bit_changed(image))
    changed = make_plan(tiny_request(tmp_path, method="demanding", methods_path=folder))
    assert changed.settings.unlabelled_digest != more.settings.unlabelled_digest


def test_a_run_whose_images_changed_is_not_opened_again(tmp_path: Path) -> None:
    request = tiny_request(tmp_path)
    record, _ = finish(request)
    assert not open_run(record.folder).changed_code
    path = query(request)
    path.write_bytes(one_bit_changed(path))
    with pytest.raises(UserError, match="evaluated_digest"):
        open_run(record.folder)


def test_a_record_from_before_images_were_digested_is_opened_again(tmp_path: Path) -> None:
    record, _ = finish(tiny_request(tmp_path))
    folder = shutil.copytree(record.folder, tmp_path / "old")
    settings = record.info.settings.without("evaluated_digest")
    edit_info(folder, settings=settings, identity=identity_hash(settings))
    assert not open_run(folder).changed_code


def test_a_run_goes_on_with_the_threads_that_it_was_begun_with(tmp_path: Path) -> None:
    request = tiny_request(tmp_path)
    number = torch.get_num_threads()
    record, _ = finish(request)
    assert record.info.provenance.threads == number
    try:
        torch.set_num_threads(number + 1)
        _, lines = finish(request)
        assert f"begun with {number} threads on the CPU, this process has {number + 1}" in lines[-1]
        edit_info(record.folder, status="evaluating")
        record, lines = finish(request)
        assert f"goes on with {number} thread" in lines[0]
        assert f"({number + 1} by default now; with --threads {number + 1} sums" in lines[0]
        assert record.info.resumed[-1]["changed"] == []
        edit_info(record.folder, status="evaluating")
        (planned,) = plan_all([request], {}).runs
        assert planned.request.threads == number
        (asked,) = plan_all([replace(request, threads=number + 2)], {}).runs
        assert asked.request.threads == number + 2
        record, lines = finish(replace(request, threads=number + 2))
        assert f"begun with {number} threads on the CPU, this process has {number + 2}" in lines[0]
        assert record.info.resumed[-1]["changed"] == [f"threads: {number} / {number + 2}"]
        other, _ = finish(replace(request, fold=2))
        assert other.info.provenance.threads == number + 1  # what was asked for one run is not for the next
    finally:
        torch.set_num_threads(number)
