"""Where the data of a protocol are looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from fsseg_bench.data.open import open_source
from fsseg_bench.data.sources.coco import CocoSource
from fsseg_bench.data.sources.folder import FolderSource
from fsseg_bench.data.sources.voc import VocSource
from fsseg_bench.errors import UserError
from fsseg_bench.protocol.load import load_protocol
from tests.support.datasets import CLASSES, tiny_protocol, write_coco, write_voc
from tests.support.protocol_text import with_source, write


def test_beside_the_users_own_file(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "tiny-voc", 1, 1)
    source = open_source(tiny_protocol(tmp_path))
    assert isinstance(source, VocSource)
    assert source.root == root.resolve()
    assert source.classes == CLASSES
    assert source.masks == ("SegmentationClass",)


def test_coco_year_reaches_the_reader(tmp_path: Path) -> None:
    write_coco(tmp_path / "tiny-coco", 1, 1, year=2014)
    source = open_source(tiny_protocol(tmp_path, "coco", year=2014))
    assert isinstance(source, CocoSource)
    assert source.ids("val")[0] == "val2014/val_c1_0"


@pytest.mark.parametrize("given", ["all", "all/VOCdevkit", "all/VOCdevkit/VOC2012"])
def test_data_root_may_be_the_folder_or_any_above_it(tmp_path: Path, given: str) -> None:
    root = write_voc(tmp_path / "all/VOCdevkit/VOC2012", 1, 1)
    assert open_source(load_protocol("pascal5i"), tmp_path / given).root == root.resolve()


def test_environment_names_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_coco(tmp_path / "coco", 1, 1)
    monkeypatch.setenv("FSSEG_DATA", str(tmp_path))
    assert open_source(load_protocol("coco20i-a")).root == root.resolve()


def test_the_root_given_goes_before_the_folder_of_the_file(tmp_path: Path) -> None:
    write_voc(tmp_path / "tiny-voc", 1, 1)
    root = write_voc(tmp_path / "other/tiny-voc", 1, 1)
    assert open_source(tiny_protocol(tmp_path), tmp_path / "other").root == root.resolve()


def test_a_dot_is_the_folder_of_the_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_voc(tmp_path / "mine", 1, 1)
    monkeypatch.setenv("FSSEG_DATA", str(write_voc(tmp_path / "other", 1, 1)))
    protocol = tiny_protocol(root, root=".")
    assert open_source(protocol).root == root.resolve()
    assert open_source(protocol, tmp_path / "other").root == root.resolve()


def test_class_folders_are_known_by_their_first(tmp_path: Path) -> None:
    text = with_source("folder").replace('"own-data"', '"photos"')
    protocol = load_protocol(write(tmp_path, text))
    (tmp_path / "photos").mkdir()
    with pytest.raises(UserError, match=r"photos \(has no ant/images\)"):
        open_source(protocol)
    (tmp_path / "photos/ant/images").mkdir(parents=True)
    assert isinstance(open_source(protocol), FolderSource)


def test_a_folder_without_the_layout_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "other/tiny-voc/JPEGImages").mkdir(parents=True)
    root = write_voc(tmp_path / "tiny-voc", 1, 1)
    assert open_source(tiny_protocol(tmp_path), tmp_path / "other").root == root.resolve()


def test_the_error_lists_every_place(tmp_path: Path) -> None:
    (tmp_path / "other/tiny-voc/JPEGImages").mkdir(parents=True)
    with pytest.raises(UserError) as error:
        open_source(tiny_protocol(tmp_path), tmp_path / "other")
    message = str(error.value)
    assert f"{tmp_path}/other/tiny-voc (has no ImageSets/Segmentation)" in message
    assert f"{tmp_path}/other (has no JPEGImages and no ImageSets/Segmentation)" in message
    assert f"{tmp_path}/tiny-voc (no such folder)" in message
    assert "--data-root" in message
    assert "FSSEG_DATA" in message


def test_nothing_named_at_all() -> None:
    with pytest.raises(UserError, match=r"coco20i-b were not found.*nowhere.*--data-root or FSSEG_DATA.*annotations/"):
        open_source(load_protocol("coco20i-b"))
