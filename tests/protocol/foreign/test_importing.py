"""Lists of other tools come in as what they mean, or are refused; nothing happens in silence."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.episodes import sample_episodes
from fsseg_bench.protocol.foreign.images import TestImages
from fsseg_bench.protocol.foreign.importing import Imported, import_episodes
from fsseg_bench.protocol.foreign.readings import Choice
from fsseg_bench.protocol.load import load_protocol
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.protocol.table import EpisodeTable
from tests.support.foreign import Layout, images_of, save, written

PASCAL = load_protocol("pascal5i")
SPLIT_B = load_protocol("coco20i-b")
INTERLEAVED = dataclasses.replace(PASCAL, folds={fold: PASCAL.classes[fold - 1 :: 4] for fold in (1, 2, 3, 4)})
"""A place in the fold is no shifted label."""
IMAGES = images_of(PASCAL)
ANY = Choice()
PLAIN = {"class": "class", "query": "query", "supports": "support_{}"}


def tables(protocol: Protocol, images: TestImages, folds: tuple[int, ...], shot: int = 1) -> dict[int, EpisodeTable]:
    """Drawn ones, 120 a fold (each class has some)."""
    fewer = dataclasses.replace(protocol, episodes=dataclasses.replace(protocol.episodes, count=120))
    return {fold: sample_episodes(fewer, fold, images.pairs[fold], 1, shot) for fold in folds}


def imported(folder: Path, text: str, choice: Choice = ANY, images: TestImages | None = IMAGES) -> Imported:
    return import_episodes(save(folder, text), PASCAL, choice, images)


def refused(folder: Path, text: str, choice: Choice = ANY, images: TestImages | None = IMAGES) -> str:
    """The message, after a check that it begins with the file."""
    with pytest.raises(UserError) as error:
        imported(folder, text, choice, images)
    assert str(error.value).startswith(f"{folder / 'theirs.csv'}: ")
    return str(error.value).removeprefix(f"{folder / 'theirs.csv'}: ")


COLUMNS = [
    {"fold": "fold", "class": "class", "query": "query", "supports": "support_{}"},
    {"episode": "episode", "fold": "split_id", "class": "class_id", "query": "query_name", "supports": "support_names"},
    {"episode": "", "class": "Class ID", "fold": "Fold", "supports": "Support Image {}", "query": "query_img"},
    {"class": "cls", "query": "qry", "supports": "s{}", "episode": "idx", "fold": "fold"},
    {"query": "query_path", "class": "category_id", "supports": "sup_img_{}", "fold": "test_fold", "one": "backbone"},
]
SUFFIX = st.sampled_from(["", ".jpg", ".png", ".JPEG"])
FOLDER = st.sampled_from(["", "JPEGImages/", "/data/VOC2012/JPEGImages/", "./", "JPEGImages\\"])


@pytest.mark.slow
@settings(deadline=None, max_examples=80)
@given(data=st.data())
def test_what_was_written_comes_back(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """All folds in one file; the result is the tables that were written, whatever the layout."""
    protocol = data.draw(st.sampled_from([PASCAL, INTERLEAVED]))
    images = images_of(
        protocol, name=data.draw(st.sampled_from(["{class_name}_{i}", "2007_{c:03}{i:03}", "{c}/{i:04}"]))
    )
    shot = data.draw(st.integers(1, 5))
    suffix, folder = data.draw(SUFFIX), data.draw(FOLDER)
    layout = Layout(
        columns=data.draw(st.sampled_from(COLUMNS)),
        fold_base=data.draw(st.sampled_from([0, 1])),
        scope=data.draw(st.sampled_from(["all", "fold", "name"])),
        class_base=data.draw(st.sampled_from([0, 1])),
        image=lambda image: f"{folder}{image}{suffix}",
        joined=data.draw(st.sampled_from([None, ";", "|", " ", ", "])),
        delimiter=data.draw(st.sampled_from([",", ";", "\t"])),
        end=data.draw(st.sampled_from(["\n", "\r\n"])),
    )
    expected = {fold: table.head(40) for fold, table in tables(protocol, images, (1, 2, 3, 4), shot).items()}
    text = data.draw(st.sampled_from(["", "\ufeff"])) + written(expected, protocol, layout)
    path = save(tmp_path_factory.mktemp("any"), text)
    found = import_episodes(path, protocol, Choice(), images)
    assert found.tables == expected
    assert not found.unchanged
    fold = data.draw(st.integers(1, 4))
    assert import_episodes(path, protocol, Choice(fold=fold), images).tables == {fold: expected[fold]}


def test_a_file_of_this_package_passes_as_it_is(tmp_path: Path) -> None:
    for fold, table in tables(PASCAL, IMAGES, (1, 2), 2).items():
        found = imported(tmp_path, table.text())
        assert (found.tables, found.notes, found.unchanged) == ({fold: table}, (), True)
        assert imported(tmp_path, "\ufeff" + table.text().replace("\n", "\r\n")).unchanged
        assert imported(tmp_path, table.text(), images=None).tables == {fold: table}
    two = EpisodeTable(((3, 1), (1, 2), (2, 4), (4, 5), (5, 3)), *two_way())
    assert imported(tmp_path, two.text()).tables == {1: two}


def two_way() -> tuple[tuple[str, ...], tuple[tuple[tuple[str, ...], ...], ...]]:
    names = {c: PASCAL.class_name(c) for c in range(1, 6)}
    pairs = ((3, 1), (1, 2), (2, 4), (4, 5), (5, 3))
    queries = tuple(f"{names[a]}_0" for a, _ in pairs)
    return queries, tuple(((f"{names[a]}_1", f"{names[a]}_2"), (f"{names[b]}_1", f"{names[b]}_3")) for a, b in pairs)


def test_everything_that_was_changed_is_said(tmp_path: Path) -> None:
    own = tables(PASCAL, IMAGES, (1, 2))
    columns = {
        "fold": "fold",
        "episode": "episode",
        "class": "class",
        "query": "query",
        "supports": "support",
        "x": "by",
    }
    layout = Layout(columns, fold_base=0, class_base=0, image=lambda image: f"JPEGImages/{image}.jpg", delimiter=";")
    assert imported(tmp_path, written(own, PASCAL, layout)).notes == (
        "columns are separated by semicolons",
        "left out column 'episode' (they number the rows; the order is that of the file)",
        "left out column 'by' (one value in all rows)",
        "column 'fold' counted from 0: 120 rows of fold 0 are fold 1, 120 rows of fold 1 are fold 2",
        "class numbers were counted from 0: +1",
        f"removed the suffix of 480 image names (JPEGImages/{own[1].queries[0]}.jpg is {own[1].queries[0]})",
        f"removed the folders before 480 image names (JPEGImages/{own[1].queries[0]}.jpg is {own[1].queries[0]})",
    )


def test_repeated_supports_pass_and_are_said(tmp_path: Path) -> None:
    rows = "".join(
        f"{c},{PASCAL.class_name(c)}_0,{PASCAL.class_name(c)}_1,{PASCAL.class_name(c)}_1\n" for c in range(6, 11)
    )
    found = imported(tmp_path, "class,query,support_1,support_2\n" + rows)
    assert found.tables[2].supports[0] == (("bus_1", "bus_1"),)
    assert found.notes[-1].startswith("5 episodes have an image among their supports several times: `run` needs")
    repeats = dataclasses.replace(PASCAL.episodes, support_replacement=True)
    path = tmp_path / "theirs.csv"
    notes = import_episodes(path, dataclasses.replace(PASCAL, episodes=repeats), Choice(), IMAGES).notes
    assert not [note for note in notes if "several times" in note]


# What the numbers mean


def fold_2(layout: Layout) -> str:
    return written(tables(PASCAL, IMAGES, (2,)), PASCAL, layout)


@pytest.mark.parametrize(
    ("layout", "choice"),
    [
        (Layout(PLAIN), Choice()),
        (Layout(PLAIN, class_base=0), Choice(fold=2)),
        (Layout(PLAIN, scope="fold"), Choice(fold=2)),
        (Layout(PLAIN, scope="fold", class_base=0), Choice(fold=2)),
        (Layout(PLAIN, scope="name"), Choice()),
        (Layout({"fold": "fold0", **PLAIN}, fold_base=0, scope="fold"), Choice()),
        (Layout({"fold": "fold", **PLAIN}, fold_base=0), Choice()),
        (Layout({"fold": "fold", **PLAIN}, fold_base=1, scope="fold", class_base=0), Choice(fold=2)),
    ],
)
def test_one_fold_whose_numbers_have_one_meaning(tmp_path: Path, layout: Layout, choice: Choice) -> None:
    """Without looking at the data: the classes of the fold decide."""
    assert imported(tmp_path, fold_2(layout), choice, None).tables == tables(PASCAL, IMAGES, (2,))


AMBIGUOUS = "class,query,support\n7,car_0,car_1\n8,cat_0,cat_1\n9,chair_0,chair_1\n"
"""Three of fold 2's five classes: as label values car, cat, chair, counted from 0 cat, chair, cow."""


