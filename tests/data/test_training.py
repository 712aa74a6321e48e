"""Training episodes, on images whose pixels say which class and which image they belong to."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch.utils.data import DataLoader

from fsseg_bench.conventions import UInt8
from fsseg_bench.data import training
from fsseg_bench.data.augment import Role, View, augment
from fsseg_bench.data.loading import all_ways, one_way, training_masks
from fsseg_bench.data.source import Source
from fsseg_bench.data.training import Extras, TrainingBatch, TrainingEpisodes, TrainingSample, collate
from fsseg_bench.errors import UserError
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.protocol.streams import seed_of
from tests.support.datasets import tiny_protocol

SIZE = 32
FOLD = 2
NOVEL, BASE = (3, 4), (1, 2, 5, 6, 7, 8)
IMAGES = 48


class Coded(Source):
    """Images of the input size, so that squashing changes nothing. Red: 20 times the label; green: the number of
    the image; blue: a ramp. Image j shows class j % 8 + 1 (a large box), the three classes after it (small boxes)
    and void."""

    def __init__(self) -> None:
        super().__init__(Path("coded"), "abcdefgh")

    def labels(self, image_id: str) -> UInt8:
        j = int(image_id)
        labels = np.zeros((SIZE, SIZE), np.uint8)
        x = j % 5
        labels[2:14, x : x + 14] = j % 8 + 1
        for k in (1, 2, 3):
            labels[18 + x : 24 + x, 9 * k - 4 : 9 * k + 2] = (j + k) % 8 + 1
        labels[30:, :] = 255
        return labels

    def image(self, image_id: str) -> UInt8:
        image = np.zeros((SIZE, SIZE, 3), np.uint8)
        labels = self.labels(image_id)
        image[..., 0] = np.where(labels == 255, 250, labels * 20)
        image[..., 1] = int(image_id)
        image[..., 2] = np.arange(SIZE)
        return image

    def class_masks(self, image_id: str, class_ids: Sequence[int]) -> UInt8:
        labels = self.labels(image_id)
        return np.stack([np.where(labels == 255, 255, labels == c) for c in class_ids]).astype(np.uint8)

    def listed(self, list_name: str) -> tuple[str, ...]:
        return tuple(f"{j:03d}" for j in range(IMAGES))

    def files(self, image_id: str) -> tuple[Path, ...]:
        return (Path(image_id),)


def coded_pairs() -> dict[int, list[str]]:
    """All images that show a class of the base, in any size."""
    source = Coded()
    return {c: [i for i in source.ids("train") if c in source.class_pixels(i)] for c in BASE}


@pytest.fixture
def protocol(tmp_path: Path) -> Protocol:
    return tiny_protocol(tmp_path, size=SIZE)


def episodes(protocol: Protocol, **given: Any) -> TrainingEpisodes:
    values: dict[str, Any] = {
        "source": Coded(),
        "protocol": protocol,
        "pairs": coded_pairs(),
        "fold": FOLD,
        "way": 1,
        "shot": 1,
        "augmentation": "none",
        "seed": 0,
        "length": 40,
    }
    return TrainingEpisodes(**(values | given))


def shown(image: torch.Tensor) -> UInt8:
    """The labels that an unchanged or flipped image shows, from its red channel: 0..8, or 255."""
    red = image[0].numpy()
    return np.where(red == 250, 255, red // 20).astype(np.uint8)


def number(image: torch.Tensor) -> int:
    """Which image it is, from its green channel."""
    (value,) = set(image[1].flatten().tolist())
    return int(value)


def classes_of(sample: TrainingSample) -> list[int]:
    """What each way's class is, read off the supports."""
    found = []
    for images, masks in zip(sample.support_images, sample.support_masks, strict=True):
        here = {int(c) for i, m in zip(images, masks, strict=True) for c in np.unique(shown(i)[m.numpy() == 1])}
        (only,) = here
        found.append(only)
    return found


def numbered(labels: UInt8, classes: Sequence[int], novel: str) -> UInt8:
    """1..n where the classes are, 255 where void is, or an ignored class."""
    wanted = np.where(labels == 255, 255, 0)
    for i, c in enumerate(classes, start=1):
        wanted[labels == c] = i
    wanted[np.isin(labels, NOVEL) & (novel == "ignore")] = 255
    return wanted.astype(np.uint8)


def equal(a: TrainingSample, b: TrainingSample) -> bool:
    return all(torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y for x, y in zip(a, b, strict=True))


