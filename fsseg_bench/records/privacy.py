"""What a record says of its maker: paths, hosts and jobs; how it is found, and a record without it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from fsseg_bench.records.info import RunInfo
from fsseg_bench.records.settings import flat

_MACHINE = {"host", "process", "job"}
_COMMANDS = {"command", "typed"}
_FOLDERS = {"out", "data_root", "methods_path", "backbones_path", "sources_path"}
_PATH = re.compile(r"(?<![\w.:/~-])~?/[^\s'\"=,;()/][^\s'\",;()]*")
"""A path from the root or from home in the middle of a text."""
_SEALED = "settings"
"""What the identity is the hash of is left as it is."""


def of_machine(document: Mapping[str, Any]) -> dict[str, str]:
    """What a run.json says of paths and machines, by dotted name."""
    return {name: value for name, value in _texts(document) if _tells(name, value)}


def told_of(info: RunInfo, *, private: bool) -> dict[str, str]:
    """What a pack of the record says of paths and machines, by dotted name; ``private``: once it is without them."""
    return still_there(info.document) if private else of_machine(info.document)


def still_there(document: Mapping[str, Any]) -> dict[str, str]:
    """What :func:`without_machine` cannot take out, since the identity is the hash of it."""
    return {name: value for name, value in of_machine(document).items() if _SEALED in name.split(".")[:2]}


def without_machine(document: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a run.json without hosts, processes and jobs; of paths the last part alone: ``.../voc.toml``.

    The settings, which the identity is the hash of, are left as they are: see :func:`still_there`.
    """
    made = {key: _without(key, value) for key, value in document.items()}
    if isinstance(passed := made.get("passed"), dict):
        made["passed"] = {key: value for key, value in passed.items() if key not in _FOLDERS}
    return made


def _without(key: str, value: Any) -> Any:
    if key == _SEALED:
        return value
    if isinstance(value, Mapping):
        return {name: _without(name, own) for name, own in value.items() if name not in _MACHINE}
    if isinstance(value, list):
        return [_without(key, own) for own in value]
    if not isinstance(value, str):
        return value
    return _command(value) if key in _COMMANDS else _short(value)


def _short(text: str) -> str:
    if text.startswith(("/", "~")) and "\n" not in text:
        return _last(text)  # all of it: a folder's name may have spaces
    return _PATH.sub(lambda found: _last(found[0]), text)


def _last(path: str) -> str:
    return f".../{PurePosixPath(path).name}"


def _command(text: str) -> str:
    try:
        words = shlex.split(text)
    except ValueError:
        return ""
    return shlex.join(_word(word) for word in words)


def _word(word: str) -> str:
    key, equals, value = word.partition("=")
    return f"{key}={_short(value)}" if equals and not key.startswith(("/", "~")) else _short(word)


def _texts(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """All texts with their dotted names; numbers of processes as text."""
    for name, value in flat(document):
        for i, own in enumerate(value if isinstance(value, list) else [value]):
            place = f"{name}.{i}" if isinstance(value, list) else name
            if isinstance(own, Mapping):
                yield from ((f"{place}.{key}", text) for key, text in _texts(own))
            elif isinstance(own, str | int) and own is not None:
                yield place, str(own)


def _tells(name: str, text: str) -> bool:
    if name.rpartition(".")[2] in _MACHINE and name.startswith(("provenance.", "resumed.")):
        return True
    return text.startswith(("/", "~")) or bool(_PATH.search(text))
