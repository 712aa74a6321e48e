"""The command of a run, built from what was asked for: the one that a record keeps, and those that reports suggest."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from fsseg_bench.paths import data_root
from fsseg_bench.protocol.data_spec import LIST_KEYS
from fsseg_bench.protocol.find import builtin_protocols
from fsseg_bench.protocol.lists import absolute_lists, is_count, list_path
from fsseg_bench.records.request import OFFICIAL, RunRequest
from fsseg_bench.records.settings import RunSettings
from fsseg_bench.values import list_of, plain_value, text_of

_FIRST = ("method", "dataset", "fold", "settings")
_WHERE = ("out", "fresh", "track")
"""Where a record goes, whether it replaces one, and who is told: no part of what is repeated."""
_LISTS = {f"protocol.data.{key}" for key in LIST_KEYS}
_PATHS = ("dataset", "data_root", "weights", "eval_only", "methods_path", "backbones_path", "sources_path")
_NAMES = (None, "imagenet", "none")


def repeating(request: RunRequest, settings: RunSettings, threads: int | None = None) -> str:
    """The command that makes the run again, from any folder and whatever the environment says.

    Paths are absolute, and what came from environment variables or from the other methods of a command (the backbone)
    is named, as is how many ``threads`` compute on the CPU. Where the record goes is not: a finished run would not be
    made again.
    """
    whole = replace(self_contained(request, settings), threads=request.threads or threads)
    return shlex.join(run_words(whole, str(request.fold), without=_WHERE))


def self_contained(request: RunRequest, settings: RunSettings) -> RunRequest:
    """The request with absolute paths, and with what the environment gave."""
    root, episodes = data_root(request.data_root), request.episodes
    if episodes is not None and not is_count(episodes):
        episodes = _absolute(list_path(episodes, request.fold))
    return replace(
        request,
        dataset=request.dataset if request.dataset in ("", *builtin_protocols()) else _absolute(request.dataset),
        backbone=settings.backbone,
        weights=request.weights if request.weights in _NAMES else _absolute(request.weights),
        data_root=_absolute(root) if root else None,
        episodes=episodes,
        eval_only=absolute_checkpoint(request.eval_only) if request.eval_only else None,
        settings={key: _setting(key, value) for key, value in request.settings.items()},
        methods_path=_folder(request.methods_path, "FSSEG_METHODS_PATH"),
        backbones_path=_folder(request.backbones_path, "FSSEG_BACKBONES_PATH"),
        sources_path=_folder(request.sources_path, "FSSEG_SOURCES_PATH"),
    )


def stated_paths(command: str) -> dict[str, str]:
    """What a record's command names by whole path and is there, by the name of the request's field."""
    words = shlex.split(command)
    options = {f"--{key.replace('_', '-')}": key for key in _PATHS}
    found = {options[word]: value for word, value in pairwise(words) if word in options}
    places = {key: Path(value.removeprefix(OFFICIAL)) for key, value in found.items()}
    return {key: found[key] for key, place in places.items() if place.is_absolute() and place.exists()}


def run_words(request: RunRequest, folds: str, without: Collection[str] = ()) -> list[str]:
    """``fsseg-bench run`` with the options of ``request`` that are not at their defaults, but for those in ``without``.

    ``folds`` is what ``--fold`` gets.
    """
    words = ["fsseg-bench", "run", "--method", request.method, "--dataset", request.dataset]
    given = {**request.given(), "shot": request.shot}
    for key in (key for key in RunRequest.__dataclass_fields__ if key in given.keys() - {*_FIRST, *without}):
        option = f"--{key.replace('_', '-')}"
        words += [option] if given[key] is True else [option, _text(given[key])]
    words += ["--fold", folds]
    for key, value in request.settings.items():
        words += ["--set", f"{key}={text_of(value)}"]
    return words


def _absolute(path: str | Path | None) -> str:
    return str(Path(str(path)).expanduser().absolute())


def absolute_checkpoint(given: str) -> str:
    """What ``eval_only`` names, from any folder."""
    marked = given.startswith(OFFICIAL)
    return (OFFICIAL if marked else "") + _absolute(given.removeprefix(OFFICIAL))


def _folder(given: str | None, variable: str) -> str | None:
    path = given or os.environ.get(variable)
    return _absolute(path) if path else None


def _setting(key: str, value: Any) -> Any:
    """A value of ``--set``: list files of a protocol, and networks of a stage, are relative to the folder in which the
    command was given."""
    if key.startswith("stage.") and key.endswith(".file"):
        return absolute_checkpoint(str(value))
    if key not in _LISTS:
        return value
    entries = list_of(value) if isinstance(value, str) else plain_value(value)
    return absolute_lists(entries, Path.cwd()) if isinstance(entries, list) else value


def _text(value: Any) -> str:
    return ",".join(map(_item, value)) if isinstance(value, (list, tuple)) else str(value)


def _item(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return short if float(short := f"{value:g}") == value else repr(value)
