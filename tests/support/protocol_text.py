"""A small correct protocol file as text, to be changed line by line."""

from __future__ import annotations

from pathlib import Path

import pytest

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.load import load_protocol

TEXT = """\
name = "own"
version = 3
description = "Something of one's own"
classes = ["ant", "bee", "cat", "dog", "eel", "fox"]

[folds]
1 = ["ant", "bee"]
2 = ["cat"]
3 = ["dog"]
4 = ["eel"]

[data]
source = "voc"
root = "own-data"
masks = ["SegmentationClass"]
train_list = ["train"]
test_list = ["val"]
train_excludes_test = true
min_object_pixels = 2048
novel_in_train = "background"

[image]
size = 257
resize = "squash"
decoder = "pillow"

[episodes]
count = 40
seed = 11
class_sampling = "uniform"
support_replacement = false

[scoring]
void = "ignore"
headline = "input"
scales = [0.7, 1.0, 1.3]

[checkpoint]
rule = "last"
"""

SOURCE_LINES = {
    "voc": 'source = "voc"\nmasks = ["SegmentationClass"]',
    "coco": 'source = "coco"\nyear = 2017',
    "folder": 'source = "folder"',
    "shapes": 'source = "shapes"\ngenerator_seed = 5\ntrain_images = 30\ntest_images = 20',
}


def with_source(source: str) -> str:
    """The text for another data source."""
    text = TEXT.replace('masks = ["SegmentationClass"]\n', "")
    return text.replace('source = "voc"', SOURCE_LINES[source])


def changed(old: str, new: str, text: str = TEXT) -> str:
    """The text with one line or more exchanged; ``old`` must be there exactly once."""
    assert text.count(old) == 1, f"{old!r} is there {text.count(old)} times"
    return text.replace(old, new)


def write(folder: Path, text: str = TEXT, name: str = "own.toml") -> Path:
    """``text`` as a file; returns it."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def refused(folder: Path, text: str, overrides: dict[str, str] | None = None) -> str:
    """The message that a file of this text is refused with, after a check that it names the file."""
    path = write(folder, text)
    with pytest.raises(UserError) as error:
        load_protocol(path, overrides)
    assert str(error.value).startswith(f"{path}: ")
    return str(error.value).removeprefix(f"{path}: ")
