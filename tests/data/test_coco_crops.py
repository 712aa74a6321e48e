"""Crops to objects' boxes: pixels against slices of the whole photo, what is left out, and episodes over photos."""

from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fsseg_bench
from fsseg_bench.data.coco_crops import CropSource
from fsseg_bench.data.index import build_index
from fsseg_bench.data.open import open_source
from fsseg_bench.data.training import TrainingEpisodes
from fsseg_bench.engine.closure import Module, closure
from fsseg_bench.errors import UserError
from fsseg_bench.protocol.checked_episodes import check_episodes
from fsseg_bench.protocol.episodes import sample_episodes
from fsseg_bench.protocol.load import load_protocol
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.protocol.table import Crops, EpisodeTable, further_images
from tests.support.coco import box
from tests.support.datasets import UInt8, write_instances
from tests.support.protocol_text import with_source, write

CLASSES = ("ant", "bee", "cat", "dog", "eel", "fox")
WIDTH, HEIGHT = 40, 30


def part(photo: int, obj: int, bounds: list[float], category: int, *corners: int) -> dict[str, Any]:
    return {**box(10 * category, *corners), "image_id": photo, "object": obj, "object_bbox": bounds}


def written(root: Path, parts: list[dict[str, Any]], photos: int = 1) -> dict[int, UInt8]:
    """Photos ``val/p0.png`` and on, number and pixels."""
    rng, pixels = np.random.RandomState(3), {}
    (root / "val").mkdir(parents=True)
    for i in range(photos):
        pixels[i] = rng.randint(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
        Image.fromarray(pixels[i]).save(root / f"val/p{i}.png")
    images = [{"id": i, "file_name": f"p{i}.png", "height": HEIGHT, "width": WIDTH} for i in range(photos)]
    numbered = [{"id": 100 + i, **one} for i, one in enumerate(parts)]
    write_instances(root, "val", images, numbered, CLASSES)
    return pixels


def opened(root: Path) -> CropSource:
    return CropSource(root, CLASSES, 0)


def test_image_and_mask_are_cut_alike(tmp_path: Path) -> None:
    parts = [
        part(0, 17, [4.9, 3.2, 20.5, 10.9], 1, 6, 5, 12, 30),  # int(4.9) to int(25.4), int(3.2) to int(14.1)
        part(0, 17, [4.9, 3.2, 20.5, 10.9], 2, 0, 0, 9, 8),
        part(0, 17, [4.9, 3.2, 20.5, 10.9], 1, 20, 10, 40, 12),  # the same part class a second time
        part(0, 3, [30, 20, 50, 50], 1, 6, 5, 39, 25),  # ends beyond the photo
    ]
    pixels = written(tmp_path, parts)[0]
    whole = np.zeros((2, HEIGHT, WIDTH), dtype=np.uint8)
    whole[0, 5:30, 6:12], whole[0, 10:12, 20:40], whole[1, 0:8, 0:9] = 1, 1, 1
    source = opened(tmp_path)
    assert source.ids("val") == ("val/p0#17", "val/p0#3")
    assert np.array_equal(source.image("val/p0#17"), pixels[3:14, 4:25])
    assert np.array_equal(source.class_masks("val/p0#17", [1, 2, 3])[:2], whole[:, 3:14, 4:25])
    assert source.class_masks("val/p0#17", [3]).max() == 0
    assert source.class_pixels("val/p0#17") == {1: whole[0, 3:14, 4:25].sum(), 2: whole[1, 3:14, 4:25].sum()}
    assert source.image_size("val/p0#17") == source.label_size("val/p0#17") == (21, 11)
    # parts of other objects are background, wherever they lie
    assert np.array_equal(source.image("val/p0#3"), pixels[20:, 30:])
    other = np.zeros((10, 10))
    other[:5, :9] = 1
    assert np.array_equal(source.class_masks("val/p0#3", [1])[0], other)
    again = pickle.loads(pickle.dumps(source))
    assert np.array_equal(again.image("val/p0#3"), pixels[20:, 30:])


def test_what_identifies_a_crop_has_its_box(tmp_path: Path) -> None:
    parts = [part(0, 1, [0, 0, 10, 10], 1, 0, 0, 40, 30), part(0, 2, [1, 0, 10, 10], 1, 0, 0, 40, 30)]
    written(tmp_path, parts)
    source = opened(tmp_path)
    first, second = (source.content(image, labels=True) for image in ("val/p0#1", "val/p0#2"))
    assert first.label == second.label  # both are full
    assert first.image != second.image
    assert first.files == second.files
    assert source.image_digest("val/p0#1") != source.image_digest("val/p0#2")


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    parts = [
        part(0, 1, [2, 2, 8, 8], 1, 3, 3, 6, 6),
        part(0, 1, [2, 2, 8, 8], 2, 12, 12, 20, 20),  # outside of its object's box
        part(0, 2, [5, 5, 0.5, 9], 2, 3, 3, 6, 6),  # int(5) to int(5.5): no column
        part(0, 4, [40, 0, 9, 9], 1, 3, 3, 6, 6),  # outside of the photo
        part(0, 5, [20, 20, 5, 5], 2, 12, 12, 14, 14),  # a crop without any part
    ]
    written(tmp_path, parts, photos=2)
    source = opened(tmp_path)
    assert source.ids("val") == ("val/p0#1", "val/p0#5")
    assert source.class_pixels("val/p0#5") == {}
    assert source.remarks(source.ids("val")) == [
        "the 2 images are crops of 1 photos to annotated boxes of objects, the query's too, which is side information "
        '(data.crop = "object"); 1 photos of these lists without an annotated object are not used',
        "annotations/instances_val.json: 2 annotations of objects whose box has no pixel of the image: left out "
        "(data.crop); ant 1, bee 1 (ids 102, 103)",
        "annotations/instances_val.json: 2 annotations that cover no pixel of their object's box: left out "
        "(data.crop); bee 2 (ids 101, 104)",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"object": None}, r"annotation 101: object is None; it must be a whole number"),
        ({"object": "a"}, r"annotation 101: object is 'a'; it must be a whole number"),
        ({"object_bbox": [1, 2, 3]}, r"annotation 101: object_bbox is \[1, 2, 3\]; it must be \[x, y, width, height\]"),
        ({"object_bbox": [1, 2, -3, 4]}, r"object_bbox is \[1, 2, -3, 4\]; it must be"),
        (
            {"object_bbox": [0, 0, 9, 9]},
            r"annotation 101: object 1 has the box \[0, 0, 9, 9\], but \[0, 0, 8, 8\] in a",
        ),
    ],
)
def test_wrong_objects_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    parts = [part(0, 1, [0, 0, 8, 8], 1, 0, 0, 9, 9), part(0, 1, [0, 0, 8, 8], 2, 0, 0, 9, 9) | change]
    written(tmp_path, parts)
    with pytest.raises(UserError, match=message):
        opened(tmp_path).ids("val")


