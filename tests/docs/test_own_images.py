"""The how-to pages on own images, followed one after the other: what their commands say and leave."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image

from tests.support.datasets import HEIGHT, WIDTH
from tests.support.documented import DOCS, Place, blocks

PAGES = [DOCS / "howto" / f"{name}.md" for name in ("own-data", "predict", "episodes")]


@pytest.mark.slow
def test_the_pages_work_as_they_stand(place: Place) -> None:
    outputs = [output for page in PAGES for output in place.follow(page)]
    assert len(outputs) == 10
    init, _, run, predict, files, several, _, episodes, replay, _ = outputs
    folder = place.folder
    assert "fold 1: cup 6/6" in init
    assert (folder / "my-photos/protocol.toml").is_file()
    assert run.count("record: runs/my-photos/baseline-resnet18-layer2/1way-1shot/fold") == 4
    assert "dog: drawn with seed 0 from my-photos: dog/" in predict
    assert "my-photos/dog/images/002.jpg:" in predict
    assert files.count("of the pixels -> predicted-dogs/") == 8
    assert "dog " in several
    assert (folder / "predicted-map" / "legend.csv").read_text() == "value,name\n0,background\n1,dog\n2,cup\n"
    for name in ("002", "003"):
        for kind, values in (("mask", {0, 255}), ("probability", None), ("overlay", None)):
            picture = Image.open(folder / "predicted" / f"{name}-{kind}.png")
            assert picture.size == (WIDTH, HEIGHT)
            assert values is None or set(np.unique(np.asarray(picture)).tolist()) <= values
    header, *rows = episodes.splitlines()
    assert header == "class_1,query,support_1_1"
    assert {image for row in rows for image in row.split(",")[1:]} <= {f"cup/00{i}" for i in range(3)}
    assert "record: runs/my-photos/" in replay
    assert (folder / "imported-1.csv").read_bytes() == (folder / "episodes.csv").read_bytes()


def test_photos_are_segmented_from_three_examples(place: Place) -> None:
    """Without a run, and without a training."""
    said, of_python = place.follow(DOCS / "howto" / "three-examples.md")
    assert said.count("of the pixels -> found/") == 4
    assert "insid3 on resnet18-layer2, input 65 x 65, not trained, weights none" in said
    masks = [Image.open(path) for path in (place.folder / "found").rglob("003-mask.png")]
    assert [mask.size for mask in masks] == [(WIDTH, HEIGHT)] * 4
    assert of_python.startswith("('dog',) ")


def test_every_command_of_the_pages_is_run() -> None:
    """What is not in a tested block is an example that needs data one may not have: CANet's lists alone."""
    rest = "".join(block.code for page in PAGES for block in blocks(page) if not block.tested)
    left = re.findall(r"^fsseg-bench .*$", rest, re.MULTILINE)
    assert len(left) == 1
    assert "canet-train.txt" in left[0]
