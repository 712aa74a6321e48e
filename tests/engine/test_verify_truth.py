"""Labels of records of the same episodes, which different people made: who is called wrong, and who is not."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import pytest

from fsseg_bench.engine.verify_truth import same_truth
from fsseg_bench.records.owner import Owner, note_owner
from tests.support.packs import EVALUATED, TABLE
from tests.support.runs import SPREAD, write_run

OTHER = (((1,), (65, 15, 10, 10)), *SPREAD[1:])
"""Five pixels of the first query are background."""
GOOD, WRONG, DIFFER = (True, True), (False, True), (False, False)
"""``good`` and ``done`` of a verdict."""


class Made(NamedTuple):
    """A record, and whose it is."""

    pack: str = ""
    by: str | None = None
    other: bool = False
    """Whether its first label has other pixels."""
    files: str = ""
    """Images whose files of labels are others."""


def _write(root: Path, made: Made, seed: int) -> Path:
    lines = [line[:-1] + "9" if line.partition(",")[0] in [*made.files] else line for line in EVALUATED.splitlines()]
    text = "\n".join(lines) + "\n"
    episodes = OTHER if made.other else SPREAD
    folder = write_run(root, episodes, table=TABLE, seed=seed, evaluated_digest=_sha(text.encode()))
    (folder / "evaluated.csv").write_text(text)
    if made.pack:
        note_owner(folder, Owner(made.by, made.pack, made.pack * 64))
    return folder


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([Made(), Made()], [GOOD, GOOD]),
        ([Made(), Made(), Made(other=True)], [GOOD, GOOD, WRONG]),
        ([Made("a"), Made("a"), Made("a", other=True)], [GOOD, GOOD, WRONG]),
        ([Made("a"), Made("b", other=True), Made("b", other=True)], [DIFFER] * 3),
        ([Made("a"), Made("b", "Eve", other=True), Made("c", "Eve", other=True)], [DIFFER] * 3),
        ([Made("a"), Made("b"), *[Made("c", other=True)] * 3], [GOOD, GOOD, WRONG, WRONG, WRONG]),
        ([Made(), Made("b"), Made("c", other=True)], [GOOD, GOOD, WRONG]),
        ([Made("a"), Made("b", files="abcd")], [GOOD, GOOD]),
        ([Made("a"), Made("b", other=True, files="d")], [DIFFER, DIFFER]),
        ([Made("a"), Made("b"), Made("c", other=True, files="d")], [GOOD, GOOD, WRONG]),
        ([Made("a"), Made("b"), Made("c", other=True, files="a")], [DIFFER] * 3),
    ],
)
def test_who_is_called_wrong(tmp_path: Path, records: list[Made], expected: list[tuple[bool, bool]]) -> None:
    """One voice a pack, and one a name; of files of labels that differ, nobody knows which is right."""
    folders = [_write(tmp_path, made, seed) for seed, made in enumerate(records)]
    found = same_truth(folders)
    assert [(found[folder].good, found[folder].done) for folder in folders] == expected
    assert ("another version of the data set" in found[folders[0]].words) is (records[-1].files == "a")


def test_records_of_other_episodes_are_not_compared(tmp_path: Path) -> None:
    alone = write_run(tmp_path, SPREAD, table=TABLE)
    assert same_truth([alone, write_run(tmp_path, SPREAD, episode_digest="0" * 64)]) == {}
