from __future__ import annotations

import numpy as np
import pytest
import torch

from fsseg_bench.errors import UserError, explain, unknown


def test_a_near_match_is_offered() -> None:
    error = unknown("method", "biop", ["panet", "biopt", "baseline"])
    assert isinstance(error, UserError)
    assert str(error) == "unknown method 'biop'. Did you mean 'biopt'? Known: baseline, biopt, panet."


def test_several_near_matches_are_offered_best_first() -> None:
    text = str(unknown("dataset", "coco20i", ["coco20i-a", "coco20i-b", "pascal5i"]))
    assert "Did you mean 'coco20i-b' or 'coco20i-a'?" in text or "Did you mean 'coco20i-a' or 'coco20i-b'?" in text


def test_a_stranger_gets_the_list_alone() -> None:
    assert str(unknown("fold", "seven", ["1", "2"])) == "unknown fold 'seven'. Known: 1, 2."


def test_the_place_comes_first() -> None:
    assert str(unknown("key", "x", ["name"], where="a.toml")).startswith("a.toml: unknown key 'x'.")


def test_nothing_known() -> None:
    assert str(unknown("run", "r", [])) == "unknown run 'r'. Known: none."


def test_any_iterable_of_names_will_do() -> None:
    assert str(unknown("run", "b", (n for n in "ba"))) == "unknown run 'b'. Did you mean 'b'? Known: a, b."


def test_a_user_error_is_no_other_error() -> None:
    """So that nothing that catches ValueError or OSError swallows it."""
    assert UserError.__bases__ == (Exception,)
    with pytest.raises(UserError, match="what, where"):
        raise UserError("what, where")


def test_what_torch_and_numpy_really_raise_without_memory() -> None:
    for allocate in (lambda: torch.empty(10**15), lambda: np.zeros(10**15)):
        with pytest.raises((RuntimeError, MemoryError)) as caught:
            allocate()
        assert "--cache-gib 0" in str(explain(caught.value))
