"""HSNet's stream: known first elements of permutations, numpy's own choice, and stored official episodes."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fsseg_bench.errors import UserError
from fsseg_bench.protocol import hsnet
from fsseg_bench.protocol.checked_episodes import check_episodes
from fsseg_bench.protocol.episodes import sample_episodes
from fsseg_bench.protocol.load import load_protocol
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.protocol.table import EpisodeTable
from tests.support.protocol_text import changed, refused

PASCAL = load_protocol("pascal5i")


def protocol_of(names: tuple[str, ...], sampling: str, **values: Any) -> Protocol:
    """One fold of all ``names``."""
    settings = {"count": 0, "seed": 0, "class_sampling": sampling, "support_replacement": True, "sampler": "hsnet"}
    episodes = dataclasses.replace(PASCAL.episodes, **{**settings, **values})
    return dataclasses.replace(PASCAL, classes=names, folds={1: names}, episodes=episodes)


def rows_of(table: EpisodeTable) -> list[tuple[int, str, tuple[str, ...]]]:
    return [(c[0], q, s[0]) for c, q, s in zip(table.classes, table.queries, table.supports, strict=True)]


def theirs(
    seed: int,
    pools: dict[int, list[str]],
    classes: list[int],
    count: int,
    shot: int,
    sampling: str,
    lines: Sequence[tuple[int, str]] = (),
) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """As the loaders are written: numpy's global generator and its choice, an index for each episode."""
    before = np.random.get_state()
    np.random.seed(seed)
    pairs = lines or [(c, image) for c in classes for image in pools[c]]
    try:
        for i in range(count):
            if sampling == "each-pair":
                c, query = pairs[i % len(pairs)]
            else:
                c = classes[i % len(classes)] if sampling == "cycle" else np.random.choice(classes, 1, replace=False)[0]
                query = np.random.choice(pools[c], 1, replace=False)[0]
            supports: list[str] = []
            while True:
                support = np.random.choice(pools[c], 1, replace=False)[0]
                if query != support:
                    supports.append(str(support))
                if len(supports) == shot:
                    break
            yield int(c), str(query), tuple(supports)
    finally:
        np.random.set_state(before)


def test_first_elements_of_permutations() -> None:
    rng = np.random.RandomState(0)
    assert [hsnet.draw(rng, 10) + 1 for _ in range(6)] == [3, 4, 3, 7, 6, 2]


@pytest.mark.parametrize("sampling", ["uniform", "cycle", "each-pair"])
@pytest.mark.parametrize(("shot", "seed"), [(1, 0), (5, 0), (2, 7)])
def test_as_with_numpys_global_generator(sampling: str, shot: int, seed: int) -> None:
    """The fold names its classes in an order of its own, in which they are drawn or taken in turn."""
    pools = {c: [f"{c}{name}" for name in "abcdefg"[: c + 1]] for c in (1, 2, 3, 4)}
    names = ("w", "x", "y", "z")
    protocol = dataclasses.replace(protocol_of(names, sampling, count=60, seed=seed), folds={1: ("y", "w", "z", "x")})
    table = sample_episodes(protocol, 1, pools, 1, shot)
    assert rows_of(table) == list(theirs(seed, pools, [3, 1, 4, 2], 60, shot, sampling))
    check_episodes(table, pools, range(1, 5), 1, shot, "memory", support_replacement=True)
    assert sample_episodes(protocol, 1, pools, 1, shot) == table


@pytest.mark.parametrize("sampling", ["uniform", "each-pair"])
def test_pools_in_the_order_of_a_list(sampling: str) -> None:
    """Queries as the lines come; the pool of a class is its lines, in their order."""
    lines = [(1, "d"), (2, "q"), (1, "a"), (2, "p"), (1, "c"), (1, "b"), (2, "r")]
    pools = {c: [image for own, image in lines if own == c] for c in (1, 2)}
    table = sample_episodes(protocol_of(("x", "y"), sampling, count=40), 1, pools, 1, 3, order=lines)
    assert rows_of(table) == list(theirs(0, pools, [1, 2], 40, 3, sampling, lines))


def test_whole_numbers_are_pools_by_number() -> None:
    assert hsnet.by_number(["a/10", "a/9", "a/1"]) == ["a/1", "a/9", "a/10"]
    assert hsnet.by_number(["a/10", "a/9x", "a/1"]) == ["a/1", "a/10", "a/9x"]