def test_annotations_without_objects_are_refused(tmp_path: Path) -> None:
    written(tmp_path, [{**box(10, 0, 0, 5, 5), "image_id": 0}])
    with pytest.raises(UserError, match=r"annotation 100: has no object; with data\.crop = .object. each annotation"):
        opened(tmp_path).ids("val")


def test_a_photo_of_another_size_is_refused(tmp_path: Path) -> None:
    written(tmp_path, [part(0, 1, [0, 0, 8, 8], 1, 0, 0, 9, 9)])
    Image.new("RGB", (30, 40)).save(tmp_path / "val/p0.png")
    with pytest.raises(UserError, match=r"instances_val\.json says 40 x 30 pixels and its image .*p0\.png 30 x 40"):
        opened(tmp_path).image("val/p0#1")


def protocol_of(tmp_path: Path, **overrides: str) -> Protocol:
    text = with_source("coco").replace('["train"]', "[]").replace("year = 2017", 'year = 0\ncrop = "object"')
    text = text.replace("2048", "1").replace("count = 40", "count = 900")
    text = text[: text.index("2 = [")] + text[text.index("\n[data]") :]
    return load_protocol(write(tmp_path, text), overrides)


def test_a_photo_is_drawn_first_and_then_one_of_its_objects(tmp_path: Path) -> None:
    def objects(photo: int, category: int, count: int) -> list[dict[str, Any]]:
        return [part(photo, 10 * category + i, [i, 0, 8, 8], category, 0, 0, 20, 9) for i in range(count)]

    parts = [one for c in (1, 2) for photo, count in enumerate((9, 1, 2)) for one in objects(photo, c, count)]
    written(tmp_path / "own-data", parts, photos=3)
    protocol = protocol_of(tmp_path)
    source = open_source(protocol)
    index = build_index(source, protocol)
    again = build_index(source, protocol)  # from the cache
    assert isinstance(index.copies, Crops)
    assert again.copies == index.copies
    assert isinstance(again.copies, Crops)
    pairs = index.test_pairs(1)
    assert len(pairs[1]) == 12
    table = sample_episodes(protocol, 1, pairs, 1, 2, index.copies)
    photos = [[image.partition("#")[0] for image in table.images(i)] for i in range(len(table))]
    assert all(len(set(three)) == 3 for three in photos)
    queries = Counter(query.partition("#")[0] for query in table.queries)
    assert min(queries.values()) > 240  # of 900: each photo 300 times, however many objects it has
    first = Counter(query for query in table.queries if query.startswith("val/p0#1"))
    assert len(first) == 9  # of some 150: each object some 17 times
    assert min(first.values()) > 5
    check_episodes(table, pairs, (1, 2), 1, 2, "x.csv", copies=index.copies)
    same = EpisodeTable(((1,), (2,)), ("val/p0#10", "val/p0#20"), ((("val/p0#11",),), (("val/p1#20",),)))
    with pytest.raises(UserError, match=r"'val/p0#11' is of the photo of the query 'val/p0#10'"):
        check_episodes(same, pairs, (1, 2), 1, 1, "x.csv", copies=index.copies)
    further = further_images(4, (1,), ("val/p1#10",), pairs, 6, index.copies)[0]
    assert {image.partition("#")[0] for image in further} == {"val/p0", "val/p2"}


