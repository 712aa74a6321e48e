"""The protocol files of benchmarks beyond four folds against the published lists."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

import pytest

from fsseg_bench.protocol.episodes import sample_episodes
from fsseg_bench.protocol.load import load_protocol


def rows(test_data: Path, name: str) -> list[dict[str, str]]:
    with (test_data / "benchmarks" / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", ["fss1000", "fss1000-hsnet"])
def test_classes_of_fss1000(name: str) -> None:
    protocol = load_protocol(name)
    assert [len(protocol.classes), len(protocol.base), len(protocol.validation)] == [1000, 520, 240]
    assert len(protocol.folds[1]) == 240
    assert protocol.base_classes(1) == tuple(range(1, 521))
    assert protocol.novel_classes(1) == tuple(range(761, 1001))
    assert load_protocol("fss1000-cdfss").folds == protocol.folds


@pytest.mark.real_data
def test_lists_are_those_of_hsnet(test_data: Path) -> None:
    lists: dict[str, list[str]] = defaultdict(list)
    for row in rows(test_data, "fss1000_classes.csv"):
        lists[row["part"]].append(row["class"])
    protocol = load_protocol("fss1000")
    assert protocol.base == tuple(lists["trn"])
    assert protocol.validation == tuple(lists["val"])
    assert protocol.folds == {1: tuple(lists["test"])}


@pytest.mark.real_data
@pytest.mark.parametrize("shot", [1, 5])
def test_hsnets_episodes_come_from_its_protocol(test_data: Path, shot: int) -> None:
    """All 2,400, from the pools that the reader gives: the images of each class by id, which is text."""
    protocol = load_protocol("fss1000-hsnet")
    pairs = {c: sorted(f"{protocol.class_name(c)}/{i}" for i in range(1, 11)) for c in protocol.novel_classes(1)}
    table = sample_episodes(protocol, 1, pairs, 1, shot)
    wanted = [
        (row["class"], row["query"], *(row[f"support_{k}"] for k in range(1, shot + 1)))
        for row in rows(test_data, f"fss1000_hsnet_episodes_{shot}shot.csv")
    ]
    found = [
        (protocol.class_name(c), *(image.rpartition("/")[2] for image in (query, *supports)))
        for (c,), query, (supports,) in zip(table.classes, table.queries, table.supports, strict=True)
    ]
    assert found == wanted


@pytest.mark.real_data
def test_the_order_of_deepglobes_classes(test_data: Path) -> None:
    """Episode i has class i mod 6 of PATNet's folders 1 to 6."""
    order = tuple(row["class"] for row in rows(test_data, "deepglobe_classes.csv") if row["folder"] != "-")
    assert load_protocol("deepglobe").folds == {1: order}


@pytest.mark.parametrize("name", ["fss1000-cdfss", "deepglobe"])
def test_across_domains_all_of_voc_is_trained_on(name: str) -> None:
    protocol = load_protocol(name)
    rules = protocol.training(1)
    assert rules.protocol.classes == load_protocol("pascal5i").classes
    assert rules.base == tuple(range(1, 21))
    assert protocol.data.train_list == ()
