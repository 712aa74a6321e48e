"""Features are encoded once each, in full batches where batches have a fixed size, and whatever their company."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import Tensor

from fsseg_bench.engine.cache import Budget, FeatureCache
from fsseg_bench.engine.feed import Feed, ImageKey, MaskKey
from fsseg_bench.engine.needs import Announcer, Needs
from fsseg_bench.engine.reader import FeatureReader
from fsseg_bench.method import Features
from fsseg_bench.protocol.table import EpisodeTable, Further

CPU = torch.device("cpu")
SIZE = 8
FEATURE = 8  # bytes: one int64


class Pictures:
    """Images of one colour, their number, and masks of it; notes what is read."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def image(self, image: str) -> np.ndarray:
        self.read.append(image)
        return np.full((SIZE, SIZE, 3), int(image), np.uint8)

    def class_masks(self, image: str, classes: tuple[int, ...]) -> np.ndarray:
        return np.full((len(classes), SIZE, SIZE), 1, np.uint8)

    def void_mask(self, image: str) -> None:
        return None


@dataclass
class Model:
    """Encodes an image as its number, an image with its mask as 1000 more, one without as 2000 more."""

    encode_batch: int
    mask_enters_encoder: bool = False
    unlabelled_encoded_apart: bool = False
    batches: list[int] = field(default_factory=list)

    def _encoded(self, images: list[Tensor], more: int) -> list[Features]:
        self.batches += [len(images[i : i + self.encode_batch]) for i in range(0, len(images), self.encode_batch)]
        return [image[0, 0, :1].long() + more for image in images]

    def encode(self, images: list[Tensor]) -> list[Features]:
        return self._encoded(images, 0)

    def encode_support(self, images: list[Tensor], masks: list[Tensor]) -> list[Features]:
        assert len(images) == len(masks)
        return self._encoded(images, 1000)

    def encode_unlabelled(self, images: list[Tensor]) -> list[Features]:
        return self._encoded(images, 2000)


def episodes(count: int, images: int, shots: int = 1, further: int = 0) -> tuple[EpisodeTable, tuple[Further, ...]]:
    """Episodes of images drawn from so many."""
    rng = np.random.RandomState(0)
    drawn = [[str(i) for i in rng.choice(images, 1 + shots + further, replace=False)] for _ in range(count)]
    table = EpisodeTable(
        classes=((1,),) * count,
        queries=tuple(row[0] for row in drawn),
        supports=tuple((tuple(row[1 : 1 + shots]),) for row in drawn),
    )
    return table, tuple((tuple(row[1 + shots :]),) for row in drawn) if further else ()


def read_all(
    model: Model, table: EpisodeTable, further: tuple[Further, ...], budget: int, chunk: int
) -> tuple[list[list[list[int]]], FeatureReader, Pictures]:
    """What a reader gives for all episodes, ``chunk`` at a time."""
    source = Pictures()
    reader = FeatureReader(model, FeatureCache(CPU, Budget(0, budget)))  # type: ignore[arg-type]
    needs = Needs(reader, table, further, SIZE, [SIZE])
    found = []
    with Feed(source, 0) as feed:  # type: ignore[arg-type]
        announcer = Announcer(needs, feed, 0)
        for start in range(0, len(table), chunk):
            some = range(start, min(start + chunk, len(table)))
            announcer.announce(some)
            found.append([[int(f) for f in reader.features(feed, keys)] for keys in needs.features(some, SIZE)])
    return found, reader, source


def expected(model: Model, table: EpisodeTable, further: tuple[Further, ...], chunk: int) -> list[list[list[int]]]:
    """The same by the table alone."""
    found = []
    for start in range(0, len(table), chunk):
        some = range(start, min(start + chunk, len(table)))
        found.append(
            [
                [int(table.queries[i]) for i in some],
                [int(x) + 1000 * model.mask_enters_encoder for i in some for way in table.supports[i] for x in way],
                [
                    int(x) + 2000 * model.unlabelled_encoded_apart
                    for i in some
                    if further
                    for w in further[i]
                    for x in w
                ],
            ]
        )
    return found


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("budget", [0, 5 * FEATURE, 60 * FEATURE, 10**6])
@pytest.mark.parametrize("apart", [False, True])
def test_each_key_has_its_features_whatever_the_batch_and_the_cache(batch: int, budget: int, apart: bool) -> None:
    table, further = episodes(60, 50, shots=2, further=1)
    for chunk in (1, 7):
        model = Model(batch, mask_enters_encoder=apart, unlabelled_encoded_apart=apart)
        found, _, _ = read_all(model, table, further, budget, chunk)
        assert found == expected(model, table, further, chunk)


@pytest.mark.parametrize(("count", "images"), [(200, 60), (1000, 250), (100, 250)])
@pytest.mark.parametrize("chunk", [1, 16])
def test_a_fold_is_encoded_in_full_batches(count: int, images: int, chunk: int) -> None:
    """Each image once, in as many passes as they need.

    The first, made when the size of features is unknown, and the last may not be full.
    """
    table, _ = episodes(count, images)
    model = Model(encode_batch=8)
    _, reader, source = read_all(model, table, (), 10**6, chunk)
    different = {image for i in range(count) for image in table.images(i)}
    assert len(model.batches) <= 1 + -(-len(different) // 8)
    assert sum(batch < 8 for batch in model.batches) <= 2
    assert sorted(source.read) == sorted(different)
    assert reader.encoded == len(different)


def test_nothing_is_encoded_early_that_would_not_be_kept_until_it_is_read() -> None:
    """A cache of five features, less than the episodes that are announced."""
    table, _ = episodes(100, 90)
    read = []
    for batch in (1, 8):
        model = Model(batch)
        _, _, source = read_all(model, table, (), 5 * FEATURE, 1)
        assert max(model.batches[:90]) <= 2  # the last episodes' images do fit
        read.append(source.read)
    assert read[0][:150] == read[1][:150]
    assert len(read[1]) <= len(read[0])


def test_one_image_at_a_time_encodes_nothing_early() -> None:
    table, _ = episodes(40, 30)
    model = Model(encode_batch=1)
    _, reader, source = read_all(model, table, (), 10**6, 1)
    order = dict.fromkeys(image for i in range(len(table)) for image in table.images(i))
    assert source.read == list(order)
    assert reader.encoded == len(order)


def test_a_batch_is_of_one_kind_and_size() -> None:
    model = Model(encode_batch=8, mask_enters_encoder=True)
    reader = FeatureReader(model, FeatureCache(CPU, Budget(0, 10**6)))  # type: ignore[arg-type]
    keys = [ImageKey("1", 8), ImageKey("2", 6), MaskKey("3", (1,), 1, 8), ImageKey("4", 8)]
    with Feed(Pictures(), 0) as feed:  # type: ignore[arg-type]
        reader.announce(feed, [ImageKey("5", 6)])
        assert [int(one) for one in reader.features(feed, keys)] == [1, 2, 1003, 4]
    assert model.batches == [2, 2, 1]  # 1 and 4; 2 and, announced, 5; 3
    assert ImageKey("5", 6) in reader.cache