def test_fixed_supports_are_of_different_photos_and_bar_their_crops(tmp_path: Path) -> None:
    places = [(photo, i) for photo in range(4) for i in range(3)]
    parts = [part(photo, 10 * c + i, [i, 0, 8, 8], c, 0, 0, 20, 9) for c in (1, 2) for photo, i in places]
    written(tmp_path / "own-data", parts, photos=4)
    protocol = protocol_of(
        tmp_path,
        **{"episodes.class_sampling": "each-pair", "episodes.support_sampling": "first", "episodes.count": "0"},
    )
    index = build_index(open_source(protocol), protocol)
    table = sample_episodes(protocol, 1, index.test_pairs(1), 1, 2, index.copies)
    assert set(table.supports) == {(("val/p0#10", "val/p1#10"),), (("val/p0#20", "val/p1#20"),)}
    assert table.queries == tuple(f"val/p{photo}#{10 * c + i}" for c in (1, 2) for photo in (2, 3) for i in range(3))


def test_too_few_photos_are_told_though_there_are_many_objects(tmp_path: Path) -> None:
    parts = [part(photo, i, [i, 0, 8, 8], 1 + i % 2, 0, 0, 20, 9) for photo in range(2) for i in range(8)]
    written(tmp_path / "own-data", parts, photos=2)
    protocol = protocol_of(tmp_path)
    index = build_index(open_source(protocol), protocol)
    with pytest.raises(UserError, match=r"2-shot episodes need 3 test images of each held-out class, but 'ant' has 2"):
        sample_episodes(protocol, 1, index.test_pairs(1), 1, 2, index.copies)


def test_training_draws_a_photo_first_too(tmp_path: Path) -> None:
    places = [(0, i) for i in range(6)] + [(1, 0), (2, 0)]
    objects = [part(photo, i, [i, 0, 8, 8], 1, 0, 0, 20, 9) for photo, i in places]
    written(tmp_path / "own-data", [*objects, part(0, 9, [0, 0, 8, 8], 3, 0, 0, 9, 9)], photos=3)
    protocol = protocol_of(tmp_path)
    source = open_source(protocol)
    index = build_index(source, protocol)
    pairs = {1: index.test_images(1)}
    episodes = TrainingEpisodes(
        source, protocol, pairs, 1, way=1, shot=1, augmentation="none", seed=0, length=60, copies=index.copies
    )
    assert episodes.shown == set(pairs[1])
    drawn = [episodes._draw(i) for i in range(60)]
    photos = [[image.partition("#")[0] for image in (one.query, *one.supports[0])] for one in drawn]
    assert all(len(set(two)) == 2 for two in photos)
    assert Counter(two[0] for two in photos)["val/p0"] < 35  # a third, not six of eight
    assert len({one.query for one in drawn}) == 8


def test_what_a_table_and_a_digest_say_of_it(tmp_path: Path) -> None:
    cut, whole = protocol_of(tmp_path), protocol_of(tmp_path, **{"data.crop": "none"})
    assert cut.side_information == "the query is cut to the annotated box of its object"
    assert whole.side_information is None
    assert cut.settings()["data"]["crop"] == "object"
    assert "crop" not in whole.settings()["data"]
    folder = Path(fsseg_bench.__file__).parent
    code = closure(["fsseg_bench.data.sources.coco"], {"fsseg_bench": Module(folder / "__init__.py", (str(folder),))})
    assert "fsseg_bench.data.coco_crops" in code  # a run's identity holds it
