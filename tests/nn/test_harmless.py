"""Checkpoints with other objects: harmless ones are passed over by name, whatever else is refused before it runs."""

from __future__ import annotations

import argparse
import builtins
import collections
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fsseg_bench.errors import UserError
from fsseg_bench.nn.harmless import NAMES, Passed
from fsseg_bench.nn.weight_files import open_file, read_file

WEIGHT = torch.arange(6.0).reshape(2, 3)


def saved(path: Path, **beside: Any) -> Path:
    torch.save({"state_dict": collections.OrderedDict(weight=WEIGHT), **beside}, path)
    return path


HARMLESS: dict[str, Any] = {
    "options": argparse.Namespace(lr=0.1, layers=[1, 2], inner=argparse.Namespace(name="x")),
    "double": np.float64(0.5),
    "whole": np.int64(7),
    "truth": np.bool_(True),
    "array": np.arange(5),
    "counts": collections.OrderedDict(a=1),
}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("name", HARMLESS)
def test_what_training_scripts_save_beside_the_parameters(tmp_path: Path, name: str, legacy: bool) -> None:
    path = tmp_path / "theirs.pth"
    content = {"state_dict": {"module.weight": WEIGHT}, "beside": HARMLESS[name]}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    assert {key: tensor.tolist() for key, tensor in read_file(path).items()} == {"weight": WEIGHT.tolist()}


class Runs:
    """An object whose unpickling calls a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


class Smuggles:
    """An object that passes code as the argument of a harmless one."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __reduce__(self) -> Any:
        return argparse.Namespace, (self.inner,)


def hostile(trace: Path) -> dict[str, Any]:
    code = f"open({str(trace)!r}, 'w')"
    return {
        "os.system": Runs(os.system, f"touch {trace}"),
        "eval": Runs(builtins.eval, code),
        "exec": Runs(builtins.exec, code),
        "open": Runs(open, str(trace), "w"),
        "getattr": Runs(getattr, np.ndarray, "tofile"),
        "fromfile": Runs(np.fromfile, str(trace)),
        "import": Runs(__import__, "antigravity"),
        "inside options": argparse.Namespace(inner=Runs(builtins.eval, code)),
        "argument of options": Smuggles(Runs(builtins.eval, code)),
        "objects in an array": np.array([Runs(builtins.eval, code)], dtype=object),
        "an own class": Passed(),
        "a class of the library": Path(),
    }


@pytest.mark.parametrize("name", hostile(Path("x")))
def test_code_is_refused_before_it_runs(tmp_path: Path, name: str) -> None:
    trace = tmp_path / "ran"
    path = saved(tmp_path / "theirs.pth", beside=hostile(trace)[name])
    with pytest.raises(UserError, match=r"holds more than tensors .* refused"):
        open_file(path)
    assert not trace.exists()


def test_what_is_passed_over_is_not_made_and_keeps_nothing(tmp_path: Path) -> None:
    content = open_file(saved(tmp_path / "theirs.pth", options=argparse.Namespace(lr=0.1), array=np.arange(3)))
    for key in ("options", "array"):
        assert type(content[key]) is Passed
        assert not vars(content[key])


def test_names_are_allowed_while_a_file_is_read_alone(tmp_path: Path) -> None:
    path = saved(tmp_path / "theirs.pth", options=argparse.Namespace(lr=0.1))
    open_file(path)
    assert not [name for name in NAMES if name in map(str, torch.serialization.get_safe_globals())]
    with pytest.raises(Exception, match=r"argparse\.Namespace"):
        torch.load(path, weights_only=True)
