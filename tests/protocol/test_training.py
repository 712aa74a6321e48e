"""The section ``[train]``: another protocol's classes and images are trained on."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.load import load_protocol, replace_episodes
from fsseg_bench.protocol.training import shared_names
from tests.support.protocol_text import TEXT, changed, refused, with_source, write

UNTRAINED = changed('train_list = ["train"]', "train_list = []")
NAMES = 'classes = ["ant", "bee", "cat", "dog", "eel", "fox"]'


def trained_on(protocol: str, fold: str = "", text: str = UNTRAINED) -> str:
    return changed("[image]", f'[train]\nprotocol = "{protocol}"\n{fold}\n[image]', text)


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """Another protocol, of COCO's layout, beside the file."""
    text = changed('name = "own"', 'name = "theirs"', with_source("coco"))
    text = changed(NAMES, 'classes = ["gnu", "hen", "ibis", "jay", "koi", "lark", "Cat"]', text)
    folds = TEXT[TEXT.index("1 = [") : TEXT.index("\n[data]")]
    text = changed(folds, '1 = ["gnu", "jay"]\n2 = ["hen", "koi"]\n', text)
    text = changed("[folds]", 'base = ["Cat"]\nvalidation = ["lark"]\n[folds]', text)
    return write(tmp_path, changed("size = 257", "size = 65", text), "theirs.toml")


def test_classes_and_data_are_theirs_and_the_geometry_is_the_files_own(tmp_path: Path, theirs: Path) -> None:
    protocol = load_protocol(write(tmp_path, trained_on("theirs.toml", "fold = 2")))
    other = load_protocol(theirs)
    for fold in protocol.folds:
        rules, own = protocol.training(fold)
        assert (own, rules.base_classes(own), rules.held_out(own)) == (2, (1, 4, 7), (2, 5, 6))
        assert dataclasses.replace(rules, image=other.image) == other
        assert rules.image == protocol.image
    assert protocol.novel_classes(1) == (1, 2)
    plain = load_protocol(write(tmp_path, TEXT))
    assert plain.training(3) == (plain, 3)
    assert plain.training(3).base == plain.base_classes(3)


def test_with_fold_0_nothing_but_validation_is_held_out(tmp_path: Path, theirs: Path) -> None:
    for line in ("", "fold = 0"):
        rules, fold = load_protocol(write(tmp_path, trained_on("theirs.toml", line))).training(1)
        assert (fold, rules.base_classes(fold), rules.novel_classes(fold)) == (0, (1, 2, 4, 5, 7), ())
        assert rules.held_out(fold) == (6,)
    with pytest.raises(UserError, match="--fold 0"):
        load_protocol(theirs).check_fold(0)


def test_a_built_in_protocol_is_known_by_its_name(tmp_path: Path) -> None:
    protocol = load_protocol(write(tmp_path, trained_on("pascal5i")))
    assert protocol.training(2).base == tuple(range(1, 21))
    assert protocol.training(2).words == "pascal5i, no fold held out"
    changed_one = load_protocol(write(tmp_path, trained_on("pascal5i")), {"train.fold": "3", "image.size": "65"})
    assert changed_one.label == "own[image.size=65,train.fold=3]"
    assert changed_one.training(2).words == "pascal5i, fold 3 held out"
    assert changed_one.training(2).protocol.image.size == 65
    assert replace_episodes(changed_one, 7).training(1).base == changed_one.training(1).base