def test_ambiguous_numbers_without_data_name_the_options_that_decide(tmp_path: Path) -> None:
    message = refused(tmp_path, AMBIGUOUS, images=None)
    assert message == (
        "its fold and class numbers can mean several things. Choose one of: --class-scope all --class-base 0 (line 2 "
        "is fold 2, class 8); --class-scope all --class-base 1 (line 2 is fold 2, class 7)"
    )
    for base, first in ((1, 7), (0, 8)):
        found = imported(tmp_path, AMBIGUOUS, Choice(class_base=base, class_scope="all"), None)
        assert found.tables[2].classes[0] == (first,)


def test_the_data_decide_and_that_is_said(tmp_path: Path) -> None:
    rest = "6,bus_0,bus_1\n10,cow_0,cow_1\n"
    both = IMAGES.pairs[2] | {6: [*IMAGES.pairs[2][6], "car_0", "car_1"]}
    images = TestImages(IMAGES.ids, {**IMAGES.pairs, 2: both})
    folds = "fold,class,query,support\n" + "".join(f"{f},{k},{n}_0,{n}_1\n" for f in (2, 3) for k, n in fives(f))
    found = imported(tmp_path, folds, images=images)
    assert {fold: table.classes[0] for fold, table in found.tables.items()} == {2: (6,), 3: (11,)}
    (note,) = [note for note in found.notes if note.startswith("the data decided")]
    assert "--fold-base 0 --class-scope fold --class-base 1: 10" in note
    assert refused(tmp_path, folds, images=None).startswith("its fold and class numbers can mean several things")
    message = refused(tmp_path, AMBIGUOUS, images=images)  # incomplete either way, but only one fits
    assert message == (
        "no episode has one of the held-out classes 6, 10 as its class_1, and a class without an episode has no score; "
        "add episodes of them"
    )
    assert imported(tmp_path, AMBIGUOUS + rest).tables[2].classes == ((7,), (8,), (9,), (6,), (10,))


