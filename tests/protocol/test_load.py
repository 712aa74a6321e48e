from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fsseg_bench.data.sources.coco import CocoKeys
from fsseg_bench.data.sources.shapes import ShapesKeys
from fsseg_bench.data.sources.voc import VocKeys, VocSource
from fsseg_bench.errors import UserError
from fsseg_bench.paths import folder
from fsseg_bench.protocol.data_spec import DataSpec
from fsseg_bench.protocol.episode_spec import EpisodeSpec
from fsseg_bench.protocol.find import builtin_protocols
from fsseg_bench.protocol.load import load_protocol
from fsseg_bench.protocol.spec import CheckpointSpec, ImageSpec, ScoringSpec
from tests.support.protocol_text import TEXT, changed, refused, with_source, write


def test_every_value_arrives(tmp_path: Path) -> None:
    protocol = load_protocol(write(tmp_path))
    assert (protocol.name, protocol.version) == ("own", 3)
    assert protocol.description == "Something of one's own"
    assert protocol.classes == ("ant", "bee", "cat", "dog", "eel", "fox")
    assert protocol.folds == {1: ("ant", "bee"), 2: ("cat",), 3: ("dog",), 4: ("eel",)}
    assert protocol.data == DataSpec(
        source="voc",
        kind=VocSource,
        root="own-data",
        train_list=("train",),
        test_list=("val",),
        train_excludes_test=True,
        min_object_pixels=2048,
        novel_in_train="background",
        options=VocKeys(masks=("SegmentationClass",)),
    )
    assert protocol.image == ImageSpec(size=257, resize="squash", decoder="pillow")
    assert protocol.episodes == EpisodeSpec(40, 11, class_sampling="uniform", support_replacement=False)
    assert protocol.scoring == ScoringSpec(void="ignore", headline="input", scales=(0.7, 1.0, 1.3))
    assert protocol.checkpoint == CheckpointSpec(rule="last")
    assert protocol.overrides == {}
    assert protocol.home == tmp_path


def test_source_specific_values_arrive(tmp_path: Path) -> None:
    assert load_protocol(write(tmp_path, with_source("coco"))).data.options == CocoKeys(2017)
    assert load_protocol(write(tmp_path, with_source("shapes"))).data.options == ShapesKeys(5, 30, 20)


@pytest.mark.parametrize("name", ["pascal5i", "coco20i-a", "coco20i-b"])
def test_builtin_protocols_load_by_name_and_by_path(name: str) -> None:
    protocol = load_protocol(name)
    assert protocol.name == name
    assert protocol.home is None
    assert load_protocol(folder("protocols") / f"{name}.toml") == protocol


def test_every_builtin_protocol_is_named_as_its_file() -> None:
    assert {load_protocol(name).name for name in builtin_protocols()} == set(builtin_protocols())


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(TEXT, encoding="utf-8-sig")
    assert load_protocol(path).digest == load_protocol(write(tmp_path)).digest


def test_a_path_may_be_text_with_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path)
    assert load_protocol("~/own.toml").home == tmp_path


# Files that cannot be read


def test_the_larger_input_is_all_that_differs() -> None:
    large, usual = load_protocol("coco20i-b-1024"), load_protocol("coco20i-b")
    assert large.image.size == 1024
    own = {"name": usual.name, "description": usual.description, "image": usual.image, "scoring": usual.scoring}
    assert replace(large, **own).digest == usual.digest
    assert replace(large.image, size=usual.image.size) == usual.image
    assert replace(large.scoring, scales=usual.scoring.scales) == usual.scoring


def test_an_unknown_name_shows_near_matches() -> None:
    with pytest.raises(UserError, match=r"unknown dataset 'pascal-5i'\. Did you mean 'pascal5i'") as error:
        load_protocol("pascal-5i")
    assert "coco20i-a, coco20i-b" in str(error.value)


