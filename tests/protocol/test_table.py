from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.table import EpisodeTable, further_images, further_of_table

TABLE = EpisodeTable(
    classes=((3, 1), (1, 4), (4, 3)),
    queries=("2008_01", "x y", "COCO_000009"),
    supports=((("a", "b"), ("c", "d")), (("e", "f"), ("g,h", "i")), (("j", "k"), ("l", "m"))),
)
CSV = """\
class_1,class_2,query,support_1_1,support_1_2,support_2_1,support_2_2
3,1,2008_01,a,b,c,d
1,4,x y,e,f,"g,h",i
4,3,COCO_000009,j,k,l,m
"""
ONE = "class_1,query,support_1_1\n1,a,b\n"


def test_shape() -> None:
    assert (len(TABLE), TABLE.ways, TABLE.shots) == (3, 2, 2)
    assert TABLE.images(1) == ("x y", "e", "f", "g,h", "i")


def test_the_file_and_the_digest_are_the_written_text(tmp_path: Path) -> None:
    TABLE.to_csv(tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_bytes() == CSV.encode()
    assert TABLE.digest == hashlib.sha256(CSV.encode()).hexdigest()


def test_a_file_comes_back_as_it_was(tmp_path: Path) -> None:
    TABLE.to_csv(tmp_path / "t.csv")
    again = EpisodeTable.from_csv(tmp_path / "t.csv")
    assert again == TABLE
    assert again.digest == TABLE.digest


@given(st.data())
def test_any_table_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    ways, shots, count = (data.draw(st.integers(1, 3)) for _ in range(3))
    # Any printable text; a line break in an image id is no use to anyone but must not break the file.
    name = st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n\t,\"'"), min_size=1)
    name = name.filter(lambda text: text.strip() != "")
    label = st.integers(1, 254)
    table = EpisodeTable(
        tuple(tuple(data.draw(label) for _ in range(ways)) for _ in range(count)),
        tuple(data.draw(name) for _ in range(count)),
        tuple(tuple(tuple(data.draw(name) for _ in range(shots)) for _ in range(ways)) for _ in range(count)),
    )
    path = tmp_path_factory.getbasetemp() / "any.csv"
    table.to_csv(path)
    assert EpisodeTable.from_csv(path) == table
    rows = list(csv.reader(io.StringIO(path.read_bytes().decode(), newline="")))
    assert [len(row) for row in rows] == [1 + ways + ways * shots] * (1 + count)


@pytest.mark.parametrize("change", ["crlf", "bom", "blank end", "no end"])
def test_what_editors_do_to_a_file_does_not_change_its_digest(tmp_path: Path, change: str) -> None:
    changed = {
        "crlf": CSV.replace("\n", "\r\n"),
        "bom": "\ufeff" + CSV,
        "blank end": CSV + "\n\n",
        "no end": CSV.rstrip("\n"),
    }
    path = tmp_path / "t.csv"
    path.write_bytes(changed[change].encode())
    assert EpisodeTable.from_csv(path).digest == TABLE.digest


def test_the_digest_sees_every_cell_and_the_order() -> None:
    tables = [
        TABLE,
        TABLE.head(2),
        EpisodeTable(((3, 2), *TABLE.classes[1:]), TABLE.queries, TABLE.supports),
        EpisodeTable(TABLE.classes, ("2008_02", *TABLE.queries[1:]), TABLE.supports),
        EpisodeTable(TABLE.classes, TABLE.queries, ((("b", "a"), ("c", "d")), *TABLE.supports[1:])),
        EpisodeTable(TABLE.classes[::-1], TABLE.queries[::-1], TABLE.supports[::-1]),
    ]
    assert len({table.digest for table in tables}) == len(tables)


def test_the_frame_has_the_columns_of_the_file() -> None:
    frame = TABLE.frame()
    assert list(frame.columns) == CSV.split("\n", maxsplit=1)[0].split(",")
    assert frame.index.name == "episode"
    assert frame.to_csv(index=False, lineterminator="\n") == CSV
    assert frame.loc[1].tolist() == [1, 4, "x y", "e", "f", "g,h", "i"]


# Seeds


def test_a_seed_depends_on_its_row_alone() -> None:
    turned = EpisodeTable(TABLE.classes[::-1], TABLE.queries[::-1], TABLE.supports[::-1])
    assert [turned.seed(i) for i in (2, 1, 0)] == [TABLE.seed(i) for i in (0, 1, 2)]
    assert TABLE.head(1).seed(0) == TABLE.seed(0)
    assert len({TABLE.seed(i) for i in range(3)}) == 3
    assert all(0 <= TABLE.seed(i) < 2**63 for i in range(3))


def test_seeds_are_pinned() -> None:
    """The hash of the words joined by the unit separator, written out."""
    words = "episode 1 1 1 a b".replace(" ", "\x1f")
    expected = int(hashlib.sha256(words.encode()).hexdigest()[:16], 16) >> 1
    assert EpisodeTable(((1,),), ("a",), ((("b",),),)).seed(0) == expected


def test_seeds_differ_where_the_same_cells_mean_another_episode() -> None:
    one_way = EpisodeTable(((1,),), ("2",), ((("a", "b", "c"),),))
    two_way = EpisodeTable(((1, 2),), ("a",), ((("b",), ("c",)),))
    assert one_way.images(0)[0] == str(two_way.classes[0][1])
    assert one_way.seed(0) != two_way.seed(0)


# Parts


def test_head() -> None:
    assert TABLE.head(3) == TABLE
    assert TABLE.head(2).queries == ("2008_01", "x y")
    for count in (0, 4, -1):
        with pytest.raises(UserError, match=f"{count} episodes asked for; the episode table has 3"):
            TABLE.head(count)