def fives(fold: int) -> list[tuple[int, str]]:
    """The classes of a fold by place, from 1."""
    return [(k, PASCAL.class_name(c)) for k, c in enumerate(PASCAL.novel_classes(fold), start=1)]


def test_readings_that_all_fit_or_all_fail_are_refused_with_their_counts(tmp_path: Path) -> None:
    folds = "fold,class,query,support\n" + "".join(f"{f},{k},x,y\n" for f in (2, 3) for k, _ in fives(f))
    every = {fold: {c: ["x", "y"] for c in classes} for fold, classes in IMAGES.pairs.items()}
    message = refused(tmp_path, folds, images=TestImages(frozenset("xy"), every))
    assert message.count("0 rows have images that do not show their class") == 2
    assert "--fold-base 1 --class-scope fold --class-base 1 (line 2 is fold 2, class 6" in message
    message = refused(tmp_path, folds)
    assert message.count("10 rows have images that do not show their class") == 2
    with pytest.raises(UserError, match=r"theirs\.csv \(fold 2\): line 2: image 'x' is not in the index"):
        imported(tmp_path, folds, Choice(fold_base=1))


@pytest.mark.parametrize(
    ("rows", "choice", "told"),
    [
        ("puppy,a,b", Choice(), "classes by name: line 2: unknown class 'puppy'"),
        ("25,a,b", Choice(), "class numbers from 1: line 2: there is no class 25 then"),
        ("25,a,b", Choice(), "places in the fold from 0: no column says the fold (give --fold)"),
        ("-1,a,b", Choice(), "unknown class '-1'"),
        ("9" * 5000 + ",a,b", Choice(), "unknown class '" + "9" * 40 + "'"),
        ("9,a,b", Choice(fold=1), "no row is of fold 1"),
        ("9,a,b", Choice(class_scope="name"), "the options exclude every meaning of its class column"),
    ],
)
def test_classes_that_fit_in_no_way(tmp_path: Path, rows: str, choice: Choice, told: str) -> None:
    message = refused(tmp_path, f"class,query,support\n{rows}\n", choice)
    assert message.startswith("its folds and classes fit pascal5i in no way. ")
    assert told in message


