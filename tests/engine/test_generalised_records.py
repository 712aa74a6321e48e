"""Records of generalised runs as a user has them: checked, listed, made again, changed, written by one at a time."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fsseg_bench.cli.listing import list_
from fsseg_bench.cli.reproduce import reproduce
from fsseg_bench.cli.verify import verify
from fsseg_bench.engine.generalised.run import run_generalised
from fsseg_bench.errors import LockedError, UserError
from fsseg_bench.records.generalised import IMAGES_FILE, RECORD_FILE, generalised_folders, identity_of
from fsseg_bench.records.request import RunRequest
from fsseg_bench.storage.lock import FolderLock
from tests.support.datasets import write_protocol, write_voc


@pytest.fixture(scope="module")
def request_(tmp_path_factory: pytest.TempPathFactory) -> RunRequest:
    folder = tmp_path_factory.mktemp("generalised-records")
    write_voc(folder / "tiny-voc", train=1, val=1)
    path = write_protocol(folder / "tiny.toml", min_object_pixels=1)
    text = path.read_text(encoding="utf-8")
    old, new = (
        'count = 20\nseed = 7\nclass_sampling = "uniform"',
        'count = 0\nseed = [1, 2]\nclass_sampling = "each-image"',
    )
    assert old in text
    path.write_text(text.replace(old, f'{new}\ntask = "generalised"'), encoding="utf-8")
    options: dict[str, Any] = {"backbone": "resnet18-layer1", "weights": "none", "iterations": 0, "fold": 2}
    return RunRequest("baseline", str(path), out=str(folder / "runs"), **options)


@pytest.fixture(scope="module")
def made(request_: RunRequest) -> Path:
    return run_generalised(request_)


def test_a_sound_record_is_verified_and_listed(made: Path) -> None:
    for given in (made, made / RECORD_FILE, made.parent):
        told = CliRunner().invoke(verify, [str(given), "--parts"])
        assert told.exit_code == 0, told.output
        assert "ok    images.jsonl: as it was written; 8 images" in told.output
        assert "2 draws of supports counted again" in told.output
    listed = CliRunner().invoke(list_, ["runs", "--results", str(made.parents[1])])
    assert listed.exit_code == 0, listed.output
    assert "all at once" in listed.output and made.name in listed.output.replace("\n", "")


Facts = dict[str, Any]


def _pixel_more(facts: Facts, lines: list[Facts]) -> None:
    lines[0]["native"][0][2] += 1


def _another_image(facts: Facts, lines: list[Facts]) -> None:
    lines[1]["image"] = lines[0]["image"]


def _score(facts: Facts, lines: list[Facts]) -> None:
    facts["runs"][1]["input"]["scores"]["mean of base and novel"] += 1e-6


def _confusion(facts: Facts, lines: list[Facts]) -> None:
    facts["runs"][0]["input"]["confusion"][0][0] += 1


def _support(facts: Facts, lines: list[Facts]) -> None:
    facts["runs"][0]["supports"]["3"] = ["val_c1_0"]


def _label(facts: Facts, lines: list[Facts]) -> None:
    lines[0]["input"][0][0] = 9


def _setting(facts: Facts, lines: list[Facts]) -> None:
    facts["settings"]["shot"] = 5


@pytest.mark.parametrize(
    ("change", "part", "words"),
    [
        (_another_image, IMAGES_FILE, "has an image twice: val_c1_0"),
        (_pixel_more, "scores", "seed 1, native size: the confusion matrix is not the sum of the images'"),
        (_confusion, "scores", "seed 1, input size: the confusion matrix is not the sum of the images'"),
        (_score, "scores", "seed 2, input size: mean of base and novel is 0."),
        (_support, IMAGES_FILE, "the supports of seed 1 are not those of the settings"),
        (_label, IMAGES_FILE, "has a line that is not the counts of an image"),
        (_setting, RECORD_FILE, "its settings are not those that the run was made with"),
    ],
)
def test_a_change_is_found_though_its_digest_was_changed_with_it(
    made: Path, tmp_path: Path, change: Callable[[Facts, list[Facts]], None], part: str, words: str
) -> None:
    facts = json.loads((made / RECORD_FILE).read_text(encoding="utf-8"))
    lines = [json.loads(line) for line in (made / IMAGES_FILE).read_text(encoding="utf-8").splitlines()]
    change(facts, lines)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / IMAGES_FILE).write_text(text, encoding="utf-8")
    facts["images_sha256"] = hashlib.sha256(text.encode()).hexdigest()
    (tmp_path / RECORD_FILE).write_text(json.dumps(facts), encoding="utf-8")
    told = CliRunner().invoke(verify, [str(tmp_path)])
    assert told.exit_code == 1
    assert f"WRONG {part}: {words}" in told.output, told.output
    assert "ok " not in told.output


def test_the_identity_is_the_digest_of_the_settings(made: Path) -> None:
    facts = json.loads((made / RECORD_FILE).read_text(encoding="utf-8"))
    text = json.dumps(facts["settings"], sort_keys=True)
    assert facts["identity"] == hashlib.sha256(text.encode()).hexdigest() == identity_of(facts["settings"])


def test_one_writes_at_a_time_and_fresh_keeps_the_former(request_: RunRequest, made: Path) -> None:
    fresh = replace(request_, fresh=True)
    with FolderLock(made), pytest.raises(LockedError, match="another process is writing"):
        run_generalised(fresh)
    before = (made / IMAGES_FILE).read_bytes()
    assert run_generalised(fresh) == made
    aside = made.with_name(f"{made.name}.old-1")
    assert (aside / IMAGES_FILE).read_bytes() == before == (made / IMAGES_FILE).read_bytes()
    assert list(generalised_folders(made.parents[1])) == [made]


def test_reproduce_says_what_to_do_instead(made: Path) -> None:
    told = CliRunner().invoke(reproduce, [str(made)])
    assert isinstance(told.exception, UserError)
    assert "which reproduce does not compare" in str(told.exception) and "verify" in str(told.exception)
