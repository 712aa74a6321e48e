"""Reads and checks protocol files: wrong keys and values are errors that say what is allowed."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from fsseg_bench.errors import UserError, unknown
from fsseg_bench.paths import regular
from fsseg_bench.protocol.class_lists import ClassNames, check_names, read_class_names, written_out
from fsseg_bench.protocol.data_spec import LIST_KEYS, DataKeys, DataSpec, is_list_file
from fsseg_bench.protocol.episode_spec import MOST_EPISODES, EpisodeSpec
from fsseg_bench.protocol.find import find_protocol, is_own, is_path
from fsseg_bench.protocol.lists import absolute_lists, locate_lists
from fsseg_bench.protocol.source import SourceKind, find_source
from fsseg_bench.protocol.spec import GENERALISED_SCORING, CheckpointSpec, ImageSpec, Protocol, ScoringSpec
from fsseg_bench.protocol.training import NOTHING_HELD_OUT, TrainKeys, TrainSpec, plain_name
from fsseg_bench.schema import Must, Range, WrongError, fields_of, fitted, parse, shown
from fsseg_bench.values import from_text, plain_value, text_of

_SECTIONS: dict[str, type] = {
    "data": DataKeys,
    "train": TrainKeys,
    "episodes": EpisodeSpec,
    "image": ImageSpec,
    "scoring": ScoringSpec,
    "checkpoint": CheckpointSpec,
}
_LISTS = {f"data.{key}" for key in LIST_KEYS}
_TRAINED_ON = "train.protocol"
LIST_GIVEN = "episodes.list=given"
"""What labels say of episodes from elsewhere."""


def _names_a_folder(name: str) -> bool:
    return bool(name) and all(c.isalnum() or c in "-_." for c in name) and not name.startswith(".")


@dataclass(frozen=True)
class _File:
    """A protocol file. What ``data`` and ``folds`` may hold depends on the source and on the classes."""

    name: Annotated[str, Must("made of letters, digits, '-', '_', '.' (it names a folder)", _names_a_folder)]
    version: Annotated[int, Range(least=1)]
    description: str
    classes: tuple[str, ...]
    folds: Mapping[str, tuple[str, ...]]
    data: Mapping[str, Any]
    episodes: EpisodeSpec
    image: ImageSpec
    scoring: ScoringSpec
    checkpoint: CheckpointSpec
    base: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    train: TrainKeys | None = None


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
    path = find_protocol(name_or_path)
    return _loaded(path, _read(path), overrides or {}, sources_path)


def _loaded(
    path: Path, table: dict[str, Any], overrides: Mapping[str, Any], sources_path: Path | str | None
) -> Protocol:
    kind = _kind(table, overrides, path, sources_path)
    changed = [key for key, given in overrides.items() if _override(table, key, given, kind, path)]
    protocol = _build(table, kind, path, path.parent.resolve() if is_own(path) else None, sources_path)
    return dataclasses.replace(protocol, overrides={key: _text(protocol, key) for key in changed})


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(regular(path).read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        beside = [file.name for file in path.parent.glob("*.toml")]
        folder = "this folder" if path.parent == Path() else str(path.parent)
        raise unknown("protocol file", path.name, beside, where=folder) from None
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
    if not isinstance(name, str):
        raise UserError(f"{path}: data.source is {shown(name)}; it must be text")
    source = find_source(name, path, sources_path)
    keys = [key for key, _, _ in fields_of(source.keys)]
    if taken := [key for key in keys if key in DataSpec.__dataclass_fields__ or hasattr(DataSpec, key)]:
        raise UserError(f"{path}: data.source: {source.__name__} has a key {taken[0]}, which is taken; rename it")
    return source


def _override(table: dict[str, Any], key: str, given: Any, source: type[SourceKind], path: Path) -> bool:
    """Sets a key of ``table``; whether that changes its value. A section of a wrong type is left as it is."""
    classes = [*_SECTIONS.items(), ("data", source.keys)]
    kinds = {f"{section}.{name}": kind for section, cls in classes for name, kind, _ in fields_of(cls)}
    if key not in kinds:
        raise unknown("protocol key", key, kinds)
    try:
        value = plain_value(fitted(plain_value(given), kinds[key], key, from_text))
    except WrongError as error:
        raise UserError(f"{path}: {error}") from None
    if key in _LISTS:
        value = absolute_lists(value, Path.cwd())
    if key == _TRAINED_ON and is_path(value):
        value = str((Path.cwd() / Path(value).expanduser()).absolute())
    section, _, name = key.partition(".")
    values = table.setdefault(section, {})
    if not isinstance(values, dict):
        return False
    defaults = {f"{s}.{f.name}": plain_value(f.default) for s, cls in classes for f in dataclasses.fields(cls)}
    changes: bool = values.get(name, defaults[key]) != value
    values[name] = value
    return changes


def _text(protocol: Protocol, key: str) -> str:
    """The value of a dotted key as one would write it in an override."""
    section, _, name = key.partition(".")
    spec = getattr(protocol, section)
    value = getattr(spec if hasattr(spec, name) else protocol.data.options, name)
    if key in _LISTS:
        value = tuple(Path(v).name if is_list_file(v) else v for v in value)
    if key == _TRAINED_ON and is_path(value):
        value = Path(value).name
    return text_of(value)


def _build(
    table: dict[str, Any],
    source: type[SourceKind],
    path: Path,
    home: Path | None,
    sources_path: Path | str | None,
) -> Protocol:
    file = parse(_File, table, path)
    folds = _numbered(file.folds, path)
    keys = {"classes": file.classes, **{f"folds.{fold}": names for fold, names in folds.items()}}
    names = read_class_names({**keys, "base": file.base, "validation": file.validation}, path)
    if len(names.classes) > source.most_classes:
        allowed = f"1 to {source.most_classes} are allowed with data.source {file.data.get('source')}"
        raise UserError(f"{path}: classes has {len(names.classes)} names; {allowed}")
    data, list_digests = locate_lists(_data(file.data, source, path), path.parent, path)
    for key in LIST_KEYS:
        lists = getattr(data, key)
        if lists or key != "train_list":  # without a training list it is for testing alone
            check_names(f"data.{key}", written_out(f"data.{key}", lists, path), path)
    counts = file.episodes.count
    if isinstance(counts, tuple) and len(counts) != len(folds):
        raise UserError(
            f"{path}: episodes.count has {len(counts)} numbers, and there are {len(folds)} folds; give each fold one, "
            "or one number for all"
        )
    train = None if file.train is None else _train(file.train, file.image, path, sources_path)
    own = {"data.train_list": data.train_list, "base": names.base, "validation": names.validation}
    if train and (given := next((key for key, value in own.items() if value), None)):
        raise UserError(f"{path}: {given} has no part where [train] names another protocol to train on; leave it empty")
    rest = {"data": data, "home": home, "list_digests": list_digests, "train": train}
    _check_rule(file.checkpoint, names, train, path)
    _check_scoring(file.episodes, file.scoring, path)
    return Protocol(**{**vars(file), **names._asdict(), **rest})


def _train(keys: TrainKeys, image: ImageSpec, path: Path, sources_path: Path | str | None) -> TrainSpec:
    """The protocol that is trained on, in the geometry of the one of ``path``."""
    key = f"{path}: {_TRAINED_ON} {keys.protocol!r}"
    try:
        place = (
            path.parent / Path(keys.protocol).expanduser()
            if is_path(keys.protocol)
            else find_protocol(keys.protocol, "")
        )
        table = _read(place)
        if "train" in table:  # before it is followed: it may lead back here
            raise UserError("trains on another protocol itself; name that one")
        rules = _loaded(place, table, {}, sources_path)
        if keys.fold not in {NOTHING_HELD_OUT, *rules.folds}:
            raise UserError(f"has no fold {keys.fold}; its folds are 1 to {len(rules.folds)}, and 0 holds out none")
    except UserError as error:
        raise UserError(f"{key}: {error}") from None
    if not rules.data.train_list:
        raise UserError(f"{key}: is for testing alone, its data.train_list is empty")
    if not rules.base_classes(keys.fold):
        raise UserError(f"{key}: has no base classes in fold {keys.fold}; train.fold = 0 holds no fold out")
    return TrainSpec(keys.protocol, keys.fold, dataclasses.replace(rules, image=image))


def _check_rule(checkpoint: CheckpointSpec, names: ClassNames, train: TrainSpec | None, path: Path) -> None:
    """Refuses a choice of the checkpoint by classes that are scored, or by none."""
    if checkpoint.rule != "validation":
        return
    validation = names.validation if train is None else train.rules.validation
    if not validation:
        whose = "validation" if train is None else f"validation of {train.rules.label}, which is trained on,"
        raise UserError(f'{path}: checkpoint.rule is "validation", and {whose} names no classes')
    scored = {plain_name(name): name for fold in names.folds.values() for name in fold}
    if both := [scored[plain_name(name)] for name in validation if plain_name(name) in scored]:
        raise UserError(
            f'{path}: checkpoint.rule is "validation", and classes of the folds have the names of validation classes: '
            f"{', '.join(both)}; the choice would be made on what is scored"
        )


def _check_scoring(episodes: EpisodeSpec, scoring: ScoringSpec, path: Path) -> None:
    """Refuses what has no part in the scores of episodes: it would change the digest alone."""
    for key, usual in GENERALISED_SCORING.items():
        if episodes.task == "episodes" and (value := getattr(scoring, key)) != usual:
            raise UserError(f'{path}: scoring.{key} is {shown(value)}; it is for episodes.task "generalised" alone')


def _numbered(table: Mapping[str, tuple[str, ...]], path: Path) -> dict[int, tuple[str, ...]]:
    """The section ``[folds]`` by number."""
    if not table:
        raise UserError(f"{path}: folds is empty; it needs at least folds.1")
    wanted = [str(i) for i in range(1, len(table) + 1)]
    missing, extra = [key for key in wanted if key not in table], [key for key in table if key not in wanted]
    if missing:
        there, lacking = (", ".join(f"folds.{key}" for key in keys) for keys in (extra, missing))
        raise UserError(f"{path}: missing {lacking}; folds are numbered from 1 without gaps, and there is {there}")
    return {int(key): table[key] for key in wanted}


def _data(table: Mapping[str, Any], source: type[SourceKind], path: Path) -> DataSpec:
    """The section ``[data]``: the keys that each source has, and those of this one."""
    known = {name for cls in (DataKeys, source.keys) for name, _, _ in fields_of(cls)}
    for key in table:
        if key not in known:
            raise unknown("key", key, known, where=str(path), prefix="data.")
    common = parse(DataKeys, table, path, "data", others=(DataKeys,))
    options: object = parse(source.keys, table, path, "data", others=(source.keys,))
    return DataSpec(**vars(common), kind=source, options=options)


def replace_episodes(protocol: Protocol, count: int) -> Protocol:
    """The same protocol with another number of episodes (a change that its label shows)."""
    protocol.check_episodes()
    if count < 1:
        raise UserError(f"--episodes {count}: at least 1 episode is needed")
    if count > MOST_EPISODES:
        raise UserError(f"--episodes {count}: at most {MOST_EPISODES} can be drawn")
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