def test_a_class_that_is_not_of_the_rows_fold(tmp_path: Path) -> None:
    message = refused(tmp_path, "fold,class,query,support\n2,bus,bus_0,bus_1\n1,bus,bus_0,bus_1\n")
    assert "folds from 1, classes by name: line 3: 'bus' is not held out in fold 1" in message
    assert "folds from 0, classes by name: line 2: 'bus' is not held out in fold 3" in message


def test_names_beside_numbers(tmp_path: Path) -> None:
    rows = [(k - 1, name) for k, name in fives(2)]
    text = "class_id,class_name,query,support\n" + "".join(f"{k},{n.upper()},{n}_0,{n}_1\n" for k, n in rows)
    found = imported(tmp_path, text)
    assert found.tables[2].classes == ((6,), (7,), (8,), (9,), (10,))
    assert "class names became label values (5 are written otherwise here)" in found.notes
    message = refused(tmp_path, text + "4,bus,bus_0,bus_1\n")
    assert "line 7: class 4 has another name than before" in message


# Images


def test_names_of_other_data_sets(tmp_path: Path) -> None:
    """COCO's bare names and numbers, and FSS-1000's numbers within a class."""
    coco = images_of(SPLIT_B, name="val2014/COCO_val2014_{c:06}{i:06}")
    own = tables(SPLIT_B, coco, (3,), 2)
    for image in (lambda i: i.partition("/")[2] + ".jpg", lambda i: str(int(i[-12:])), lambda i: i):
        path = save(tmp_path, written(own, SPLIT_B, Layout(PLAIN, image=image)))
        assert import_episodes(path, SPLIT_B, Choice(), coco).tables == own
    folders = images_of(PASCAL, name="{class_name}/{i}")
    expected = tables(PASCAL, folders, (4,), 5)
    text = written(expected, PASCAL, Layout(PLAIN, scope="name", image=lambda i: i.rpartition("/")[2]))
    found = imported(tmp_path, text, images=folders)
    assert found.tables == expected
    assert any(note.startswith("completed 720 image names (") for note in found.notes)
    layout = Layout(PLAIN, scope="name", image=lambda i: f"/data/{i.replace('/', '/images/')}.jpg")
    assert imported(tmp_path, written(expected, PASCAL, layout), images=folders).tables == expected
    message = refused(tmp_path, "class,query,support\npottedplant,3,pottedplant/1\n", images=scattered())
    assert message == "line 2: image '3' may be a/3 or b/3; write the whole ids into the file"


def scattered() -> TestImages:
    ids = frozenset({"a/3", "b/3", "pottedplant/1"})
    return TestImages(ids, {fold: {c: sorted(ids) for c in PASCAL.novel_classes(fold)} for fold in (1, 2, 3, 4)})


def test_a_class_behind_the_name_is_removed_where_that_is_an_image(tmp_path: Path) -> None:
    own = tables(PASCAL, IMAGES, (3,))
    found = imported(tmp_path, written(own, PASCAL, Layout(PLAIN, image=lambda i: f"{i}__07")))
    assert found.tables == own
    assert any(note.startswith("removed the class behind 240 image names (") for note in found.notes)


