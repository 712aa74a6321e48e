"""The signature of ``run``: the fields of a request, as real keywords."""

from __future__ import annotations

import inspect
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

import fsseg_bench
from fsseg_bench.records.request import RunRequest

OWN = {"progress"}


def test_run_has_a_keyword_with_its_default_for_each_field_of_a_request() -> None:
    given = {f.name: f for f in fields(RunRequest)}
    parameters = inspect.signature(fsseg_bench.run).parameters
    assert parameters.keys() - OWN == given.keys()
    for name, field in given.items():
        if name in {"method", "dataset"}:
            assert parameters[name].default is inspect.Parameter.empty
        elif name in {"fold", "settings"}:  # None: all folds; no setting
            assert parameters[name].default is None
        else:
            assert field.default is not MISSING
            assert parameters[name].default == field.default


def test_the_keywords_have_the_types_of_the_fields() -> None:
    """Where a field is text, Python may give a path; some take several values, or a number for text."""
    fields_of, keywords = get_type_hints(RunRequest), get_type_hints(fsseg_bench.run)
    for name in fields_of.keys() - {"method", "dataset", "fold", "episodes", "scales", "settings"}:
        assert _parts(keywords[name]) - {Path} == _parts(fields_of[name]), name


def _parts(kind: Any) -> set[Any]:
    """The members of a union or the choices of a literal, or else the type."""
    return set(get_args(kind) or [kind])


def test_a_misspelt_keyword_is_refused() -> None:
    with pytest.raises(TypeError, match="shots"):
        fsseg_bench.run("baseline", "shapes5i", shots=5)  # type: ignore[call-arg]
