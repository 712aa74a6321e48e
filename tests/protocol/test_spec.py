from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest

from fsseg_bench.protocol.load import load_protocol
from fsseg_bench.protocol.spec import Protocol
from tests.support.protocol_text import TEXT, changed, with_source, write


@pytest.fixture
def protocol(tmp_path: Path) -> Protocol:
    return load_protocol(write(tmp_path))


def test_labels_count_from_one(protocol: Protocol) -> None:
    assert [protocol.class_id(name) for name in protocol.classes] == [1, 2, 3, 4, 5, 6]
    assert [protocol.class_name(i) for i in range(1, 7)] == list(protocol.classes)


@pytest.mark.parametrize("label", [0, -1, 7])
def test_background_and_strangers_have_no_name(protocol: Protocol, label: int) -> None:
    with pytest.raises(ValueError, match=rf"label value {label} is not in 1\.\.6"):
        protocol.class_name(label)


def test_base_classes_are_those_of_the_other_folds(protocol: Protocol) -> None:
    assert protocol.novel_classes(1) == (1, 2)
    assert protocol.base_classes(1) == (3, 4, 5)
    assert protocol.novel_classes(4) == (5,)
    assert protocol.base_classes(4) == (1, 2, 3, 4)


def test_base_names_are_trained_on_in_every_fold_and_validation_in_none(tmp_path: Path) -> None:
    named = load_protocol(write(tmp_path, changed("[folds]", 'base = ["fox"]\n[folds]')))
    assert [named.base_classes(fold) for fold in (1, 4)] == [(3, 4, 5, 6), (1, 2, 3, 4, 6)]
    assert [named.held_out(fold) for fold in (1, 4)] == [(1, 2), (5,)]
    named = load_protocol(write(tmp_path, changed("[folds]", 'validation = ["fox"]\n[folds]')))
    assert [named.base_classes(fold) for fold in (1, 4)] == [(3, 4, 5), (1, 2, 3, 4)]
    assert [named.held_out(fold) for fold in (1, 4)] == [(1, 2, 6), (5, 6)]
    assert [named.novel_classes(fold) for fold in (1, 4)] == [(1, 2), (5,)]


def test_novel_classes_ascend_whatever_the_order_in_the_file(tmp_path: Path) -> None:
    turned = load_protocol(write(tmp_path, changed('1 = ["ant", "bee"]', '1 = ["bee", "ant"]')))
    assert turned.novel_classes(1) == (1, 2)