def test_an_image_whose_id_looks_changed_stays(tmp_path: Path) -> None:
    odd = images_of(PASCAL, name="dir/{class_name} {i};x.jpg__01")
    own = tables(PASCAL, odd, (1,))
    found = imported(tmp_path, written(own, PASCAL, Layout({**PLAIN, "supports": "supports"}, joined=";")), images=odd)
    assert found.tables == own


@pytest.mark.parametrize("sign", [", ", " ", ";", "|"])
def test_a_cell_of_several_images_is_never_taken_for_its_last(tmp_path: Path, sign: str) -> None:
    """As supports they are all there; a query is one image."""
    rows = "".join(f"{n}\t{n}_0\tJPEGImages/{n}_1.jpg{sign}JPEGImages/{n}_2.jpg\n" for _, n in fives(2))
    found = imported(tmp_path, "class\tquery\tsupport\n" + rows)
    assert found.tables[2].supports[0] == (("bus_1", "bus_2"),)
    rows = rows.replace("bus_0", f"JPEGImages/bus_0.jpg{sign}JPEGImages/bus_3.jpg")
    assert "is not in the index" in refused(tmp_path, "class\tquery\tsupport\n" + rows)


def test_images_that_the_data_do_not_have(tmp_path: Path) -> None:
    text = "class,query,support\n6,bus_0,bus_1\n\n6,bus_0.jpg,nowhere.jpg\n"
    message = refused(tmp_path, text, Choice(class_base=1, class_scope="all"))
    assert message.startswith("line 4: image 'nowhere' is not in the index")
    message = refused(tmp_path, "class,query,support\n6,bus_0,JPEGImages/bus_0.jpg\n")
    assert message == "line 2: the query 'bus_0' is among the supports"


@pytest.mark.parametrize(
    ("protocol", "text", "expected"),
    [
        ("pascal5i", "JPEGImages/2007_000033.jpg", "2007_000033"),
        ("coco20i-a", "/data/coco/val2014/COCO_val2014_000000000042.jpg", "val2014/COCO_val2014_000000000042"),
        ("coco20i-a", "COCO_val2014_000000000042", "val2014/COCO_val2014_000000000042"),
    ],
)
def test_without_data_names_become_what_ids_of_the_source_are(
    tmp_path: Path, protocol: str, text: str, expected: str
) -> None:
    loaded = load_protocol(protocol)
    name = loaded.class_name(loaded.novel_classes(1)[0])
    path = save(tmp_path, f"class,query,support\n{name},{text},other\n")
    found = import_episodes(path, loaded, Choice(), None)
    assert found.tables[1].queries == (expected,)
    assert "not compared with the data (--no-check); `run` does" in found.notes
    assert any(note.startswith("fold 1: no episode has ") for note in found.notes)


# Several folds and shots, and what is not asked for


