"""What columns are, by their names."""

from __future__ import annotations

import pytest

from fsseg_bench.protocol.foreign.columns import ColumnsError, columns_of


def test_the_layouts_of_known_lists() -> None:
    fss = columns_of(["class", "query", "support_1", "support_2"])
    assert (fss.classes, fss.query, fss.supports, fss.fold) == (((0,),), 1, ((2, 3),), None)
    isaid = columns_of(
        ["fold0", "shot", "episode", "label", "query", "support_1", "support_2", "support_3", "support_4", "support_5"]
    )
    assert (isaid.fold, isaid.fold_from_0, isaid.shot, isaid.numbers) == (0, True, 1, (2,))
    assert (isaid.classes, isaid.query, isaid.supports) == (((3,),), 4, ((5, 6, 7, 8, 9),))
    own = columns_of(["class_1", "class_2", "query", "support_1_1", "support_1_2", "support_2_1", "support_2_2"])
    assert (own.classes, own.query, own.supports) == (((0,), (1,)), 2, ((3, 4), (5, 6)))
    batch = columns_of(["Unnamed: 0", "query_name", "support_names", "class_id", "query_mask", "support_masks", "shot"])
    assert (batch.numbers, batch.masks, batch.supports, batch.shot) == ((0,), (4, 5), ((2,),), 6)


@pytest.mark.parametrize(
    ("names", "supports"),
    [
        ("class,query,support_2,support_1", ((3, 2),)),
        ("class,query,s0,s1,s2", ((2, 3, 4),)),
        ("class,query,support,support.1,support.2", ((2, 3, 4),)),
        ("class,query,support,support,support", ((2, 3, 4),)),
        ("class,query,support_1_img,support_2_img", ((2, 3),)),
        ("class,support_10,support_9,support_8,support_7,support_6,support_5,support_4,support_3,support_2,support_1,q",
         ((10, 9, 8, 7, 6, 5, 4, 3, 2, 1),)),
        ("class_0,class_1,query,support_1_0,support_0_0", ((4,), (3,))),
    ],
)  # fmt: skip
def test_supports_are_in_the_order_of_their_numbers(names: str, supports: tuple[tuple[int, ...], ...]) -> None:
    assert columns_of(names.split(",")).supports == supports


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("query,support", "no column seems to be the class"),
        ("1,2,3", "no column seems to be the class or the query or the support"),
        ("class,query,query_name,support", "'query', 'query_name' all seem to be the query"),
        ("fold,split,class,query,support", "'fold', 'split' all seem to be the fold"),
        ("class,class_2,query,support", "some class columns are numbered and some are not"),
        ("class_1,class_2,query,support_1,support_2", "supports of 2 ways need columns support_1_1"),
        ("class_1,class_2,query,support_1_1,support_2", "some support columns have two numbers and some do not"),
        ("class_1,class_2,query,support_1_1,support_3_1", "support columns of 2 ways do not fit 2 classes, or numbers"),
        ("class_1,class_2,query,support_1_1,support_2_1,support_2_2", "do not fit 2 classes, or numbers are left out"),
        ("class,query,support_1,support_3", "support_1, support_3 are not numbered 1, 2, ..."),
        ("class,query,support_2,support_3", "support_2, support_3 are not numbered 1, 2, ..."),
    ],
)
def test_names_that_do_not_say_it(names: str, message: str) -> None:
    with pytest.raises(ColumnsError) as error:
        columns_of(names.split(","))
    assert message in str(error.value)
