"""The keywords from Python: those of ``run`` are the fields of a request, those of reports the options of commands."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

import click
import pytest

import fsseg_bench
from fsseg_bench.cli.compare import compare
from fsseg_bench.cli.report import report
from fsseg_bench.records.request import RunRequest

OWN = {"jobs", "progress"}


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
    for name in fields_of.keys() - {"method", "dataset", "fold", "seed", "episodes", "scales", "settings", "track"}:
        assert _parts(keywords[name]) - {Path} == _parts(fields_of[name]), name


def _parts(kind: Any) -> set[Any]:
    """The members of a union or the choices of a literal, or else the type."""
    return set(get_args(kind) or [kind])


def test_a_misspelt_keyword_is_refused() -> None:
    with pytest.raises(TypeError, match="shots"):
        fsseg_bench.run("baseline", "shapes5i", shots=5)  # type: ignore[call-arg]


OF_THE_COMMAND = {"form", "board", "out", "commands", "macros", "strict", "plot", "power"}
"""Options that say what a command prints, and where."""
NAMES = {"results": "root", "methods": "method", "numbers": "columns"}


@pytest.mark.parametrize(("command", "function"), [(report, fsseg_bench.make_report), (compare, fsseg_bench.compare)])
def test_reports_have_a_keyword_for_each_option(command: click.Command, function: Callable[..., Any]) -> None:
    options = {parameter.name for parameter in command.params if isinstance(parameter, click.Option)} - OF_THE_COMMAND
    parameters = set(inspect.signature(function).parameters) - {"baseline", "others"}
    assert parameters == {NAMES.get(str(name), name) for name in options}


def test_frames_choose_among_runs_as_reports_do() -> None:
    common = {"root", "method", "dataset", "backbone", "shot", "way", "seed", "where", "episodes"}
    for function in (fsseg_bench.results, fsseg_bench.means, fsseg_bench.per_class, fsseg_bench.episodes_frame):
        assert common <= inspect.signature(function).parameters.keys()


@pytest.mark.slow
def test_a_sweep_from_python_is_a_row_for_each_cell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = {
        "name": "small",
        "common": {"dataset": "shapes5i", "method": "baseline", "backbone": "resnet18-layer3", "panels": 0},
        "grid": {"fold": [1], "iterations": [0], "episodes": [12]},
        "cell": {"gpus": 0},
    }
    frame = fsseg_bench.sweep(spec, out=tmp_path, progress=True)
    assert list(frame["state"]) == ["done"]
    assert Path(frame["record"][0], "run.json").is_file()
    assert "(1 of 1 done)" in capsys.readouterr().err
    again = fsseg_bench.sweep(spec, out=tmp_path)
    assert again.equals(fsseg_bench.sweep_status("small", tmp_path))
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("given", "told"),
    [({"on": "cluster"}, "cluster"), ({"jobs": 0}, "from 1"), ({"on": "slurm", "jobs": 2}, "on='local' alone")],
)
def test_a_sweep_is_refused_before_it_is_planned(tmp_path: Path, given: dict[str, Any], told: str) -> None:
    with pytest.raises(fsseg_bench.UserError, match=told):
        fsseg_bench.sweep({"name": "small", "common": {"dataset": "shapes5i", "method": "baseline"}}, **given)
