"""Runs that train on another protocol's data: what is trained on, what the run is, and what is said of it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fsseg_bench.data.prepare.sources import of_protocol_file
from fsseg_bench.data.prepare.verify import describe, verify
from fsseg_bench.engine.batch import plan_all
from fsseg_bench.engine.checkpoint import load_state
from fsseg_bench.engine.estimate import measure
from fsseg_bench.engine.open_run import open_run
from fsseg_bench.engine.plan import Plan, make_plan
from fsseg_bench.errors import NotHereError, UserError
from fsseg_bench.progress import Progress
from fsseg_bench.protocol.load import load_protocol
from fsseg_bench.records.read import read_run
from fsseg_bench.records.request import RunRequest
from fsseg_bench.report.record_facts import record_facts
from tests.support.datasets import CLASSES, write_coco, write_protocol
from tests.support.tiny_run import finish, tiny_request, tiny_training

FIXTURE = Path(__file__).parents[1] / "fixtures" / "staged"
TRAINED = {"iterations": 2, "settings": tiny_training()}


def write_across(folder: Path, fold: int = 1, *, classes: list[str] | None = None, **values: Any) -> Path:
    """A protocol that trains on tiny-voc and tests on tiny-coco, which has the same scenes."""
    names = classes or [f"x-{name}" for name in CLASSES]
    path = write_protocol(folder / "across.toml", "coco", size=64, count=12, train_list=[], classes=CLASSES, **values)
    text = path.read_text().replace('name = "tiny-coco"', 'name = "across"')
    path.write_text(f'{text}\n[train]\nprotocol = "tiny-voc.toml"\nfold = {fold}\n')
    instances = folder / "tiny-coco" / "annotations" / "instances_val2017.json"
    for old, new in zip(CLASSES, names, strict=True):
        path.write_text(path.read_text().replace(f'"{old}"', f'"{new}"'))
    table = json.loads(instances.read_text())
    table["categories"] = [{"id": 10 * i, "name": name} for i, name in enumerate(names, start=1)]
    instances.write_text(json.dumps(table))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_request(tmp_path)  # writes tiny-voc
    write_coco(tmp_path / "tiny-coco", train=0, val=6, seed=5)
    write_across(tmp_path)
    return tmp_path


def request(folder: Path, **changes: Any) -> RunRequest:
    return tiny_request(folder, **{"dataset": str(folder / "across.toml"), **changes})


def plan(folder: Path, **changes: Any) -> Plan:
    return make_plan(request(folder, **changes))


def test_the_training_is_that_of_a_run_under_the_other_protocol(folder: Path) -> None:
    """To the bit: the images, masks, classes and label values are the other protocol's, the geometry is equal."""
    across = finish(request(folder, **TRAINED))
    there = finish(tiny_request(folder, **TRAINED))
    ours, theirs = (load_state(run / "checkpoint.pt").model for run in (across, there))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    ones = (json.loads(line) for line in (across / "episodes.jsonl").read_text().splitlines())
    assert {c for row in ones for c in row["classes"]} == {1, 2}
    record = read_run(across)
    assert record.settings.base_classes == 6
    assert record.settings.training_data == "tiny-voc, fold 1 held out"
    assert record_facts(across)["training_data"] == "tiny-voc, fold 1 held out"
    assert open_run(across).plan.settings.identity == record.info.identity


def test_label_values_and_geometry(folder: Path) -> None:
    """Class labels of the training, for methods that read them, are the other protocol's base classes."""
    write_across(folder, fold=0)
    settings = {**tiny_training(), "protocol.image.size": "48"}
    planned = plan(folder, method="bam", iterations=1, settings={**settings, "stage.base.iterations": "1"})
    assert planned.training is not None
    assert planned.training.rules.base == tuple(range(1, 9))
    assert planned.base_classes == 8
    assert planned.protocol.base_classes(1) == (3, 4, 5, 6, 7, 8)
    shown = {image for images in planned.training.index.train_pairs(0).values() for image in images}
    assert shown
    assert all(image.startswith("train_c") for image in shown)
    assert planned.training.protocol.image.size == 48


def test_a_run_without_training_needs_no_training_data(folder: Path) -> None:
    trained = plan(folder, **TRAINED)
    shutil.rmtree(folder / "tiny-voc")
    untrained = plan(folder)
    assert untrained.settings.method_digest == trained.settings.method_digest  # or rows of a table would say it
    assert untrained.training is None
    assert (untrained.settings.training_data, untrained.settings.training_fingerprint) == (None, None)
    with pytest.raises(NotHereError, match=r"across trains on tiny-voc: the data of tiny-voc were not found"):
        plan(folder, **TRAINED)
    (planned,) = plan_all([request(folder, **TRAINED)], {}, here=False).runs
    assert "across trains on tiny-voc" in planned.lacking[0]