def test_rows_of_other_shots_and_folds_are_left_out_and_counted(tmp_path: Path) -> None:
    """iSAID's lists: folds from 0, 1-shot and 5-shot rows in one file, empty cells behind the only support."""
    own = {shot: tables(PASCAL, IMAGES, (1, 2), shot) for shot in (1, 5)}
    rows = [
        [fold - 1, shot, i, c, table.queries[i], *(table.supports[i][0] + ("",) * (5 - shot))]
        for shot, folds in own.items()
        for fold, table in folds.items()
        for i, (c,) in enumerate(table.classes)
    ]
    head = "fold0,shot,episode,label,query,support_1,support_2,support_3,support_4,support_5\n"
    text = head + "".join(",".join(map(str, row)) + "\n" for row in rows)
    assert refused(tmp_path, text) == (
        "holds episodes of several K (1-shot: 240 rows, 5-shot: 240 rows); choose one with --shot"
    )
    found = imported(tmp_path, text, Choice(shot=5, fold=2))
    assert found.tables == {2: own[5][2]}
    assert "left out 240 rows that are not 5-shot (--shot 5)" in found.notes
    assert "left out 120 rows of other folds (--fold 2)" in found.notes
    assert refused(tmp_path, text, Choice(shot=3)) == "has no 3-shot episodes; it has 1-shot, 5-shot"
    assert refused(tmp_path, text, Choice(shot=1, way=2)) == "its episodes are 1-way, not 2-way"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("fold,class,query,support\n,6,a,b\n", "line 2: fold is empty"),
        ("fold,class,query,support\nval,6,a,b\n", "line 2: fold is 'val'; it must be a whole number"),
        ("class,query,support\n6,,b\n", "line 2: query is empty"),
        ("class,query,support_1,support_2\n6,a,,b\n", "line 2: support_1 is empty, but a later support is not"),
        ("class,query,support_1,support_2\n6,a,,\n", "line 2: support_1 is empty"),
        ("class,query,support\n6,a\n", "line 2: support is empty"),
        ("class,query,support\n6,a,b,c\n", "line 2: has 4 columns; there are names for 3"),
        ("shot,class,query,support\n2,6,a,b\n", "line 2: shot is 2, but there are 1 supports"),
        ("split,class,query,support\nval,6,a,b\ntrn,6,a,b\n", "column 'split' is not known and has several values"),
        ("way,class,query,support\n2,6,a,b\n", "line 2: way is 2, but there are 1 classes"),
        ("seed,class,query,support\n0,6,a,b\n1,6,a,b\n", "column 'seed' is not known and has several values ('0', '1'"),
    ],
)
def test_rows_that_are_not_whole(tmp_path: Path, text: str, told: str) -> None:
    assert refused(tmp_path, text).startswith(told)


def test_a_split_that_is_no_fold(tmp_path: Path) -> None:
    rows = "".join(f"val,{n},{n}_0,{n}_1\n" for _, n in fives(2))
    found = imported(tmp_path, "split,class,query,support\n" + rows)
    assert found.tables[2].classes == ((6,), (7,), (8,), (9,), (10,))
    assert "left out column 'split' (one value in all rows)" in found.notes


def test_numbers_of_images_are_those_of_coco_alone(tmp_path: Path) -> None:
    """Elsewhere 3 may be the third image of a list, which is not the one whose name ends in 3."""
    images = images_of(PASCAL, name="2007_{c:03}{i:03}")
    rows = "".join(f"{n},{c}000,{c}001\n" for c, (_, n) in zip(PASCAL.novel_classes(2), fives(2), strict=True))
    assert "image '6000' is not in the index" in refused(tmp_path, "class,query,support\n" + rows, images=images)


def test_a_column_that_does_not_matter_can_be_named(tmp_path: Path) -> None:
    text = "".join(f"{k},{n},{n}_0,{n}_1\n" for k, n in fives(2))
    with_names = "seed,class,query,support\n" + text
    choice = Choice(columns=("-", "class", "query", "support"))
    for own in (text, with_names):
        assert imported(tmp_path, own, choice).tables[2].queries == tuple(f"{n}_0" for _, n in fives(2))
    assert imported(tmp_path, with_names, choice).notes[0] == (
        "line 1 is taken as the names of the columns, which --columns replaces"
    )


# Damage


GOOD = written({2: tables(PASCAL, IMAGES, (2,), 2)[2].head(30)}, PASCAL, Layout({"fold": "fold", **PLAIN}, fold_base=0))


@settings(deadline=None, max_examples=150)
@given(
    place=st.integers(0, len(GOOD)),
    gone=st.integers(0, 12),
    put=st.one_of(
        st.binary(max_size=6), st.sampled_from([b'"', b"\0", b",", b"\n", b"\r", b"9" * 400, b"\xff\xfe", b"-"])
    ),
    fold=st.sampled_from([None, 2]),
)
def test_damaged_files_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, place: int, gone: int, put: bytes, fold: int | None
) -> None:
    data = GOOD.encode()
    path = tmp_path_factory.getbasetemp() / "damaged.csv"
    path.write_bytes(data[:place] + put + data[place + gone :])
    try:
        found = import_episodes(path, PASCAL, Choice(fold=fold), IMAGES)
    except UserError as error:
        assert str(error).startswith(str(path))
    else:
        assert set(found.tables) == {2}
        for table in found.tables.values():
            assert len(table) >= 29 - put.count(b"\n")
