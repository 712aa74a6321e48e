import hashlib

import numpy as np
import pytest

from fsseg_bench.records.settings import canonical_json, differences, flat, identity_hash


def test_the_hash_is_that_of_the_canonical_text_written_by_hand():
    text = '{"a":[1,0.5],"b":{"c":null,"d":"ü"}}'
    given = {"b": {"d": "ü", "c": None}, "a": (np.int64(1), 0.5)}
    assert canonical_json(given) == text
    assert identity_hash(given) == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("other", [{"a": 1, "b": [2, 1]}, {"a": "1", "b": [1, 2]}, {"a": 1}, {"a": 1.5, "b": [1, 2]}])
def test_other_content_has_another_hash(other):
    assert identity_hash(other) != identity_hash({"a": 1, "b": [1, 2]})


def test_flat_names_the_leaves():
    assert dict(flat({"a": {"b": {"c": 1}}, "d": [1]})) == {"a.b.c": 1, "d": [1]}


def test_differences_name_both_values():
    found = differences(
        {"recipe": {"lr": 0.1}, "same": 1, "gone": "x"}, {"recipe": {"lr": 0.2}, "same": 1, "new": None}
    )
    assert found == ['gone: "x" / not set', "recipe.lr: 0.1 / 0.2"]