# what an episode shows


@pytest.mark.parametrize(("way", "shot"), [(1, 1), (1, 5), (2, 1), (3, 2)])
@pytest.mark.parametrize("novel", ["background", "ignore"])
@pytest.mark.parametrize("augmentation", ["none", "flip"])
def test_labels_are_what_the_images_show(
    protocol: Protocol, way: int, shot: int, novel: Any, augmentation: str
) -> None:
    protocol = dataclasses.replace(protocol, data=dataclasses.replace(protocol.data, novel_in_train=novel))
    seen_novel = 0
    for sample in episodes(protocol, way=way, shot=shot, augmentation=augmentation, length=25):
        classes = classes_of(sample)
        assert set(classes) <= set(BASE)
        assert len(set(classes)) == way
        for own, images, masks in zip(classes, sample.support_images, sample.support_masks, strict=True):
            for image, mask in zip(images, masks, strict=True):
                labels = shown(image)
                wanted = np.zeros_like(labels)
                wanted[np.isin(labels, [*classes, 255])] = 255
                wanted[labels == own] = 1
                if novel == "ignore":
                    wanted[np.isin(labels, NOVEL)] = 255
                np.testing.assert_array_equal(mask.numpy(), wanted)
                assert (wanted == 1).any()
        labels = shown(sample.query_image)
        wanted = numbered(labels, classes, novel)
        np.testing.assert_array_equal(sample.query_label.numpy(), wanted)
        assert (wanted == 1).any()  # the query is of the first class
        seen_novel += int(np.isin(labels, NOVEL).any())
    assert seen_novel > 5


@pytest.mark.parametrize(("way", "shot"), [(1, 1), (1, 5), (3, 2), (4, 3)])
def test_shapes_and_types(protocol: Protocol, way: int, shot: int) -> None:
    sample = episodes(protocol, way=way, shot=shot, augmentation="enlarged-crop-supports")[3]
    assert sample.support_images.shape == (way, shot, 3, SIZE, SIZE)
    assert sample.support_masks.shape == (way, shot, SIZE, SIZE)
    assert sample.query_image.shape == (3, SIZE, SIZE)
    assert sample.query_label.shape == (SIZE, SIZE)
    assert {t.dtype for t in sample[:4]} == {torch.uint8}
    assert 0 <= sample.seed < 2**63


@pytest.mark.parametrize(("way", "shot"), [(1, 1), (1, 5), (3, 3), (6, 2)])
def test_all_images_of_an_episode_differ(protocol: Protocol, way: int, shot: int) -> None:
    for sample in episodes(protocol, way=way, shot=shot, length=60):
        numbers = [number(i) for i in (*sample.support_images.flatten(0, 1), sample.query_image)]
        assert len(set(numbers)) == way * shot + 1


def test_images_come_from_their_classs_list_alone(protocol: Protocol) -> None:
    """A list may leave out images that show the class (too small a part of it, or of a dropped image)."""
    pairs = {c: images[: 4 + c] for c, images in coded_pairs().items()}
    for sample in episodes(protocol, pairs=pairs, way=2, shot=2, length=60):
        classes = classes_of(sample)
        allowed = [{int(i) for i in pairs[c]} for c in classes]
        assert number(sample.query_image) in allowed[0]
        for images, known in zip(sample.support_images, allowed, strict=True):
            assert {number(i) for i in images} <= known


def test_a_view_is_the_augmentation_of_its_image(protocol: Protocol) -> None:
    """Supports are changed as supports and queries as queries: ``enlarged-crop-supports`` leaves the query alone."""
    changed = 0
    for sample in episodes(protocol, augmentation="enlarged-crop-supports", length=10):
        assert sample.query_image[2, 0].tolist() == list(range(SIZE))
        changed += sample.support_images[0, 0, 2, 0].tolist() != list(range(SIZE))
    assert changed >= 9
    both = episodes(protocol, augmentation="enlarged-crop", length=10)
    assert sum(sample.query_image[2, 0].tolist() != list(range(SIZE)) for sample in both) >= 9


def test_views_of_one_episode_are_changed_independently(protocol: Protocol) -> None:
    pairs = Counter()
    for sample in episodes(protocol, augmentation="flip", shot=2, length=240):
        pairs[tuple(int(image[2, 0, 0]) == 0 for image in (*sample.support_images[0], sample.query_image))] += 1
    assert len(pairs) == 8
    assert stats.chisquare(list(pairs.values())).pvalue > 1e-3