def test_training_images_are_part_of_what_a_run_is(folder: Path) -> None:
    first = plan(folder, **TRAINED).settings
    (name, *_) = sorted((folder / "tiny-voc" / "SegmentationClass").glob("train_*"))
    name.write_bytes(sorted((folder / "tiny-voc" / "SegmentationClass").glob("val_*"))[0].read_bytes())
    second = plan(folder, **TRAINED).settings
    assert first.without("training_fingerprint") == second.without("training_fingerprint")
    assert first.training_fingerprint != second.training_fingerprint
    assert first.identity != second.identity


def test_a_checkpoint_of_it_is_evaluated_in_every_fold(folder: Path) -> None:
    """Its training held out none of the classes of these folds, whichever fold it was made in."""
    run = finish(request(folder, **TRAINED))
    there = plan(folder, fold=2, eval_only=str(run), iterations=None)
    assert there.training is None
    assert there.trained is not None
    assert there.trained.settings is not None
    assert there.trained.settings.training_data == "tiny-voc, fold 1 held out"
    own = finish(tiny_request(folder, **TRAINED))
    with pytest.raises(UserError, match="has seen classes of fold 2"):
        make_plan(tiny_request(folder, fold=2, eval_only=str(own), iterations=None))


def test_names_that_are_trained_on_are_said_and_kept(folder: Path) -> None:
    write_across(folder, fold=0, classes=["An Chor", *(f"x-{name}" for name in CLASSES[1:])])
    wanted = request(folder, **TRAINED)
    notes = plan_all([wanted], {}).notes
    text = (
        "of the 2 novel classes, 1 cannot count as unseen: class of its name is trained on (tiny-voc, no fold held "
        "out): An Chor"
    )
    assert f"warning: {text}" in notes
    assert any(note.startswith("training data: tiny-voc, no fold held out, 8 classes, 32 images") for note in notes)
    assert text in json.loads((finish(wanted) / "run.json").read_text())["remarks"]
    untrained = plan_all([request(folder)], {}).notes
    assert not any("unseen" in note or "training data" in note for note in untrained)


def test_photos_of_the_test_are_not_trained_on(folder: Path) -> None:
    """The same bytes under another name in the other data set."""
    photo = folder / "tiny-coco" / "val2017" / "val_c3_1.jpg"
    shutil.copy(photo, folder / "tiny-voc" / "JPEGImages" / "train_c5_2.jpg")
    planned = plan(folder, **TRAINED)
    assert planned.training is not None
    assert "train_c5_2" not in {i for images in planned.training.index.train_pairs(1).values() for i in images}
    (remark,) = (text for text in planned.remarks if "left out" in text)
    assert "train_c5_2 is val2017/val_c3_1" in remark
    kept = plan(folder, iterations=2, settings={**tiny_training(), "protocol.data.train_excludes_test": "false"})
    assert kept.training is not None
    assert "train_c5_2" in {i for images in kept.training.index.train_pairs(1).values() for i in images}
    assert kept.settings.training_fingerprint != planned.settings.training_fingerprint


def test_stages_are_trained_on_it_too(folder: Path) -> None:
    own = {"method": "staged", "methods_path": str(FIXTURE), "iterations": None}
    (stage,) = plan(folder, **own).stages
    (there,) = make_plan(tiny_request(folder, **own)).stages
    assert stage.key.settings["classes"] == list(CLASSES)
    assert (stage.key.settings["fold"], stage.key.settings["base"]) == (1, [3, 4, 5, 6, 7, 8])
    assert stage.chosen == there.chosen


def test_an_estimate_is_of_the_other_protocols_training(folder: Path) -> None:
    """A protocol of one fold has no base classes of its own to make episodes of."""
    wanted = request(folder, **TRAINED)
    protocol = load_protocol(folder / "across.toml")
    protocol = replace(protocol, folds={1: protocol.folds[1]})
    assert protocol.base_classes(1) == ()
    planned = make_plan(wanted)
    assert measure(planned.model, wanted, protocol, planned.recipe, torch.device("cpu")).step > 0


def test_data_verify_looks_at_both(folder: Path) -> None:
    path = folder / "across.toml"
    protocol = load_protocol(path)
    found = verify(of_protocol_file(str(path)), protocol, None, Progress())
    assert not found.problems
    assert any(note.startswith("trained on, tiny-voc: list train: 32 images") for note in found.notes)
    assert "trained on: tiny-voc, fold 1 held out" in describe(of_protocol_file(str(path)), protocol, None)
    broken = folder / "tiny-voc" / "JPEGImages" / "train_c1_0.jpg"
    broken.write_bytes(b"")
    problems = verify(of_protocol_file(str(path)), protocol, None, Progress(), fast=True).problems
    assert problems == [f"{broken}: the file is empty"]
