"""Reads and checks protocol files: wrong keys and values are errors that say what is allowed."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from fsseg_bench import schema
from fsseg_bench.errors import UserError, unknown
from fsseg_bench.paths import folder, regular
from fsseg_bench.protocol.lists import absolute_lists, locate_lists
from fsseg_bench.protocol.source import SourceKind, find_source
from fsseg_bench.protocol.spec import (
    LIST_KEYS,
    MOST_CLASSES,
    CheckpointSpec,
    DataKeys,
    DataSpec,
    EpisodeSpec,
    ImageSpec,
    Protocol,
    ScoringSpec,
    is_list_file,
)
from fsseg_bench.values import list_of, plain_value, text_of

_SECTIONS: dict[str, type] = {
    "data": DataKeys,
    "episodes": EpisodeSpec,
    "image": ImageSpec,
    "scoring": ScoringSpec,
    "checkpoint": CheckpointSpec,
}
_TOP = ("name", "version", "description", "classes", "folds")
_LISTS = {f"data.{key}" for key in LIST_KEYS}
_DEFAULTS: dict[str, Any] = {"episodes.support_replacement": False}
"""Keys that a file may leave out."""
LIST_GIVEN = "episodes.list=given"
"""What labels say of episodes from elsewhere."""
_LEAST = {
    "data.min_object_pixels": 1,
    "episodes.count": 1,
    "image.size": 32,
}


_MOST = {
    "episodes.count": 10**6,
    "image.size": 2**14,
}
_LARGEST = 2**63


def builtin_protocols() -> dict[str, Path]:
    """Names and files of the protocols that come with the package, sorted by name."""
    return {path.stem: path for path in sorted(folder("protocols").glob("*.toml"))}


def load_protocol(
    name_or_path: str | Path,
    overrides: Mapping[str, Any] | None = None,
    sources_path: Path | str | None = None,
) -> Protocol:
    """The protocol of a built-in name or of a file, checked.

    Args:
        name_or_path: ``"pascal5i"``, ``"coco20i-a"``, ..., or a path to a TOML file.
        overrides: changes to single keys by dotted name, for example ``{"data.year": "2017", "data.test_list":
            ("train", "val")}``: text as in a shell, or Python values. They change the digest and the label; a
            value that the file has anyway changes neither. List files are relative to the current folder.
        sources_path: a folder with further data sources.

    Raises:
        UserError: unknown name, unreadable file, unknown or missing key, wrong value, no such source. Names the file,
            the key, what was found and what is allowed.

    Example:
        >>> protocol = load_protocol("pascal5i", {"image.size": 321})
        >>> protocol.label, protocol.image.size, protocol.folds[1]
        ('pascal5i[image.size=321]', 321, ('aeroplane', 'bicycle', 'bird', 'boat', 'bottle'))
    """
    path = _find(name_or_path)
    table = _read(path)
    overrides = overrides or {}
    kind = _kind(table, overrides, path, sources_path)
    changed = [key for key, given in overrides.items() if _override(table, key, given, kind)]
    own = path.parent.resolve() != folder("protocols").resolve()
    protocol = _build(table, kind, path, path.parent.resolve() if own else None)
    return dataclasses.replace(protocol, overrides={key: _text(protocol, key) for key in changed})


def _find(name_or_path: str | Path) -> Path:
    text = str(name_or_path)
    if text.endswith(".toml") or "/" in text or isinstance(name_or_path, Path):
        return Path(text).expanduser()
    known = builtin_protocols()
    if text not in known:
        raise unknown("dataset", text, known, where="--dataset")
    return known[text]


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(regular(path).read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        beside = [file.name for file in path.parent.glob("*.toml")]
        raise unknown("protocol file", path.name, beside, where=str(path.parent)) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not text in UTF-8: {error}") from None
    except RecursionError:
        raise UserError(f"{path}: not a protocol: its values are nested too deeply") from None
    except ValueError as error:  # TOMLDecodeError, or a number of thousands of digits
        raise UserError(f"{path}: not valid TOML: {error}") from None


def _kind(
    table: dict[str, Any], given: Mapping[str, Any], path: Path, sources_path: Path | str | None
) -> type[SourceKind]:
    """The class of the source that the file, or a change of it, names."""
    data = table.get("data")
    if not isinstance(data, dict):
        return SourceKind  # the check of the sections says what is wrong
    name = given.get("data.source", data.get("source"))
    if name is None:
        raise UserError(f"{path}: missing data.source")
    source = find_source(_typed(name, str, path, "data.source"), path, sources_path)
    if taken := [
        key for key in get_type_hints(source.keys) if key in get_type_hints(DataSpec) or hasattr(DataSpec, key)
    ]:
        raise UserError(f"{path}: data.source: {source.__name__} has a key {taken[0]}, which is taken; rename it")
    return source


def _override(table: dict[str, Any], key: str, given: Any, source: type[SourceKind]) -> bool:
    """Sets a key of ``table``; whether that changes its value. A section of a wrong type is left as it is."""
    section, _, name = key.partition(".")
    kinds = {f"{s}.{k}": kind for s, cls in _SECTIONS.items() for k, kind in get_type_hints(cls).items()}
    kinds |= {f"data.{k}": kind for k, kind in get_type_hints(source.keys).items()}
    if key not in kinds:
        raise unknown("protocol key", key, kinds)
    value = _parse(given, kinds[key])
    if key in _LISTS and isinstance(value, list) and all(isinstance(entry, str) for entry in value):
        value = absolute_lists(value, Path.cwd())
    values = table.setdefault(section, {})
    if not isinstance(values, dict):
        return False
    defaults = {f"data.{f.name}": plain_value(f.default) for f in dataclasses.fields(source.keys)} | _DEFAULTS
    changes: bool = values.get(name, defaults.get(key)) != value
    values[name] = value
    return changes


def _text(protocol: Protocol, key: str) -> str:
    """The value of a dotted key as one would write it in an override."""
    section, _, name = key.partition(".")
    spec = getattr(protocol, section)
    value = getattr(spec if hasattr(spec, name) else protocol.data.options, name)
    if key in _LISTS:
        value = tuple(Path(v).name if is_list_file(v) else v for v in value)
    return text_of(value)


def _parse(given: Any, kind: Any) -> Any:
    """``given`` as the TOML value it would be; what fits no type is left for the check to refuse."""
    if not isinstance(given, str):
        return plain_value(given)
    if get_origin(kind) is tuple:
        return [_parse(part, get_args(kind)[0]) for part in list_of(given)]
    if kind is str or (get_origin(kind) is Literal and isinstance(get_args(kind)[0], str)):
        return given
    try:
        found = tomllib.loads(f"v = {given}")
    except (ValueError, RecursionError):
        return given
    return found["v"] if len(found) == 1 else given  # a line break would begin another key


def _build(table: dict[str, Any], source: type[SourceKind], path: Path, home: Path | None) -> Protocol:
    _check_keys(table, {*_TOP, *_SECTIONS}, {*_TOP, *_SECTIONS}, path, "")
    name = _typed(table["name"], str, path, "name")
    if not name or not all(c.isalnum() or c in "-_." for c in name) or name.startswith("."):
        raise UserError(f"{path}: name is {_show(name)}; use letters, digits, '-', '_', '.' (it names a folder)")
    classes = _typed(table["classes"], tuple[str, ...], path, "classes")
    _check_classes(classes, path)
    sections = {key: _section(table[key], cls, path, key) for key, cls in _SECTIONS.items() if key != "data"}
    sections["data"] = _data(table["data"], source, path)
    sections["data"], list_digests = locate_lists(sections["data"], path.parent, path)
    protocol = Protocol(
        name=name,
        version=_typed(table["version"], int, path, "version"),
        description=_typed(table["description"], str, path, "description"),
        classes=classes,
        folds=_folds(table["folds"], classes, path),
        home=home,
        list_digests=list_digests,
        **sections,
    )
    _check_values(protocol, path)
    return protocol


def _check_classes(classes: tuple[str, ...], path: Path) -> None:
    if not 1 <= len(classes) <= MOST_CLASSES:
        raise UserError(f"{path}: classes has {len(classes)} names; 1 to {MOST_CLASSES} are allowed (255 is void)")
    _check_names("classes", classes, path)


def _check_names(key: str, names: tuple[str, ...], path: Path) -> None:
    if not names:
        raise UserError(f"{path}: {key} is empty; it needs at least one name")
    if not all(name.strip() for name in names):
        raise UserError(f"{path}: {key} holds an empty name")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"{path}: {key} names {', '.join(twice)} more than once")


def _folds(table: Any, classes: tuple[str, ...], path: Path) -> dict[int, tuple[str, ...]]:
    if not isinstance(table, dict):
        raise UserError(f"{path}: folds is {_show(table)}; it must be a table with the keys 1, 2, ...")
    if not table:
        raise UserError(f"{path}: folds is empty; it needs at least folds.1")
    wanted = [str(i) for i in range(1, len(table) + 1)]
    missing, extra = [key for key in wanted if key not in table], [key for key in table if key not in wanted]
    if missing:
        there, lacking = (", ".join(f"folds.{key}" for key in keys) for keys in (extra, missing))
        raise UserError(f"{path}: missing {lacking}; folds are numbered from 1 without gaps, and there is {there}")
    folds = {int(key): _typed(table[key], tuple[str, ...], path, f"folds.{key}") for key in wanted}
    seen: dict[str, int] = {}
    for fold, names in folds.items():
        _check_names(f"folds.{fold}", names, path)
        for name in names:
            if name not in classes:
                raise unknown("class", name, classes, where=f"{path}: folds.{fold}")
            if name in seen:
                raise UserError(f"{path}: class {name!r} is in fold {seen[name]} and in fold {fold}; one is allowed")
            seen[name] = fold
    return folds


def _data(table: Any, source: type[SourceKind], path: Path) -> DataSpec:
    """The section ``[data]``: the keys that each source has, and those of this one."""
    own = {key: needed for key, _, needed in schema.fields_of(source.keys)}
    common = _section(table, DataKeys, path, "data", own)
    options: object = schema.parse(source.keys, {key: table[key] for key in own if key in table}, path, "data")
    return DataSpec(**vars(common), kind=source, options=options)


def _section(table: Any, cls: type, path: Path, section: str, others: Mapping[str, bool] | None = None) -> Any:
    """One section; ``others`` are further keys that it may hold, with whether it must."""
    if not isinstance(table, dict):
        raise UserError(f"{path}: {section} is {_show(table)}; it must be a table [{section}]")
    hints, others = get_type_hints(cls), others or {}
    required = {key for key in hints if f"{section}.{key}" not in _DEFAULTS}
    required |= {key for key, needed in others.items() if needed}
    _check_keys(table, {*hints, *others}, required, path, f"{section}.")
    values = {key: _typed(table[key], kind, path, f"{section}.{key}") for key, kind in hints.items() if key in table}
    return cls(**values)


def _check_keys(table: dict[str, Any], allowed: set[str], required: set[str], path: Path, prefix: str) -> None:
    for key in table:
        if key not in allowed:
            raise unknown("key", prefix + key, [prefix + a for a in allowed], where=str(path))
    missing = sorted(required - set(table))
    if missing:
        raise UserError(f"{path}: missing {', '.join(prefix + m for m in missing)}")


def _typed(value: Any, kind: Any, path: Path, key: str) -> Any:
    """``value`` if it has the annotated type (lists become tuples, integers floats), else an error."""
    if get_origin(kind) is Literal:
        allowed = get_args(kind)
        if not any(value == a and type(value) is type(a) for a in allowed):
            raise UserError(f"{path}: {key} is {_show(value)}; allowed: {', '.join(map(_show, allowed))}")
        return value
    if get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise UserError(f"{path}: {key} is {_show(value)}; it must be a list")
        return tuple(_typed(v, get_args(kind)[0], path, f"{key}[{i}]") for i, v in enumerate(value))
    if type(value) is int and not -_LARGEST < value < _LARGEST:
        raise UserError(f"{path}: {key} is a number of {value.bit_length()} bits; 63 are allowed")
    if isinstance(value, str) and "\0" in value:
        raise UserError(f"{path}: {key} holds a NUL character")
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        names = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
        raise UserError(f"{path}: {key} is {_show(value)}; it must be {names[kind]}")
    return value


def _show(value: Any) -> str:
    """A value as TOML writes it, for messages."""
    if value is None:
        return "missing"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return f"[{', '.join(map(_show, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and not -_LARGEST < value < _LARGEST:
        return f"a number of {value.bit_length()} bits"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _check_values(protocol: Protocol, path: Path) -> None:
    sections: dict[str, Any] = {key: getattr(protocol, key) for key in _SECTIONS}
    for key, least in _LEAST.items():
        section, _, name = key.partition(".")
        value = getattr(sections[section], name)
        if value < least:
            raise UserError(f"{path}: {key} is {value}; it must be at least {least}")
        if value > _MOST.get(key, value):
            raise UserError(f"{path}: {key} is {value}; it must be at most {_MOST[key]}")
    if protocol.version < 1:
        raise UserError(f"{path}: version is {protocol.version}; it must be at least 1")
    for key in LIST_KEYS:
        names = getattr(protocol.data, key)
        if names or key != "train_list" or len(protocol.folds) > 1:  # with one fold nothing can be trained
            _check_names(f"data.{key}", names, path)
    scales = protocol.scoring.scales
    if not scales or len(set(scales)) < len(scales) or not all(0 < s <= 4 for s in scales):
        raise UserError(
            f"{path}: scoring.scales is {_show(list(scales))}; it must hold different numbers above 0, at most 4"
        )


def replace_episodes(protocol: Protocol, count: int) -> Protocol:
    """The same protocol with another number of episodes (a change that its label shows)."""
    if count < 1:
        raise UserError(f"--episodes {count}: at least 1 episode is needed")
    if count > _MOST["episodes.count"]:
        raise UserError(f"--episodes {count}: at most {_MOST['episodes.count']} can be drawn")
    if count == protocol.episodes.count:
        return protocol
    episodes = dataclasses.replace(protocol.episodes, count=count)
    overrides = {**protocol.overrides, "episodes.count": str(count)}
    return dataclasses.replace(protocol, episodes=episodes, overrides=overrides)


def replace_list(protocol: Protocol) -> Protocol:
    """The same protocol with episodes from elsewhere (a change that its label shows).

    Neither the label nor the digest depends on the list: the folds of one experiment have different lists. Which
    episodes they are is said by :attr:`fsseg_bench.protocol.table.EpisodeTable.digest`.
    """
    key, _, value = LIST_GIVEN.partition("=")
    overrides = {**protocol.overrides, key: value}
    return dataclasses.replace(protocol, given_list=True, overrides=overrides)