# what is kept


class Wide(Coded):
    """The same images, three times as wide as the input and twice as high; counts how often each is read."""

    def __init__(self) -> None:
        super().__init__()
        self.read_images: Counter[str] = Counter()

    def image(self, image_id: str) -> UInt8:
        self.read_images[image_id] += 1
        return super().image(image_id).repeat(2, axis=0).repeat(3, axis=1)

    def class_masks(self, image_id: str, class_ids: Sequence[int]) -> UInt8:
        return super().class_masks(image_id, class_ids).repeat(2, axis=1).repeat(3, axis=2)


@pytest.mark.parametrize("extras", [Extras(), Extras(class_labels=True, unlabelled=2)])
@pytest.mark.parametrize("way", [1, 2])
@pytest.mark.parametrize("keep", [0, 50_000, 10**9])
@pytest.mark.parametrize("augmentation", ["none", "flip", "enlarged-crop", "enlarged-crop-supports", "resized-crop"])
def test_a_view_is_the_augmentation_of_the_image_as_it_is_stored(
    protocol: Protocol, augmentation: str, keep: int, way: int, extras: Extras
) -> None:
    """Whatever is kept or squashed ahead: each view is made here from its file's pixels alone."""
    protocol = dataclasses.replace(protocol, data=dataclasses.replace(protocol.data, novel_in_train="ignore"))
    dataset = episodes(
        protocol, source=Wide(), augmentation=augmentation, way=way, shot=2, length=12, keep=keep, extras=extras
    )
    for index, sample in enumerate(dataset):
        drawn = dataset._draw(index)
        masks = {i: training_masks(Wide(), i, drawn.classes, NOVEL) for i in [drawn.query, *chain(*drawn.supports)]}

        def view(role: Role, image_id: str, mask: UInt8, index: int = index) -> View:
            semantic = all_ways(training_masks(Wide(), image_id, BASE, NOVEL))
            both = np.stack([mask, semantic][: 1 + extras.class_labels])
            seed = seed_of("training view", 0, index, image_id)
            return augment(augmentation, role, Wide().image(image_id), both, SIZE, seed)

        query = view("query", drawn.query, all_ways(masks[drawn.query]))
        assert torch.equal(sample.query_image, query.image)
        assert torch.equal(sample.query_label, query.masks[0])
        assert sample.query_classes is None or torch.equal(sample.query_classes, query.masks[1])
        for w in range(way):
            for k, image_id in enumerate(drawn.supports[w]):
                support = view("support", image_id, one_way(masks[image_id], w + 1))
                assert torch.equal(sample.support_images[w, k], support.image)
                assert torch.equal(sample.support_masks[w, k], support.masks[0])
                assert sample.support_classes is None or torch.equal(sample.support_classes[w, k], support.masks[1])


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("augmentation", ["flip", "enlarged-crop"])
def test_what_is_kept_changes_no_batch(protocol: Protocol, augmentation: str, workers: int) -> None:
    plain, kept = (
        episodes(protocol, source=Wide(), augmentation=augmentation, way=2, keep=keep, extras=Extras(unlabelled=1))
        for keep in (0, 60_000)
    )
    loader: Any = DataLoader(kept, batch_size=4, num_workers=workers, collate_fn=collate)
    for batch, wanted in zip(loader, DataLoader(plain, batch_size=4, collate_fn=collate), strict=True):
        for a, b in zip(batch, wanted, strict=True):
            assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
    assert workers or 0 < kept._kept.used <= 60_000


@pytest.mark.parametrize("augmentation", ["none", "enlarged-crop"])
def test_an_image_that_is_kept_is_read_once(protocol: Protocol, augmentation: str) -> None:
    source = Wide()
    assert len(list(episodes(protocol, source=source, augmentation=augmentation, length=80, keep=10**9))) == 80
    assert set(source.read_images.values()) == {1}


def test_an_augmentation_may_write_into_its_images(protocol: Protocol, monkeypatch: pytest.MonkeyPatch) -> None:
    def writing(name: str, role: Role, image: UInt8, masks: UInt8, size: int, seed: int) -> View:
        view = augment(name, role, image, masks, size, seed)
        image[:], masks[:] = 0, 0
        return view

    monkeypatch.setattr(training, "augment", writing)
    for augmentation in ("none", "enlarged-crop"):
        plain, kept = (
            episodes(protocol, augmentation=augmentation, source=Wide(), length=60, keep=keep) for keep in (0, 10**9)
        )
        assert all(map(equal, plain, kept))


