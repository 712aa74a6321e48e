"""More classes than a byte tells apart: no mask of labels is made, and no array over all classes."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fsseg_bench.data.index import PairIndex, build_index
from fsseg_bench.data.open import open_source
from fsseg_bench.data.source import Source
from fsseg_bench.data.training import TrainingEpisodes
from fsseg_bench.errors import UserError
from fsseg_bench.protocol.episodes import sample_episodes
from fsseg_bench.protocol.load import load_protocol
from fsseg_bench.protocol.spec import Protocol
from tests.support.coco import box
from tests.support.datasets import write_instances
from tests.support.protocol_text import with_source, write

MANY, LVIS = 300, 1203


def classes(count: int) -> list[str]:
    return [f"class{i}" for i in range(1, count + 1)]


def protocol_of(folder: Path, source: str, count: int, held_out: int) -> Protocol:
    """Fold 1 holds the last ``held_out`` classes out, fold 2 all others."""
    names = [f'"{name}"' for name in classes(count)]
    text = with_source(source).replace("year = 2017", "year = 0").replace("2048", "1")
    text = text.replace('"ant", "bee", "cat", "dog", "eel", "fox"', ", ".join(names))
    lists = f"1 = [{', '.join(names[-held_out:])}]\n2 = [{', '.join(names[:-held_out])}]\n"
    text = text[: text.index("1 = [")] + lists + text[text.index("\n[data]") :]
    if source == "folder":
        text = text.replace('["train"]', '["all"]').replace('["val"]', '["all"]')
        text = text.replace("train_excludes_test = true", "train_excludes_test = false")
    return load_protocol(write(folder, text), {"image.size": "32", "episodes.count": "60"})


def indexed(protocol: Protocol) -> tuple[Source, PairIndex]:
    source = open_source(protocol)
    return source, build_index(source, protocol)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 class folders of two photos; the object of class c has c % 7 + 3 rows."""
    root = tmp_path_factory.mktemp("many")
    for number, name in enumerate(classes(MANY), start=1):
        for kind in ("images", "masks"):
            (root / "own-data" / name / kind).mkdir(parents=True)
        mask = np.zeros((16, 16), dtype=np.uint8)
        mask[: number % 7 + 3, 2:9] = 255
        for i in range(2):
            pixels = np.full((16, 16, 3), (number % 256, number // 256, i), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "own-data" / name / f"images/{i}.png")
            Image.fromarray(mask).save(root / "own-data" / name / f"masks/{i}.png")
    return root


def test_folders(folders: Path) -> None:
    protocol = protocol_of(folders, "folder", MANY, 6)
    source, index = indexed(protocol)
    assert index.frame.groupby("class")["pixels"].first().to_dict() == {c: 7 * (c % 7 + 3) for c in range(1, MANY + 1)}
    assert source.class_masks(f"class{MANY}/0", [MANY, 44])[0].sum() == 7 * (MANY % 7 + 3)  # 44 is 300 in a byte
    assert source.class_masks(f"class{MANY}/0", [MANY, 44])[1].max() == 0
    table = sample_episodes(protocol, 1, index.test_pairs(1), 1, 1, index.copies)
    assert {c for (c,) in table.classes} == set(range(295, 301))
    episodes = TrainingEpisodes(source, protocol, index.train_pairs(1), 1, 2, 1, "none", 0, 40)
    high = 0
    for i in range(40):
        sample, drawn = episodes[i], episodes._draw(i)
        assert set(sample.query_label.unique().tolist()) <= {0, 1, 2, 255}
        for way, (c, image) in enumerate(zip(drawn.classes, sample.support_images[:, 0], strict=True)):
            assert image[:2, 0, 0].tolist() == [c % 256, c // 256]  # the image is its class's
            rows = (sample.support_masks[way, 0] == 1).any(dim=1).sum()
            assert abs(int(rows) - 2 * (c % 7 + 3)) <= 1
            high += c > 255
    assert high > 4


def test_lvis_has_no_array_over_all_its_classes(tmp_path: Path) -> None:
    height, width = 240, 320
    images = [{"id": i, "file_name": f"{i}.png", "height": height, "width": width} for i in range(6)]
    for split in ("train", "val"):
        (tmp_path / "own-data" / split).mkdir(parents=True)
        for i in range(6):
            pixels = np.full((height, width, 3), 9 * i + (split == "val"), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"own-data/{split}/{i}.png")
        annotations = [
            {**box(10 * c, 5 * i, 7, 5 * i + 20, 40), "id": 10 * c + i, "image_id": i}
            for i in range(6)
            for c in (1, 254, 255, 256, 257, 1200, LVIS)
        ]
        write_instances(tmp_path / "own-data", split, images, annotations, classes(LVIS))
    protocol = protocol_of(tmp_path, "coco", LVIS, 4)
    source = open_source(protocol)
    source.ids("val")  # the annotations are read once, whatever is made of them
    tracemalloc.start()
    index = build_index(source, protocol)
    digest, peak = source.label_digest("val/0"), tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6  # an array over all classes has 92 MB
    assert len(digest) == 64
    assert index.frame["pixels"].unique().tolist() == [20 * 33]
    masks = source.class_masks("val/2", [LVIS, 179])  # 1203 in a byte is 179
    assert (masks[0].sum(), masks[1].sum()) == (20 * 33, 0)
    pairs = index.train_pairs(1)
    assert {c for c, found in pairs.items() if found} == {1, 254, 255, 256, 257}
    assert index.test_pairs(1)[LVIS] == tuple(f"val/{i}" for i in range(6))


def test_methods_that_need_one_map_of_all_base_classes_are_refused_before_anything_is_trained(folders: Path) -> None:
    from fsseg_bench.engine.plan import make_plan
    from fsseg_bench.records.request import RunRequest

    protocol_of(folders, "folder", MANY, 6)
    request = RunRequest(
        "bam",
        str(folders / "own.toml"),
        backbone="resnet50-deep",
        weights="none",
        device="cpu",
        settings={"protocol.image.size": "33"},
        out=str(folders / "runs"),
    )
    with pytest.raises(UserError, match=r"one map of labels holds 254 base classes, and fold 1 has 294: bam trains"):
        make_plan(request)