def test_the_digest_is_the_hash_of_canonical_json(protocol: Protocol) -> None:
    """Written out by hand: whoever wants to check a record can do the same."""
    settings = {
        "name": "own",
        "version": 3,
        "classes": ["ant", "bee", "cat", "dog", "eel", "fox"],
        "folds": {"1": ["ant", "bee"], "2": ["cat"], "3": ["dog"], "4": ["eel"]},
        "data": {
            "source": "voc",
            "root": "own-data",
            "train_list": ["train"],
            "test_list": ["val"],
            "train_excludes_test": True,
            "min_object_pixels": 2048,
            "novel_in_train": "background",
            "masks": ["SegmentationClass"],
            "year": 0,
            "generator_seed": 0,
            "train_images": 0,
            "test_images": 0,
        },
        "episodes": {"count": 40, "seed": 11, "class_sampling": "uniform", "support_replacement": False},
        "image": {"size": 257, "resize": "squash", "decoder": "pillow"},
        "scoring": {"void": "ignore", "headline": "input", "scales": [0.7, 1.0, 1.3]},
        "checkpoint": {"rule": "last"},
    }
    assert protocol.settings() == settings
    text = json.dumps(settings, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert protocol.digest == hashlib.sha256(text.encode()).hexdigest()


_EPISODES = 'count = 40\nseed = 11\nclass_sampling = "uniform"\n'
_GENERALISED = 'count = 0\nseed = 11\nclass_sampling = "each-image"\ntask = "generalised"\n'
_TO_SCORING = "support_replacement = false\n\n[scoring]\n"
CHANGES = {
    "name": ('name = "own"', 'name = "own2"'),
    "version": ("version = 3", "version = 4"),
    "classes": ('"eel", "fox"]', '"eel", "fly"]'),
    "base": ("[folds]", 'base = ["fox"]\n[folds]'),
    "validation": ("[folds]", 'validation = ["fox"]\n[folds]'),
    "class added": ('"eel", "fox"]', '"eel", "fox", "gnu"]'),
    "folds": ('4 = ["eel"]', '4 = ["fox"]'),
    "root": ('root = "own-data"', 'root = "own-date"'),
    "masks": ('["SegmentationClass"]', '["SegmentationClass", "More"]'),
    "colors": ('["SegmentationClass"]', '["SegmentationClass"]\ncolors = ["1,0,0", "2,0,0"]'),
    "train_list": ('train_list = ["train"]', 'train_list = ["trainaug"]'),
    "test_list": ('test_list = ["val"]', 'test_list = ["val", "test"]'),
    "train_excludes_test": ("excludes_test = true", "excludes_test = false"),
    "min_object_pixels": ("min_object_pixels = 2048", "min_object_pixels = 2047"),
    "novel_in_train": ('novel_in_train = "background"', 'novel_in_train = "ignore"'),
    "size": ("size = 257", "size = 321"),
    "orientation": ("size = 257", 'size = 257\norientation = "upright"'),
    "count": ("count = 40", "count = 41"),
    "seed": ("seed = 11", "seed = -11"),
    "support_replacement": ("support_replacement = false", "support_replacement = true"),
    "class_sampling": ('class_sampling = "uniform"', 'class_sampling = "cycle"'),
    "runs": ("seed = 11", "seed = 11\nruns = 2"),
    "sampler": ("support_replacement = false", 'support_replacement = true\nsampler = "hsnet"'),
    "support_sampling": ("support_replacement = false", 'support_replacement = false\nsupport_sampling = "first"'),
    "resize": ('resize = "squash"', 'resize = "pad"'),
    "multiple": ('resize = "squash"', 'resize = "pad"\nmultiple = 8'),
    "task": (_EPISODES, _GENERALISED),
    "support_list": (_EPISODES, f'{_GENERALISED}support_list = "test"\n'),
    "support_pixels": (_EPISODES, f"{_GENERALISED}support_pixels = 2\n"),
    "support_one_novel": (_EPISODES, f"{_GENERALISED}support_one_novel = true\n"),
    "background": (_EPISODES + _TO_SCORING, f'{_GENERALISED}{_TO_SCORING}background = "apart"\n'),
    "overall": (_EPISODES + _TO_SCORING, f'{_GENERALISED}{_TO_SCORING}overall = "mean-of-two"\n'),
    "headline": ('headline = "input"', 'headline = "native"'),
    "boundary": ("[0.7, 1.0, 1.3]", "[0.7, 1.0, 1.3]\nboundary = 0.02"),
    "scales": ("[0.7, 1.0, 1.3]", "[0.7, 1.3, 1.0]"),
}


def test_the_digest_changes_with_every_value(tmp_path: Path) -> None:
    texts = [TEXT, *(changed(old, new) for old, new in CHANGES.values())]
    texts += [with_source("coco"), changed("year = 2017", "year = 2014", with_source("coco"))]
    texts += [changed("year = 2017", f"year = 2017\n{key}", with_source("coco")) for key in COCO_LINES]
    texts += [with_source("folder"), with_source("folder").replace('"folder"', '"folder"\nmask_threshold = 128')]
    shapes = with_source("shapes")
    texts += [shapes, *(changed(f"{line}\n", f"{line}1\n", shapes) for line in SHAPES_LINES)]
    digests = [load_protocol(write(tmp_path, text)).digest for text in texts]
    assert len(set(digests)) == len(texts)


COCO_LINES = ('crowds = "object"', 'crop = "object"')
SHAPES_LINES = ("generator_seed = 5", "train_images = 30", "test_images = 20")


def test_every_value_that_may_differ_is_among_the_changes() -> None:
    """A key added to the specification must be added above."""
    free = {
        field.name
        for field in (*dataclasses.fields(Protocol), *_section_fields())
        if field.name not in {"description", "overrides", "given_list", "home", "list_digests", "kind", "options"}
        and not _has_one_value(field.name)
    }
    sections = {"data", "episodes", "image", "scoring", "checkpoint"}
    several = {"train", "rule", "every"}  # need several lines: test_training.py, test_checkpoint_rule.py
    assert free - sections - several - {"source"} == set(CHANGES) - {"class added", "masks", "colors"}


def _section_fields() -> list[dataclasses.Field[object]]:
    from fsseg_bench.protocol import spec

    sections = (spec.DataSpec, spec.EpisodeSpec, spec.ImageSpec, spec.ScoringSpec, spec.CheckpointSpec)
    return [field for section in sections for field in dataclasses.fields(section)]


def _has_one_value(name: str) -> bool:
    return name in {"decoder", "void"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Something of one's own", "Something else"),
        ("[0.7, 1.0, 1.3]", "[0.7, 1, 1.3]"),
        ("count = 40", "count = 40 # forty"),
        ("size = 257", 'size = 257\norientation = "stored"'),
        ("support_replacement = false", 'support_replacement = false\nsupport_sampling = "uniform"'),
        ('["SegmentationClass"]', '["SegmentationClass"]\ncolors = []'),
        ('resize = "squash"', 'resize = "squash"\nmultiple = 1'),
        ("[0.7, 1.0, 1.3]", "[0.7, 1.0, 1.3]\nboundary = 0.0"),
        ("[folds]", "base = []\nvalidation = []\n[folds]"),
        ('[checkpoint]\nrule = "last"\n', ""),
    ],
)
def test_the_digest_does_not_change_with_words_or_layout(tmp_path: Path, old: str, new: str) -> None:
    text = changed(old, new)
    if not new:
        text = changed("[folds]", f"{old}\n[folds]", text)
    assert load_protocol(write(tmp_path, text)).digest == load_protocol(write(tmp_path)).digest


def test_the_digest_does_not_change_with_the_place_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    assert load_protocol(write(tmp_path / "deep")).digest == load_protocol(write(tmp_path)).digest


def test_the_digest_of_non_ascii_names_is_that_of_utf8(tmp_path: Path) -> None:
    protocol = load_protocol(write(tmp_path, changed('"eel", "fox"]', '"eel", "füchsin"]')))
    text = json.dumps(protocol.settings(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert "füchsin" in text
    assert protocol.digest == hashlib.sha256(text.encode("utf-8")).hexdigest()


def test_the_label_lists_changes_in_order_of_their_keys(protocol: Protocol) -> None:
    changes = {"image.size": "9", "data.year": "2017"}
    assert dataclasses.replace(protocol, overrides=changes).label == "own[data.year=2017,image.size=9]"
    assert protocol.label == "own"