# how episodes are drawn


@pytest.mark.slow
def test_classes_queries_and_supports_are_uniform(protocol: Protocol) -> None:
    few = {c: images[:6] for c, images in coded_pairs().items()}
    first, second, queries, supports = Counter(), Counter(), Counter(), Counter()
    for sample in episodes(protocol, pairs=few, way=2, length=1800):
        classes = classes_of(sample)
        first[classes[0]] += 1
        second[classes[1]] += 1
        queries[classes[0], number(sample.query_image)] += 1
        supports[classes[0], number(sample.support_images[0, 0])] += 1
    for counts, cells in ((first, 6), (second, 6), (queries, 36), (supports, 36)):
        assert len(counts) == cells
        assert stats.chisquare(list(counts.values())).pvalue > 1e-3


@pytest.mark.parametrize("augmentation", ["flip", "enlarged-crop"])
def test_an_item_depends_on_the_seed_and_its_number_alone(protocol: Protocol, augmentation: str) -> None:
    ordered = list(episodes(protocol, augmentation=augmentation, way=2, shot=2, length=12))
    longer = episodes(protocol, augmentation=augmentation, way=2, shot=2, length=99)
    shuffled = {c: images[::-1] for c, images in reversed(coded_pairs().items())}
    other_lists = episodes(protocol, augmentation=augmentation, way=2, shot=2, length=12, pairs=shuffled)
    torch.manual_seed(5)
    for i in reversed(range(12)):
        assert equal(ordered[i], longer[i])
        assert equal(ordered[i], other_lists[i])
    for i in range(11):
        assert not equal(ordered[i], ordered[i + 1])
        assert ordered[i].seed != ordered[i + 1].seed
    other_seed = episodes(protocol, augmentation=augmentation, way=2, shot=2, length=12, seed=1)
    assert not any(equal(a, b) for a, b in zip(ordered, other_seed, strict=True))


def test_the_seed_decides_which_images_are_drawn(protocol: Protocol) -> None:
    one, other = (
        [number(sample.query_image) for sample in episodes(protocol, seed=seed, length=30)] for seed in (0, 1)
    )
    assert sum(a == b for a, b in zip(one, other, strict=True)) < 10


def test_any_number_of_workers_gives_the_same_batches(protocol: Protocol) -> None:
    dataset = episodes(protocol, augmentation="enlarged-crop", way=2, length=11)
    streams: list[list[TrainingBatch]] = []
    for workers in (0, 1, 2):
        loader: Any = DataLoader(dataset, batch_size=3, num_workers=workers, collate_fn=collate)
        streams.append(list(loader))
    assert [len(batch.seeds) for batch in streams[0]] == [3, 3, 3, 2]
    for other in streams[1:]:
        for a, b in zip(streams[0], other, strict=True):
            assert all(torch.equal(x, y) for x, y in zip(a[:4], b[:4], strict=True))
            assert a.seeds == b.seeds


@pytest.mark.parametrize("extras", [Extras(), Extras(class_labels=True, unlabelled=2)])
def test_a_batch_is_its_samples(protocol: Protocol, extras: Extras) -> None:
    dataset = episodes(protocol, way=2, shot=3, length=4, extras=extras)
    batch = collate([dataset[i] for i in range(4)])
    assert batch.support_images.shape == (4, 2, 3, 3, SIZE, SIZE)
    assert (batch.support_classes is None, batch.unlabelled is None) == (not extras.class_labels, not extras.unlabelled)
    for i in range(4):
        assert equal(TrainingSample(*(None if field is None else field[i] for field in batch)), dataset[i])


def test_its_length(protocol: Protocol) -> None:
    dataset = episodes(protocol, length=7)
    assert len(dataset) == 7
    assert len(list(dataset)) == 7
    for i in (7, -1):
        with pytest.raises(IndexError, match="of 7"):
            dataset[i]


