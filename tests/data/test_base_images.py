"""Images with the labels of all base classes, beside labels that are written out from the scenes they were drawn of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fsseg_bench.data.base_images import BaseImages, chosen_images
from fsseg_bench.data.index import build_index
from fsseg_bench.data.open import open_source
from fsseg_bench.data.source import Source
from fsseg_bench.engine.loader import load_batches
from fsseg_bench.errors import UserError
from fsseg_bench.protocol.spec import Protocol
from tests.support.datasets import HEIGHT, WIDTH, label_map, scenes, tiny_protocol, write_voc


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    write_voc(folder / "tiny-voc")
    return folder


def opened(folder: Path, **values: Any) -> tuple[Protocol, Source]:
    protocol = tiny_protocol(folder, **values)
    return protocol, open_source(protocol)


def images(folder: Path, length: int = 60, seed: int = 3, augment: str = "none", **values: Any) -> BaseImages:
    protocol, source = opened(folder, **values)
    chosen = chosen_images(build_index(source, protocol), 1, "base")
    return BaseImages(source, protocol, chosen.images, 1, augment, seed, length)


@pytest.mark.parametrize("novel", ["background", "ignore"])
def test_labels_are_those_of_the_scenes(folder: Path, novel: str) -> None:
    """Fold 1 holds out classes 1 and 2: 3..8 are 1..6 and void is void."""
    stream = images(folder, novel_in_train=novel, size=32)
    becomes = np.zeros(256, dtype=np.uint8)
    becomes[3:9], becomes[255] = range(1, 7), 255
    becomes[1:3] = 255 if novel == "ignore" else 0
    drawn = {scene.name: label_map(scene) for scene in scenes("train", 4)}
    columns, rows = ((np.arange(32) + 0.5) * side // 32 for side in (WIDTH, HEIGHT))
    seen = set()
    for sample in (stream[i] for i in range(len(stream.images))):
        expected = becomes[drawn[sample.key]][rows.astype(int)[:, None], columns.astype(int)]
        assert np.array_equal(sample.query_label.numpy(), expected)
        seen |= set(np.unique(expected).tolist())
    assert {0, 1, 2, 3, 4, 5, 6} <= seen


def test_each_image_comes_once_before_any_comes_again_in_another_order(folder: Path) -> None:
    stream = images(folder)
    count = len(stream.images)
    keys = [stream[i].key for i in range(2 * count)]
    assert sorted(keys[:count]) == sorted(keys[count:]) == sorted(stream.images)
    assert keys[:count] != keys[count:]
    assert [images(folder, seed=4)[i].key for i in range(count)] != keys[:count]


def test_images_with_held_out_classes_are_dropped_where_the_protocol_says_so(folder: Path) -> None:
    protocol, source = opened(folder, novel_in_train="drop-image")
    index = build_index(source, protocol)
    base, every = (chosen_images(index, 1, which) for which in ("base", "all"))
    # of classes 3..8 all, but images 1 and 3 of class 8, which show class 1 as well
    assert base.images == every.images
    assert len(base.images) == 6 * 4 - 2
    assert base.left_out == 0


def test_loader_processes_give_the_same_batches(folder: Path) -> None:
    stream = images(folder, length=8, augment="flip")
    alone, beside = (
        [*load_batches(stream, range(8), 4, workers, pinned=False, say=lambda _: None)] for workers in (0, 2)
    )
    assert [batch.keys for batch in alone] == [batch.keys for batch in beside]
    for one, other in zip(alone, beside, strict=True):
        assert torch.equal(one.query_image, other.query_image)
        assert torch.equal(one.query_label, other.query_label)
        assert one.support_masks.shape == other.support_masks.shape == (4, 6, 0, 32, 32)


def test_a_fold_without_any_image_is_refused(folder: Path) -> None:
    protocol, source = opened(folder)
    with pytest.raises(UserError, match="no training image"):
        BaseImages(source, protocol, (), 1, "none", 0, 4)
