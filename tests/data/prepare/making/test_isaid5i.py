"""iSAID-5i: the shipped lists, and the tiles under the names that they have."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from fsseg_bench.data.prepare.making import isaid5i
from fsseg_bench.data.prepare.sources import find_dataset
from fsseg_bench.errors import UserError
from fsseg_bench.paths import folder
from fsseg_bench.protocol.load import load_protocol
from tests.data.prepare.making import given
from tests.data.prepare.making.conftest import Made

LISTS = folder("protocols") / "isaid5i"


def pairs(name: str) -> list[tuple[str, int]]:
    lines = (LISTS / f"{name}.txt").read_text(encoding="utf-8").split()
    return [(line[:-4], int(line[-2:])) for line in lines]


def test_the_lists_have_the_published_counts() -> None:
    fold_of = {label: (label - 1) // 5 for label in range(1, 16)}
    for part, counts, tiles in (("val", [3108, 3657, 3298], 6363), ("trn", [9090, 11035, 8107], 18076)):
        lists = [pairs(f"{part}_fold{number}") for number in range(3)]
        assert [len(one) for one in lists] == counts
        assert all(fold_of[label] == number for number, one in enumerate(lists) for _, label in one)
        assert len({tile for one in lists for tile, _ in one}) == tiles
        assert len({pair for one in lists for pair in one}) == sum(counts)
        if part == "val":
            found = Counter(label for one in lists for _, label in one)
            assert tuple(found[label] for label in range(1, 16)) == find_dataset("isaid5i").stated[0].counts
    protocol = load_protocol("isaid5i")
    assert [fold_of[protocol.class_id(name)] + 1 for name in protocol.classes] == [1] * 5 + [2] * 5 + [3] * 5
    assert all(protocol.folds[fold] == protocol.classes[5 * fold - 5 : 5 * fold] for fold in (1, 2, 3))


@pytest.mark.real_data
def test_the_lists_are_sccnets(test_data: Path) -> None:
    for path in sorted(LISTS.iterdir()):
        assert path.read_bytes() == (test_data / "benchmarks" / f"isaid5i_{path.name}").read_bytes()


def test_tiles_by_name(tmp_path: Path, made: Made) -> None:
    lists = {"train": ["P0001_0_256_0_256__01", "P0001_0_256_0_256__15"], "val": ["P0002_206_462_0_256__06"]}
    given.isaid5i(tmp_path, lists)
    (tmp_path / "isaid5i").mkdir()
    (tmp_path / "iSAID_patches").rename(tmp_path / "isaid5i" / "raw")
    text = (folder("protocols") / "isaid5i.toml").read_text(encoding="utf-8")
    for part, short in (("trn", lists["train"]), ("val", lists["val"])):
        names = ", ".join(f'"isaid5i/{part}_fold{number}.txt"' for number in range(3))
        assert names in text
        text = text.replace(names, f'"{part}.txt"')
        (tmp_path / f"{part}.txt").write_text("\n".join(short) + "\n")
    (tmp_path / "short.toml").write_text(text, encoding="utf-8")
    making = made(isaid5i, "isaid5i", str(tmp_path / "short.toml"))
    raw = tmp_path / "isaid5i" / "raw"
    for part, tile in (("train", "P0001_0_256_0_256"), ("val", "P0002_206_462_0_256")):
        mask = raw / part / "semantic_png" / f"{tile}_instance_color_RGB.png"
        assert (tmp_path / "isaid5i" / "JPEGImages" / f"{tile}.png").samefile(raw / part / "images" / f"{tile}.png")
        assert (tmp_path / "isaid5i" / "SegmentationClass" / f"{tile}.png").samefile(mask)
    assert len(making.placed) == 4
    assert making.notes == ["tiles that no list names, left out: 2 (P9999_0_256_0_256, P9999_0_256_0_256)"]
    (raw / "val" / "images" / "P0002_206_462_0_256.png").unlink()
    with pytest.raises(UserError, match=r"P0002_206_462_0_256: no such image of a listed tile"):
        made(isaid5i, "isaid5i", str(tmp_path / "short.toml"))