def test_a_missing_file_shows_near_matches(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(UserError) as error:
        load_protocol(tmp_path / "mown.toml")
    assert str(error.value) == (
        f"{tmp_path}: unknown protocol file 'mown.toml'. Did you mean 'own.toml'? Known: own.toml."
    )


def test_a_folder_with_a_protocol_is_no_protocol(tmp_path: Path) -> None:
    (tmp_path / "protocol.toml").touch()
    with pytest.raises(UserError, match=r"is a folder; give .*/protocol\.toml$"):
        load_protocol(str(tmp_path))


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere: unknown protocol file 'own.toml'\. Known: none"):
        load_protocol(f"{tmp_path}/nowhere/own.toml")


def test_a_folder_is_no_protocol(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{tmp_path}: cannot be read: Is a directory"):
        load_protocol(tmp_path)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_bytes(b'name = "\xff\xfe"')
    with pytest.raises(UserError, match=r"own\.toml: is not text in UTF-8"):
        load_protocol(path)


def test_bad_toml_says_where(tmp_path: Path) -> None:
    message = refused(tmp_path, changed("version = 3", "version = = 3"))
    assert message.startswith("not valid TOML: ")
    assert "line 2" in message


# Keys


@pytest.mark.parametrize("source", ["coco", "shapes"])
def test_keys_of_another_source_are_unknown(tmp_path: Path, source: str) -> None:
    text = changed('root = "own-data"', 'root = "own-data"\nmasks = ["m"]', with_source(source))
    assert refused(tmp_path, text).startswith("unknown key 'data.masks'.")


def _key_lines() -> list[tuple[str, str]]:
    """Each line that sets a key, with the key's full name."""
    section, lines = "", []
    for line in TEXT.splitlines():
        if line.startswith("["):
            section = line.strip("[]") + "."
        elif line:
            lines.append((line, section + line.split(" = ")[0]))
    return lines


_NEEDED = [(line, key) for line, key in _key_lines() if key not in {"episodes.support_replacement", "folds.4"}]


@pytest.mark.parametrize(("line", "key"), _NEEDED, ids=[key for _, key in _NEEDED])
def test_each_missing_key_is_named(tmp_path: Path, line: str, key: str) -> None:
    message = refused(tmp_path, changed(f"\n{line}\n", "\n", "\n" + TEXT))
    assert message.partition(";")[0] == f"missing {key}"


def test_all_missing_keys_are_named_at_once(tmp_path: Path) -> None:
    text = changed('rule = "last"', "", changed("[checkpoint]", "", changed("version = 3", "")))
    assert refused(tmp_path, text) == "missing checkpoint, version"


# Values


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("version = 3", 'version = "3"', 'version is "3"; it must be a whole number'),
        ("version = 3", "version = 3.0", "version is 3.0; it must be a whole number"),
        ("version = 3", "version = true", "version is true; it must be a whole number"),
        ("version = 3", "version = 0", "version is 0; it must be at least 1"),
        ('name = "own"', "name = 7", "name is 7; it must be text"),
        ('name = "own"', 'name = ""', 'name is ""; it must be made of letters, digits'),
        ('name = "own"', 'name = "../up"', 'name is "../up"; it must be made of letters, digits'),
        ('name = "own"', 'name = ".hidden"', 'name is ".hidden"; it must be made of letters, digits'),
        ('classes = ["ant",', 'classes = [["ant"],', 'classes[0] is ["ant"]; it must be text'),
        ("count = 40", "count = 40.5", "episodes.count is 40.5; it must be a whole number"),
        ("count = 40", "count = 0", "episodes.count is 0; it must be at least 1"),
        ("size = 257", "size = 31", "image.size is 31; it must be at least 32"),
        ("min_object_pixels = 2048", "min_object_pixels = 0", "data.min_object_pixels is 0; it must be at least 1"),
        ("excludes_test = true", "excludes_test = 1", "data.train_excludes_test is 1; it must be true or false"),
        ('root = "own-data"', "root = ['Own']", 'data.root is ["Own"]; it must be text'),
        ('train_list = ["train"]', 'train_list = "train"', 'data.train_list is "train"; it must be a list'),
        ('test_list = ["val"]', "test_list = []", "data.test_list is empty; it needs at least one name"),
        ('test_list = ["val"]', 'test_list = ["val", ""]', "data.test_list holds an empty name"),
        ('test_list = ["val"]', 'test_list = ["a", "a"]', "data.test_list names a more than once"),
        ('masks = ["SegmentationClass"]', "masks = []", "data.masks is []; it must be a list of different folders"),
        ('masks = ["SegmentationClass"]', "masks = 5", "data.masks is 5; it must be a list"),
        ('source = "voc"', "source = 5", "data.source is 5; it must be text"),
        ("[0.7, 1.0, 1.3]", '[0.7, "1"]', 'scoring.scales[1] is "1"; it must be a number'),
        ("[0.7, 1.0, 1.3]", "[0.7, true]", "scoring.scales[1] is true; it must be a number"),
        ("[0.7, 1.0, 1.3]", "[nan]", "scoring.scales[0] is nan; it must be a finite number"),
        *(
            ("[0.7, 1.0, 1.3]", text, f"scoring.scales is {shown}; it must be a list of different numbers above 0, at")
            for text, shown in {"[]": "[]", "[1, 0]": "[1.0, 0.0]", "[4.1]": "[4.1]", "[1, 1.0]": "[1.0, 1.0]"}.items()
        ),
        # unknown keys
        ("version = 3", "version = 3\nvresion = 3", "unknown key 'vresion'. Did you mean 'version'"),
        ("[episodes]", "[episode]", "unknown key 'episode'. Did you mean 'episodes'?"),
        ("size = 257", "size = 257\nresise = 1", "unknown key 'image.resise'. Did you mean 'image.resize'"),
        ("4 = [", "5 = [", "missing folds.4; folds are numbered from 1 without gaps, and there is folds.5"),
        ('source = "voc"', 'source = "voc"\nyear = 2014', "unknown key 'data.year'."),
        ('source = "voc"', 'source = "voc"\ntest_images = 4', "unknown key 'data.test_images'."),
        # one of a few words
        (
            'novel_in_train = "background"',
            'novel_in_train = "drop"',
            'data.novel_in_train is "drop"; allowed: "background", "ignore", "drop-image"',
        ),
        ('resize = "squash"', 'resize = "crop"', 'image.resize is "crop"; allowed: "squash"'),
        ('decoder = "pillow"', 'decoder = "cv2"', 'image.decoder is "cv2"; allowed: "pillow"'),
        ('sampling = "uniform"', 'sampling = "list"', 'episodes.class_sampling is "list"; allowed: "uniform"'),
        ("replacement = false", "replacement = 0", "episodes.support_replacement is 0; it must be true or false"),
        ('void = "ignore"', 'void = "background"', 'scoring.void is "background"; allowed: "ignore"'),
        ('headline = "input"', 'headline = "both"', 'scoring.headline is "both"; allowed: "input", "native"'),
        ('rule = "last"', 'rule = "best"', 'checkpoint.rule is "best"; allowed: "last"'),
        # classes and folds
        ('"eel", "fox"]', '"eel", "ant"]', "classes names ant more than once"),
        ('"eel", "fox"]', '"eel", " "]', "classes holds an empty name"),
        ('3 = ["dog"]', '3 = ["bee"]', "class 'bee' is in fold 1 and in fold 3; one is allowed"),
        ('1 = ["ant", "bee"]', '1 = ["ant", "ant"]', "folds.1 names ant more than once"),
        ('3 = ["dog"]', "3 = []", "folds.3 is empty; it needs at least one name"),
        ('3 = ["dog"]', '3 = "dog"', 'folds.3 is "dog"; it must be a list'),
        ('3 = ["dog"]', '3 = ["dgo"]', "folds.3: unknown class 'dgo'. Did you mean 'dog'?"),
    ],
)
def test_mistakes_say_what_is_allowed(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert refused(tmp_path, changed(old, new)).startswith(message)


@pytest.mark.parametrize(
    ("source", "old", "new", "message"),
    [
        ("coco", "year = 2017", "year = 2015", "data.year is 2015; allowed: 2014, 2017, 0"),
        ("shapes", "train_images = 30", "train_images = 0", "data.train_images is 0; it must be at least 1"),
        ("shapes", "test_images = 20", "test_images = -1", "data.test_images is -1; it must be at least 1"),
        ("coco", "year = 2017\n", "", "missing data.year"),
        ("shapes", "generator_seed = 5\n", "", "missing data.generator_seed"),
        ("shapes", "train_images = 30\n", "", "missing data.train_images"),
        ("shapes", "test_images = 20\n", "", "missing data.test_images"),
    ],
)
def test_wrong_and_missing_values_of_a_source(tmp_path: Path, source: str, old: str, new: str, message: str) -> None:
    assert refused(tmp_path, changed(old, new, with_source(source))).startswith(message)


@pytest.mark.parametrize("section", ["folds", "data", "image", "episodes", "scoring", "checkpoint"])
def test_a_section_that_is_no_table(tmp_path: Path, section: str) -> None:
    lines = [line for line in TEXT.split("\n\n") if not line.startswith(f"[{section}]")]
    text = "\n\n".join([f"{section} = 5", *lines])
    assert refused(tmp_path, text).startswith(f"{section} is 5; it must be a table")
    if section != "folds":
        values = {"data.root": "1", "image.size": "64", "episodes.seed": "1", "scoring.void": "ignore"}
        values["checkpoint.rule"] = "last"
        message = refused(tmp_path, text, {key: value for key, value in values.items() if key.startswith(section)})
        assert message.startswith(f"{section} is 5; it must be a table")


# Classes and folds


@pytest.mark.parametrize("count", [1, 2, 6])
def test_any_number_of_folds(tmp_path: Path, count: int) -> None:
    names = ["ant", "bee", "cat", "dog", "eel", "fox"]
    lines = "".join(f'{i} = ["{name}"]\n' for i, name in enumerate(names[:count], start=1))
    folds = TEXT[TEXT.index("1 = [") : TEXT.index("\n[data]")]
    protocol = load_protocol(write(tmp_path, changed(folds, lines)))
    assert protocol.folds == {i + 1: (names[i],) for i in range(count)}
    assert [len(protocol.base_classes(fold)) for fold in protocol.folds] == [count - 1] * count
    untrained = changed('["train"]', "[]", changed(folds, lines))
    assert load_protocol(write(tmp_path, untrained)).data.train_list == ()
    assert refused(tmp_path, changed(folds, "")) == "folds is empty; it needs at least folds.1"


def test_how_many_classes_a_mask_can_hold(tmp_path: Path) -> None:
    line = 'classes = ["ant", "bee", "cat", "dog", "eel", "fox"]'

    def text(count: int, source: str = "voc") -> str:
        names = ["ant", "bee", "cat", "dog", "eel", *(f"c{i}" for i in range(count - 5))]
        return changed(line, f"classes = {names}", with_source(source))

    assert len(load_protocol(write(tmp_path, text(254))).classes) == 254
    assert refused(tmp_path, text(255)) == "classes has 255 names; 1 to 254 are allowed with data.source voc"
    assert load_protocol(write(tmp_path, text(920, "coco"))).class_id("c914") == 920
    assert refused(tmp_path, changed(line, "classes = []")) == "classes is empty; it needs at least one name"


PASCAL = {
    1: "aeroplane, bicycle, bird, boat, bottle",
    2: "bus, car, cat, chair, cow",
    3: "diningtable, dog, horse, motorbike, person",
    4: "pottedplant, sheep, sofa, train, tvmonitor",
}

COCO_A = {
    1: "person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, "
    "fire hydrant, stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow",
    2: "elephant, bear, zebra, giraffe, backpack, umbrella, handbag, tie, suitcase, frisbee, "
    "skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, surfboard, "
    "tennis racket, bottle",
    3: "wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, "
    "broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed",
    4: "dining table, toilet, tv, laptop, mouse, remote, keyboard, cell phone, microwave, oven, "
    "toaster, sink, refrigerator, book, clock, vase, scissors, teddy bear, hair drier, toothbrush",
}

COCO_B = {
    1: "person, airplane, boat, parking meter, dog, elephant, backpack, suitcase, sports ball, skateboard, "
    "wine glass, spoon, sandwich, hot dog, chair, dining table, mouse, microwave, refrigerator, scissors",
    2: "bicycle, bus, traffic light, bench, horse, bear, umbrella, frisbee, kite, surfboard, "
    "cup, bowl, orange, pizza, couch, toilet, remote, oven, book, teddy bear",
    3: "car, train, fire hydrant, bird, sheep, zebra, handbag, skis, baseball bat, tennis racket, "
    "fork, banana, broccoli, donut, potted plant, tv, keyboard, toaster, clock, hair drier",
    4: "motorcycle, truck, stop sign, cat, cow, giraffe, tie, snowboard, baseball glove, bottle, "
    "knife, apple, carrot, cake, bed, laptop, cell phone, sink, vase, toothbrush",
}


@pytest.mark.parametrize(
    ("name", "written", "numbers"),
    [
        ("pascal5i", PASCAL, lambda fold: range(5 * fold - 4, 5 * fold + 1)),
        ("coco20i-a", COCO_A, lambda fold: range(20 * fold - 19, 20 * fold + 1)),
        ("coco20i-b", COCO_B, lambda fold: range(fold, 81, 4)),
    ],
)
def test_folds_of_the_definitions(name: str, written: dict[int, str], numbers: Callable[[int], range]) -> None:
    """PASCAL and COCO-20i-A are contiguous, COCO-20i-B is interleaved; together the folds hold every class once."""
    protocol = load_protocol(name)
    for fold, names in written.items():
        assert list(protocol.folds[fold]) == names.split(", ")
        assert protocol.novel_classes(fold) == tuple(numbers(fold))
        assert len(protocol.base_classes(fold)) == 3 * len(protocol.folds[fold])
    held_out = [c for fold in protocol.folds for c in protocol.novel_classes(fold)]
    assert sorted(held_out) == list(range(1, len(protocol.classes) + 1))


def test_both_coco_splits_label_the_same_classes() -> None:
    names = [name for fold in (1, 2, 3, 4) for name in COCO_A[fold].split(", ")]
    assert list(load_protocol("coco20i-a").classes) == list(load_protocol("coco20i-b").classes) == names


@pytest.mark.parametrize("name", ["pascal5i", "coco20i-a", "coco20i-b"])
def test_rules_of_the_built_in_protocols(name: str) -> None:
    protocol = load_protocol(name)
    assert protocol.episodes.count == 1000
    assert protocol.data.min_object_pixels == 2048
    assert protocol.data.train_excludes_test is True
    assert protocol.image.size == 417
    assert protocol.scoring.scales == (0.7, 1.0, 1.3)
