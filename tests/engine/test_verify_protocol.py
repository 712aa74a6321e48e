"""The rules that a record states against those of the protocol that it claims to keep to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fsseg_bench.engine.verify import Verdict, verify
from fsseg_bench.records.request import RunRequest, protocol_of
from tests.support.runs import SPREAD, write_run


def _verdict(tmp_path: Path, passed: dict[str, Any], void: list[list[int]] | None = None, **changes: Any) -> Verdict:
    """On the protocol, of three episodes of the embedded images."""
    protocol = protocol_of(RunRequest(dataset="shapes5i", episodes=changes.pop("count", None)))
    novel = protocol.novel_classes(1)
    settings = {
        "protocol": protocol.name,
        "protocol_label": protocol.label,
        "protocol_version": protocol.version,
        "protocol_digest": protocol.digest,
        "novel": novel,
        "class_names": {str(c): protocol.class_name(c) for c in novel},
        "headline": protocol.scoring.headline,
    }
    folder = write_run(tmp_path, SPREAD, passed=passed, void=void, folds=len(protocol.folds), **settings | changes)
    (found,) = [verdict for verdict in verify(folder) if verdict.part == "protocol"]
    return found


@pytest.mark.parametrize("dataset", ["", "shapes5i", "/home/eve/own.toml", "nowhere"])
@pytest.mark.parametrize("episodes", [None, "list.csv"])
@pytest.mark.parametrize("other", [{}, {"protocol_label": "mine"}, {"protocol_digest": "0" * 64}])
def test_what_was_asked_for_does_not_switch_it_off(
    tmp_path: Path, dataset: str, episodes: str | None, other: dict[str, str]
) -> None:
    """The label or the digest of a protocol of this package is enough to be compared with it."""
    passed = {key: value for key, value in {"dataset": dataset, "episodes": episodes}.items() if value}
    found = _verdict(tmp_path, passed, **other)
    assert not found.good
    assert "not the rules of shapes5i: " in found.words


def test_other_protocols_are_not_compared(tmp_path: Path) -> None:
    other = {"protocol_label": "mine", "protocol_digest": "0" * 64}
    for name in ("shapes5i", "mine"):
        found = _verdict(tmp_path, {}, protocol=name, **other)
        assert (found.good, found.done) == (True, False)
        assert found.words == "'mine' is no protocol of this package; its rules were not compared"


@pytest.mark.parametrize(
    ("void", "told"),
    [
        (None, "the rules of shapes5i[episodes.count=3], fold 1"),
        ([[0, 0]] * 3, "episode 0 counts 100 pixels at input size; its square has"),
        ([[10**6, 0]] * 3, "episode 0 counts 1,000,100 pixels at input size; its square has"),
    ],
)
def test_the_counts_have_the_size_of_its_inputs(tmp_path: Path, void: list[list[int]] | None, told: str) -> None:
    """Without counts of void pixels at most that."""
    found = _verdict(tmp_path, {"dataset": "shapes5i", "episodes": "3"}, void, count="3")
    assert (told in found.words, found.good) == (True, void is None), found