@pytest.mark.parametrize(
    ("classes", "queries", "supports"),
    [
        ((), (), ()),
        (((1,),), ("q", "r"), ((("a",),),)),
        (((1,),), ("q",), ()),
        (((1,), (1, 2)), ("q", "r"), ((("a",),), (("a",), ("b",)))),
        (((1,), (1,)), ("q", "r"), ((("a",),), (("a", "b"),))),
        (((1,), (1,)), ("q", "r"), ((("a",),), ())),
        (((1, 2),), ("q",), ((("a",),),)),
        (((1, 2),), ("q",), ((("a",), ("b", "c")),)),
        (((),), ("q",), ((),)),
        (((1,),), ("q",), (((),),)),
    ],
)
def test_rows_of_different_or_empty_shapes_are_refused(
    classes: tuple[tuple[int, ...], ...],
    queries: tuple[str, ...],
    supports: tuple[tuple[tuple[str, ...], ...], ...],
) -> None:
    with pytest.raises(ValueError, match="episode"):
        EpisodeTable(classes, queries, supports)


# Files that are no tables


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: the header is ''; it must be class_1 .. class_N, query, support_1_1 .. support_N_K"),
        ("1,a,b\n", "line 1: the header is '1,a,b'; it must be class_1"),
        ("class_1,query\n1,a\n", "line 1: the header is 'class_1,query'"),
        ("class_1,support_1_1,query\n1,a,b\n", "line 1: the header is 'class_1,support_1_1,query'"),
        ("class_1,query,support_1_1,support_1_3\n1,a,b,c\n", "line 1: the header is"),
        ("class_1,class_2,query,support_1_1\n1,2,a,b\n", "line 1: the header is"),
        ("class_1,query,support_1_1,note\n1,a,b,c\n", "line 1: the header is"),
        ("class_1,query,support_1_1\n", "holds no episodes, only a header"),
        (ONE + "1,a\n", "line 3: has 2 columns; the header names 3"),
        (ONE + "1,a,b,c\n", "line 3: has 4 columns; the header names 3"),
        (ONE + "\n1,a,b\n", "line 3: has 0 columns; the header names 3"),
        (ONE + "1,a,\n", "line 3: support_1_1 is empty"),
        (ONE + "1, ,b\n", "line 3: query is empty"),
        (ONE + ",a,b\n", "line 3: class_1 is empty"),
        (ONE + "dog,a,b\n", "line 3: class_1 is 'dog'; it must be a label value, a whole number from 1"),
        (ONE + "0,a,b\n", "line 3: class_1 is '0'; it must be a label value"),
        (ONE + "-1,a,b\n", "line 3: class_1 is '-1'; it must be a label value"),
        (ONE + "1.0,a,b\n", "line 3: class_1 is '1.0'; it must be a label value"),
        (ONE + "²,a,b\n", "line 3: class_1 is '²'; it must be a label value"),
        (ONE + '1,"a,b\n', "is not CSV text in UTF-8: unexpected end of data"),
    ],
)
def test_files_that_are_no_tables(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "own.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as error:
        EpisodeTable.from_csv(path)
    assert str(error.value).startswith(f"{path}: {message}")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.csv: no such episode file"):
        EpisodeTable.from_csv(tmp_path / "none.csv")
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        EpisodeTable.from_csv(tmp_path)
    (tmp_path / "image.csv").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(UserError, match=r"image\.csv: is not CSV text in UTF-8"):
        EpisodeTable.from_csv(tmp_path / "image.csv")


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"t\.csv: cannot be written: No such file or directory"):
        TABLE.to_csv(tmp_path / "none" / "t.csv")


PAIRS = {1: [f"a{i}" for i in range(8)], 2: [f"b{i}" for i in range(5)]}


def test_they_are_different_images_of_each_class_outside_the_episode() -> None:
    first, second = further_images(3, (1, 2), ["a0", "b4", "a1"], PAIRS, 4)
    assert len(set(first)) == len(set(second)) == 4
    assert set(first) <= set(PAIRS[1]) - {"a0", "a1"}
    assert set(second) <= set(PAIRS[2]) - {"b4"}


def test_the_draw_depends_on_seed_and_images_alone() -> None:
    again = {c: list(reversed(images)) for c, images in PAIRS.items()}
    assert further_images(3, (1,), ["a0"], PAIRS, 4) == further_images(3, (1,), ["a0"], again, 4)
    assert further_images(3, (1,), ["a0"], PAIRS, 4) == (("a4", "a2", "a7", "a1"),)  # frozen: for ever the same


def test_each_image_is_as_likely() -> None:
    drawn = Counter(image for seed in range(600) for image in further_images(seed, (1,), ["a0"], PAIRS, 2)[0])
    assert set(drawn) == set(PAIRS[1]) - {"a0"}
    assert stats.chisquare(list(drawn.values())).pvalue > 1e-3


def test_few_images_come_again() -> None:
    (drawn,) = further_images(0, (2,), ["b0", "b1", "b2"], PAIRS, 5)
    assert Counter(drawn) in (Counter(b3=3, b4=2), Counter(b4=3, b3=2))


def test_no_other_image_is_an_error() -> None:
    with pytest.raises(UserError, match="class 2 has no image besides"):
        further_images(0, (1, 2), PAIRS[2], PAIRS, 1)


def test_a_table_draws_for_each_episode() -> None:
    table = EpisodeTable(classes=((1,), (2,)), queries=("a0", "b0"), supports=((("a1",),), (("b1",),)))
    drawn = further_of_table(table, PAIRS, 3)
    assert drawn[0] == further_images(table.seed(0), (1,), ("a0", "a1"), PAIRS, 3)
    assert drawn[1] == further_images(table.seed(1), (2,), ("b0", "b1"), PAIRS, 3)