# Official episodes


@pytest.mark.parametrize(("shot", "repeats"), [(1, 0), (5, 1793)])
def test_every_episode_of_fss1000(test_data: Path, shot: int, repeats: int) -> None:
    """2,400 rows: classes by name, images 1, 10, 2, ..., supports from 1..10."""
    with (test_data / f"benchmarks/fss1000_hsnet_episodes_{shot}shot.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = tuple(name for name, _ in groupby(row["class"] for row in rows))
    pairs = {c: [f"{name}/{i}" for i in range(1, 11)] for c, name in enumerate(names, start=1)}
    table = sample_episodes(protocol_of(names, "each-pair"), 1, pairs, 1, shot)
    assert len(rows) == 2400
    assert rows_of(table) == [
        (
            names.index(row["class"]) + 1,
            f"{row['class']}/{row['query']}",
            tuple(f"{row['class']}/{row[f'support_{k}']}" for k in range(1, shot + 1)),
        )
        for row in rows
    ]
    assert table.repeats == repeats


@pytest.mark.parametrize("fold", [0, 1, 2])
def test_the_first_episodes_of_isaid(test_data: Path, fold: int) -> None:
    folder = test_data / "benchmarks"
    lines = (folder / f"isaid5i_val_fold{fold}.txt").read_text().split()
    order = [(int(line[-2:]) - 5 * fold, line[:-4]) for line in lines]
    pools = {c: [image for own, image in order if own == c] for c in range(1, 6)}
    with (folder / "isaid5i_first_episodes.csv").open(newline="") as file:
        wanted = [row for row in csv.DictReader(file) if row["fold0"] == str(fold)]
    assert len(wanted) == 6
    for row in wanted:
        shot = int(row["shot"])
        protocol = protocol_of(tuple("abcde"), "each-pair", count=len(order))
        found = rows_of(sample_episodes(protocol, 1, pools, 1, shot, order=order).head(3))[int(row["episode"])]
        supports = tuple(row[f"support_{k}"] for k in range(1, shot + 1))
        assert found == (int(row["label"]) - 5 * fold, row["query"], supports)


@pytest.mark.parametrize(("fold", "repeats"), [(0, 22), (1, 16), (2, 39), (3, 27)])
def test_repeats_in_hsnets_episodes_of_coco(test_data: Path, fold: int, repeats: int) -> None:
    """Counted in episodes that agree with an official log of each fold; only the pools' sizes matter for it."""
    with (test_data / "protocol/class_counts.csv").open(newline="") as file:
        sizes = [int(row["images_val_list"]) for row in csv.DictReader(file) if row["dataset"] == "COCO-20i"]
    own = list(range(fold, 80, 4))
    pools = {c: range(sizes[c]) for c in own}
    rng = np.random.RandomState(0)
    pairs = hsnet.draw_pairs(rng, own, pools, in_turn=False)  # type: ignore[arg-type]
    rows = list(islice(hsnet.episodes(rng, pairs, pools, 5), 1000))  # type: ignore[arg-type]
    assert sum(len(set(supports)) < 5 for _, _, supports in rows) == repeats


# What is refused


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("", 'episodes.support_replacement is false; sampler "hsnet" draws one support several times: set it true'),
        ("each-image", 'episodes.class_sampling is "each-image"; sampler "hsnet" has "uniform", "cycle" and'),
        ("seed", 'episodes.seed is -11; with sampler "hsnet" it must be at least 0 and below 2**32'),
    ],
)
def test_values_without_a_meaning(tmp_path: Path, more: str, message: str) -> None:
    value = "true" if more else "false"
    text = changed("replacement = false", f'replacement = {value}\nsampler = "hsnet"')
    if more == "each-image":
        text = changed('"uniform"', '"each-image"', text)
    if more == "seed":
        text = changed("seed = 11", "seed = -11", text)
    assert refused(tmp_path, text).startswith(message)


def test_one_way_only() -> None:
    with pytest.raises(UserError, match=r"--way 2: .* has episodes\.sampler=hsnet, which makes episodes of 1 way"):
        sample_episodes(protocol_of(("a", "b"), "uniform", count=9), 1, {1: list("abc"), 2: list("def")}, 2, 1)
