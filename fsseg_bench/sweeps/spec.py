"""What a sweep's TOML file says: options common to its cells, grids of them, what is left out, what a cell needs."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from fsseg_bench.errors import UserError, unknown
from fsseg_bench.paths import regular
from fsseg_bench.records.settings import identity_hash
from fsseg_bench.schema import Must, WrongError, fitted, parse
from fsseg_bench.sweeps.options import Lists, Options, read_lists, read_options, whole_paths
from fsseg_bench.sweeps.plan import Needs
from fsseg_bench.values import plain_value


def _names_a_folder(name: str) -> bool:
    return bool(name) and all(c.isascii() and (c.isalnum() or c in "-_.") for c in name) and not name.startswith(".")


_KEYS = ("name", "out", "common", "grid", "also", "except", "training", "cell", "slurm", "ray")
_Name = Annotated[str, Must("made of letters, digits, '-', '_', '.' (it names a folder)", _names_a_folder)]


@dataclass(frozen=True)
class Spec:
    """A sweep as it is asked for."""

    name: str
    out: str | None
    """The folder of records, from the current folder; None: as ``run`` has it."""
    common: Options
    """Of all cells."""
    grid: Lists | None
    """Each combination of its values is a cell; None: there is no such table."""
    also: tuple[Lists, ...]
    """Further grids, each beside what is common."""
    excepted: tuple[Lists, ...]
    """A cell is left out where all that one of these says is so."""
    training: Options | None
    """What is different in the training whose checkpoint a cell evaluates; None: each cell trains for itself."""
    cell: Needs
    slurm: Mapping[str, Any]
    ray: Mapping[str, Any]
    where: str
    """The file, for messages."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of what decides which cells there are and what each does; the order of keys does not matter.

        Engines, and what a cell needs but for threads, workers and whether a GPU, are not in it.
        """
        content = {
            "common": whole_paths(self.common),
            "grid": None if self.grid is None else _whole_lists(self.grid),
            "also": list(map(_whole_lists, self.also)),
            "except": list(map(_whole_lists, self.excepted)),
            "training": None if self.training is None else whole_paths(self.training),
            "threads": self.cell.threads,
            "workers": self.cell.workers,
            "gpu": None if self.cell.gpus is None else bool(self.cell.gpus),
        }
        return identity_hash(content)


def _whole_lists(lists: Lists) -> dict[str, list[Any]]:
    return {key: [whole_paths({key: value})[key] for value in values] for key, values in lists.items()}


def read_spec(path: str | Path) -> Spec:
    """The sweep of a TOML file; without ``name`` it is called like the file.

    Raises:
        UserError: the file cannot be read, or as :func:`parse_spec`.
    """
    path = Path(path).expanduser()
    try:
        table = tomllib.loads(regular(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid TOML in UTF-8: {error}") from None
    if "name" not in table and not _names_a_folder(path.stem):
        raise UserError(
            f"{path}: a sweep is called like its file, and a name is made of letters, digits, '-', '_', '.' (it names "
            f'a folder); rename the file, or put name = "..." at its top'
        )
    return parse_spec({"name": path.stem, **table}, path)


def parse_spec(table: Mapping[str, Any], where: object = "sweep") -> Spec:
    """The sweep of a table as TOML has it, or as Python does: tuples, paths and numpy's numbers are taken.

    Args:
        table: has ``name``, ``out``, ``common``, ``grid``, ``also``, ``except``, ``training``, ``cell``, ``slurm`` and
            ``ray``; all but the name may be left out.
        where: the file, for messages.

    Raises:
        UserError: an unknown key, a value that does not fit, or an option that a cell cannot have; names file and key.
    """
    for key in table:
        if key not in _KEYS:
            raise unknown("key", str(key), _KEYS, str(where))
    said = plain_value(table)
    if "name" not in said:
        raise UserError(f"{where}: missing name, as name = 'table1': of the sweep's folder among the records")
    spec = Spec(
        name=_read(said, "name", _Name, where),
        out=_read(said, "out", str | None, where),
        common=read_options(said.get("common", {}), f"{where}: common"),
        grid=read_lists(said["grid"], f"{where}: grid") if "grid" in said else None,
        also=_several(said, "also", where),
        excepted=_several(said, "except", where),
        training=read_options(said["training"], f"{where}: training") if "training" in said else None,
        cell=parse(Needs, said.get("cell", {}), where, "cell"),
        slurm=_read(said, "slurm", Mapping[str, Any], where) or {},
        ray=_read(said, "ray", Mapping[str, Any], where) or {},
        where=str(where),
    )
    _check(spec)
    return spec


def _read(said: Mapping[str, Any], key: str, kind: Any, where: object) -> Any:
    if key not in said:
        return None
    try:
        return fitted(said[key], kind, key)
    except WrongError as wrong:
        raise UserError(f"{where}: {wrong}") from None


def _several(said: Mapping[str, Any], key: str, where: object) -> tuple[Lists, ...]:
    tables = said.get(key, [])
    if not isinstance(tables, list):
        raise UserError(f"{where}: {key} is one table; write [[{key}]], of which there may be several")
    return tuple(read_lists(table, f"{where}: {key}[{number}]") for number, table in enumerate(tables))


def _check(spec: Spec) -> None:
    """Whether each cell will have a method and a data set, and the tables do not contradict each other."""
    for key in ("method", "dataset"):
        for name, lists in _grids(spec):
            if not {*lists, *spec.common} & {key}:
                raise UserError(f"{spec.where}: {name} has no {key}; name it there or in [common]")
    if spec.training is not None:
        if not spec.training:
            raise UserError(f"{spec.where}: [training] is empty; say what is different in it, as shot = 1")
        given = [spec.common, *(lists for _, lists in _grids(spec)), spec.training]
        if any("eval_only" in options for options in given):
            raise UserError(f"{spec.where}: eval_only and [training] exclude each other: both name a checkpoint")
    for number, lists in enumerate(spec.excepted):
        if not lists:
            raise UserError(f"{spec.where}: except[{number}] is empty, and would leave out every cell")


def _grids(spec: Spec) -> list[tuple[str, Mapping[str, Any]]]:
    further = [(f"also[{number}]", lists) for number, lists in enumerate(spec.also)]
    first: list[tuple[str, Mapping[str, Any]]] = [("grid", spec.grid or {})]
    return [*(first if spec.grid is not None or not further else []), *further]