def test_it_can_be_changed_for_a_run(tmp_path: Path, theirs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(theirs.parent)
    (tmp_path / "deep").mkdir()
    path = write(tmp_path / "deep", trained_on("pascal5i"))
    protocol = load_protocol(path, {"train.protocol": "theirs.toml"})
    assert protocol.label == "own[train.protocol=theirs.toml]"
    assert protocol.training(1).protocol.name == "theirs"


def test_what_enters_the_digest(tmp_path: Path, theirs: Path) -> None:
    """The training protocol's rules do; the name of its file, and its episodes, scoring and geometry do not."""

    def digest(text: str, name: str = "theirs.toml", fold: str = "") -> str:
        write(tmp_path, text, name)
        return load_protocol(write(tmp_path, trained_on(name, fold))).digest

    text = theirs.read_text()
    first = digest(text)
    assert first != load_protocol(write(tmp_path, UNTRAINED)).digest
    assert digest(text, "renamed.toml") == first
    for old, new in (("count = 40", "count = 7"), ("size = 65", "size = 66"), ("[0.7, 1.0, 1.3]", "[1.0]")):
        assert digest(changed(old, new, text)) == first
    others = [("version = 3", "version = 4"), ('1 = ["gnu", "jay"]', '1 = ["gnu"]'), ('["lark"]', '["ibis"]')]
    others += [('train_list = ["train"]', 'train_list = ["val"]'), ("pixels = 2048", "pixels = 1")]
    digests = [digest(changed(old, new, text)) for old, new in others] + [digest(text, fold="fold = 1")]
    assert len({first, *digests}) == 1 + len(others) + 1


def test_the_digest_of_a_training_protocol_is_its_own_settings(tmp_path: Path, theirs: Path) -> None:
    protocol = load_protocol(write(tmp_path, trained_on("theirs.toml", "fold = 1")))
    rules = load_protocol(theirs).settings()
    kept = {key: rules[key] for key in ("name", "version", "classes", "folds", "base", "validation", "data")}
    assert protocol.settings()["train"] == {"fold": 1, "rules": kept}


def test_names_that_both_have(tmp_path: Path) -> None:
    """Without case, spaces and marks; only base classes count, and only a fold's own novel ones."""
    text = changed("[folds]", 'validation = ["train"]\n[folds]', trained_on("pascal5i"))
    classes = 'classes = ["Dining Table", "potted_plant", "cup", "dog", "sofa", "train"]'
    folds = TEXT[TEXT.index("1 = [") : TEXT.index("\n[data]")]
    own = changed(folds, '1 = ["cup", "dog", "Dining Table"]\n2 = ["potted_plant", "sofa"]\n', trained_on("pascal5i"))
    protocol = load_protocol(write(tmp_path, changed(NAMES, classes, own)))
    assert shared_names(protocol, 1) == ("Dining Table", "dog")
    assert shared_names(protocol, 2) == ("potted_plant", "sofa")
    held = load_protocol(write(tmp_path, changed(NAMES, classes, own)), {"train.fold": 3})  # diningtable to person
    assert shared_names(held, 1) == ()
    assert "validation" in refused(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (trained_on("pascal5", text=UNTRAINED), "train.protocol 'pascal5': unknown dataset 'pascal5'. Did you mean"),
        (trained_on("nowhere.toml"), "train.protocol 'nowhere.toml': "),
        (trained_on("pascal5i", "fold = 5"), "train.protocol 'pascal5i': has no fold 5; its folds are 1 to 4, and 0"),
        (trained_on("pascal5i", "fold = -1"), "train.fold is -1; it must be at least 0"),
        (trained_on("pascal5i", text=TEXT), "data.train_list has no part where [train] names another protocol"),
        (
            trained_on("pascal5i", text=changed("[folds]", 'base = ["fox"]\n[folds]', UNTRAINED)),
            "base has no part where [train] names another protocol",
        ),
        (trained_on("own.toml"), "train.protocol 'own.toml': trains on another protocol itself; name that one"),
        (changed("[image]", "[train]\nfold = 0\n[image]", UNTRAINED), "missing train.protocol"),
        (changed("[image]", "[train]\nprotocl = 'x'\n[image]", UNTRAINED), "unknown key 'train.protocl'"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, message: str) -> None:
    assert refused(tmp_path, text).startswith(message)


@pytest.mark.parametrize(
    ("old", "new", "fold", "message"),
    [
        ('train_list = ["train"]', "train_list = []", "", "is for testing alone, its data.train_list is empty"),
        ('base = ["Cat"]\n', "", "fold = 1", "has no base classes in fold 1; train.fold = 0 holds no fold out"),
        ("version = 3", "version = 0", "", "theirs.toml: version is 0; it must be at least 1"),
    ],
)
def test_what_cannot_be_trained_on(tmp_path: Path, theirs: Path, old: str, new: str, fold: str, message: str) -> None:
    text = changed(old, new, theirs.read_text())
    if fold:
        text = changed('2 = ["hen", "koi"]\n', "", text)
    write(tmp_path, text, "theirs.toml")
    assert message in refused(tmp_path, trained_on("theirs.toml", fold))