# what cannot be drawn


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"pairs": {**coded_pairs(), 2: ["001", "002"], 7: [], 8: ["001", "002", "003"]}, "shot": 2},
            r"fold 2: 2-shot training needs 3 training images .*'barrel' has 2, 'globe' has 0 \(.*at least 60 pixels.*"
            r"--shot, recipe\.train_shots or data\.min_object_pixels, or add images",
        ),
        ({"pairs": {**coded_pairs(), 2: ["001", "001"]}}, "'barrel' has 1 "),  # an image listed twice counts once
        ({"way": 7}, "7-way training needs 7 base classes, found 6; lower --way"),
    ],
)
def test_too_few_images_or_classes(protocol: Protocol, given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        episodes(protocol, **given)


def test_class_labels_of_more_base_classes_than_a_map_holds(protocol: Protocol) -> None:
    names = tuple(f"c{i}" for i in range(300))
    large = dataclasses.replace(protocol, classes=(*protocol.classes, *names), folds={**protocol.folds, 9: names})
    assert len(episodes(large)) == 40
    with pytest.raises(UserError, match=r"one map of labels over all base classes, which holds 254; the fold has 306"):
        episodes(large, extras=Extras(class_labels=True))


def shared(**lists: Sequence[str]) -> Mapping[int, Sequence[str]]:
    """Image lists of classes 1 and 2 (both of which images 40 and 8, ..., show)."""
    return {int(name[1:]): images for name, images in lists.items()}


def test_ways_that_share_images_still_get_different_ones(protocol: Protocol) -> None:
    """Classes 1 and 2 have the same two images: a 2-way episode of both would need three."""
    pairs = shared(c1=["000", "008"], c2=["000", "008"], c5=["004", "012", "020"])
    seen = Counter()
    for sample in episodes(protocol, pairs=pairs, way=2, length=60):
        numbers = [number(i) for i in (*sample.support_images.flatten(0, 1), sample.query_image)]
        assert len(set(numbers)) == 3
        seen[frozenset(classes_of(sample))] += 1
    assert set(seen) == {frozenset({1, 5}), frozenset({2, 5})}


def test_ways_that_share_all_their_images(protocol: Protocol) -> None:
    dataset = episodes(protocol, pairs=shared(c1=["000", "008"], c2=["000", "008"]), way=2)
    with pytest.raises(UserError, match=r"no 2-way 1-shot training episode of different images.*lower --way"):
        dataset[0]


class Broken(Coded):
    def image(self, image_id: str) -> UInt8:
        raise UserError(f"{image_id}: cannot be decoded")


def test_a_damaged_image_is_named(protocol: Protocol) -> None:
    with pytest.raises(UserError, match=r"\d\d\d: cannot be decoded"):
        episodes(protocol, source=Broken())[0]


# what a method asks for besides


@pytest.mark.parametrize("novel", ["background", "ignore"])
def test_class_labels_are_the_base_classes_that_the_images_show(protocol: Protocol, novel: Any) -> None:
    protocol = dataclasses.replace(protocol, data=dataclasses.replace(protocol.data, novel_in_train=novel))
    asked = Extras(class_labels=True)
    for sample in episodes(protocol, way=2, shot=2, augmentation="flip", extras=asked, length=20):
        assert sample.support_classes is not None
        assert sample.query_classes is not None
        images = [*sample.support_images.flatten(0, 1), sample.query_image]
        for image, labels in zip(images, [*sample.support_classes.flatten(0, 1), sample.query_classes], strict=True):
            np.testing.assert_array_equal(labels.numpy(), numbered(shown(image), BASE, novel))


def test_unlabelled_images_are_of_the_way_and_not_of_the_episode(protocol: Protocol) -> None:
    for sample in episodes(protocol, way=2, shot=2, extras=Extras(unlabelled=3), length=30):
        assert sample.unlabelled is not None
        assert sample.unlabelled.shape == (2, 3, 3, SIZE, SIZE)
        own = {number(i) for i in (*sample.support_images.flatten(0, 1), sample.query_image)}
        for c, images in zip(classes_of(sample), sample.unlabelled, strict=True):
            drawn = {number(i) for i in images}
            assert len(drawn) == 3
            assert drawn <= {int(i) for i in coded_pairs()[c]} - own


def test_extras_leave_the_episode_as_it_is(protocol: Protocol) -> None:
    plain = episodes(protocol, augmentation="enlarged-crop-supports", length=8)
    asking = episodes(
        protocol, augmentation="enlarged-crop-supports", extras=Extras(class_labels=True, unlabelled=2), length=8
    )
    for a, b in zip(plain, asking, strict=True):
        assert equal(a, b._replace(support_classes=None, query_classes=None, unlabelled=None))


def test_a_key_names_the_query_and_its_classes(protocol: Protocol) -> None:
    for sample in episodes(protocol, way=2, shot=1, length=10):
        query, *classes = sample.key.split()
        assert int(query) == number(sample.query_image)
        assert [int(c) for c in classes] == classes_of(sample)
