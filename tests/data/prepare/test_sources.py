"""The data file of sources."""

from __future__ import annotations

from pathlib import Path

import pytest

from fsseg_bench.data.prepare import sources
from fsseg_bench.data.prepare.sources import find_dataset, load_sources
from fsseg_bench.data.sources.coco import CocoKeys
from fsseg_bench.data.sources.voc import VocKeys
from fsseg_bench.errors import UserError
from fsseg_bench.protocol.load import load_protocol

BUILT_IN = Path(sources.__file__).with_name("sources.toml").read_text(encoding="utf-8")


def test_known_sizes_and_checksums() -> None:
    """As torchvision and TensorFlow Datasets have them."""
    from torchvision.datasets import SBDataset
    from torchvision.datasets.voc import DATASET_YEAR_DICT

    parts = {part.name: part for d in load_sources() for part in d.parts}
    voc = DATASET_YEAR_DICT["2012"]
    assert voc["url"] in parts["voc2012"].urls
    assert voc["filename"] == parts["voc2012"].archive
    assert SBDataset.url in parts["sbd"].urls
    assert parts["sbd"].digest == f"md5:{SBDataset.md5}"
    assert parts["voc2012"].size == 1_999_639_040
    assert sum(p.size for n, p in parts.items() if "2014" in n) == 20_408_459_804
    assert sum(p.size for n, p in parts.items() if "2017" in n) == 20_405_354_669


@pytest.mark.parametrize(
    "name", ["pascal5i", "gfss-pascal5i-capl", "coco20i-a", "coco20i-b", "coco20i-b-1024", "shapes5i"]
)
def test_every_protocol_finds_its_files_where_the_parts_put_them(name: str) -> None:
    protocol = load_protocol(name)
    dataset = find_dataset(name)
    assert name in dataset.protocols
    assert set(dataset.images) == (
        set() if name == "shapes5i" else {*protocol.data.train_list, *protocol.data.test_list}
    )
    targets = {part.layout.target for part in dataset.parts}
    if "pascal5i" in name:
        assert targets == {protocol.data.root, f"{protocol.data.root}/SBD/dataset"}
        assert protocol.data.options_as(VocKeys).masks[2] == "SBD/dataset/cls"
        assert (dataset.images["trainaug"], dataset.images["val"]) == (10_582, 1_449)
        assert dataset.published is not None
        assert len(dataset.published.pairs) == len(protocol.classes)
        assert sum(dataset.published.pairs) == 1_923
    elif name != "shapes5i":
        year = protocol.data.options_as(CocoKeys).year
        assert targets == {f"{protocol.data.root}/{folder}" for folder in ("annotations", f"train{year}", f"val{year}")}


def test_names_and_years() -> None:
    assert find_dataset("coco20i").name == "coco20i-2014"
    assert find_dataset("coco20i", 2017).name == "coco20i-2017"
    assert find_dataset("coco20i-b", 2014).year == 2014
    with pytest.raises(UserError, match=r"unknown data set 'coco'.*coco20i"):
        find_dataset("coco")
    with pytest.raises(UserError, match=r"--year 2015: coco20i has the years 2014, 2017"):
        find_dataset("coco20i", 2015)
    with pytest.raises(UserError, match=r"--year 2014: pascal5i has no years"):
        find_dataset("pascal5i", 2014)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("size = 1_999_639_040", "", r"missing parts\.voc2012\.size"),
        ("size = 1_999_639_040", 'size = "2 GB"', r'parts\.voc2012\.size is "2 GB"; it must be a whole number'),
        ("size = 1_999_639_040", "size = -1", r"size is -1; it must be at least 0"),
        ('md5 = "82b4', 'md5 = "82', r"parts\.sbd\.md5.*32 hexadecimal digits"),
        ('md5 = "82b4', 'md5 = "8xyz', r"parts\.sbd\.md5.*32 hexadecimal digits"),
        ('target = "coco/val2014"', 'target = "../val2014"', r"parts\.coco-val2014\.target.*below the data root"),
        ('target = "coco/val2014"', 'target = "/val2014"', r"parts\.coco-val2014\.target.*below the data root"),
        ('archive = "val2014.zip"', 'archive = "../val2014.zip"', r"parts\.coco-val2014\.archive"),
        ('archive = "val2014.zip"', 'archive = "val2014.rar"', r"parts\.coco-val2014\.archive"),
        ("unpacked = 300_000_000", "unpaked = 3", r"unknown key 'parts\.sbd\.unpaked'. Did you mean .*unpacked"),
        ('"cls/*.mat" = 11_355', '"cls/*.mat" = "many"', r'parts\.sbd\.files\.cls/\*\.mat is "many"'),
        ('parts = ["voc2012", "sbd"]', 'parts = ["voc2012", "sdb"]', r"datasets\.pascal5i\.parts.*'sdb'.*'sbd'"),
        (
            'protocols = ["pascal5i", "gfss-pascal5i-capl"]',
            "protocols = []",
            r"datasets\.pascal5i\.protocols is \[\]; .* at least one name",
        ),
        ("[datasets.shapes5i]", "[datasets.shapes5i", "not valid TOML"),
        ("[datasets.shapes5i]", "[extra]\nx = 1\n[datasets.shapes5i]", "unknown key 'extra'"),
    ],
)
def test_mistakes_name_the_file_and_the_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in BUILT_IN
    path = tmp_path / "own.toml"
    path.write_text(BUILT_IN.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(UserError, match=message) as error:
        load_sources(path)
    assert str(error.value).startswith(str(path))
