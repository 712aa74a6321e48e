"""What a sweep is made of: its cells with command, folder and cost, planned once and kept in plan.json; no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from fsseg_bench.errors import UserError
from fsseg_bench.paths import regular
from fsseg_bench.records.info import STAGES_FOLDER
from fsseg_bench.schema import Range, parse
from fsseg_bench.storage.files import make_folder
from fsseg_bench.storage.json_text import plain, strict_json, write_json

FORMAT: Final = 1
PLAN_FILE: Final = "plan.json"
CHECK: Final = "check"
"""SHA-256 of everything else in it."""
SWEEPS: Final = "sweeps"
"""The folder of sweeps among the records."""
_ANEW: Final = "'fsseg-bench sweep FILE' plans anew; no record is lost"


@dataclass(frozen=True)
class Needs:
    """``[cell]``: what one cell needs."""

    gpus: Annotated[int, Range(least=0, most=1)] | None = None
    """Of a sweep's file None: one where the machine that plans it has any. A plan says which."""
    gpu_memory_gib: Annotated[float, Range(above=0)] | None = None
    """Of a GPU: as many cells share one as fit. None: a GPU makes one at a time."""
    threads: Annotated[int, Range(least=1)] | None = None
    """That compute on the CPU; the same wherever a cell goes on, since sums are rounded by it. None: planned once,
    1 where the CPU computes."""
    workers: Annotated[int, Range(least=0)] | None = None
    memory_gib: Annotated[float, Range(above=0)] | None = None
    """Of the machine."""
    minutes: Annotated[float, Range(above=0)] | None = None
    """After which a batch system may end a cell, which then goes on from its checkpoint."""
    retries: Annotated[int, Range(least=0)] = 2
    """Further attempts that bring no progress, after which a cell is given up."""


@dataclass(frozen=True)
class Cell:
    """A run of a sweep."""

    label: str
    """Names it in the sweep, and its folder there: letters, digits, ``.``, ``_``, ``-`` and ``=``."""
    command: tuple[str, ...]
    """The words after ``fsseg-bench``, from ``run`` on; paths are absolute, and how many threads compute is said."""
    folder: str
    """Of its record, from the folder of records; with ``*`` at its end where a checkpoint is evaluated that the sweep
    makes first. Among those of stages: it trains a network that comes before the methods of other cells."""
    identity: str
    """Of the run. Where ``folder`` ends with ``*``, the hash of its settings without ``checkpoint_digest``."""
    train: int
    """Training steps."""
    evaluate: int
    """Episodes."""
    bytes: int = 0
    """On the disk, about, when it is done."""
    waits_for: str | None = None
    """The label of the cell whose checkpoint it evaluates, or which trains what comes before its method."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What tells it from the other cells, by the name of the option; for tables."""

    @property
    def is_stage(self) -> bool:
        """Whether it trains what comes before a method, and nothing else."""
        return self.folder.startswith(f"{STAGES_FOLDER}/")

    @property
    def steps(self) -> int:
        """All that there is to do."""
        return self.train + self.evaluate

    @property
    def threads(self) -> int:
        """That compute on the CPU."""
        return int(self._said("--threads") or 1)

    @property
    def device(self) -> str:
        """The kind of device that it computes on."""
        return self._said("--device") or "auto"

    def _said(self, option: str) -> str | None:
        words = self.command
        return words[words.index(option) + 1] if option in words[:-1] else None


@dataclass(frozen=True)
class Plan:
    """A sweep, planned."""

    format: Literal[1]
    name: str
    spec: str
    """SHA-256 of what the sweep's file says."""
    code: str
    """Of which version it was planned: another one may give its runs another identity."""
    created: str
    needs: Needs
    slurm: Mapping[str, Any]
    """As the file has it."""
    ray: Mapping[str, Any]
    """As the file has it."""
    cells: tuple[Cell, ...]

    @cached_property
    def by_label(self) -> Mapping[str, Cell]:
        """The cells."""
        return {cell.label: cell for cell in self.cells}


def sweep_folder(root: Path, name: str) -> Path:
    """Where the sweep ``name`` keeps its plan and its logs, beside the records in ``root``."""
    return root / SWEEPS / name


def records_of(folder: Path) -> Path:
    """The folder of records of the sweep in ``folder``."""
    return folder.parent.parent


def cell_folder(folder: Path, cell: Cell) -> Path:
    """Where the sweep in ``folder`` keeps what is not in a cell's record: its lock, its log and its attempts."""
    return folder / "cells" / cell.label


def write_plan(folder: Path, plan: Plan) -> None:
    """Replaces the plan in a sweep's folder, which is made where it is missing.

    Raises:
        UserError: it cannot be written.
    """
    content = plain({name: _json(getattr(plan, name)) for name in Plan.__dataclass_fields__})
    write_json(make_folder(folder) / PLAN_FILE, {CHECK: _check(content), **content})


def _json(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_json(one) for one in value]
    return vars(value) if isinstance(value, (Needs, Cell)) else value


def read_plan(folder: Path) -> Plan:
    """The plan in a sweep's folder.

    One that fits its check is taken as it was written, which is quick; of another one each value is looked at.

    Raises:
        UserError: there is none, or it is damaged; says where.
    """
    path = folder / PLAN_FILE
    try:
        data = regular(path).read_bytes()
        content = json.loads(data)
        if isinstance(content, dict) and content.pop(CHECK, None) == _check(content):
            with suppress(TypeError, KeyError):  # of another version
                return _plan(content)
        content = strict_json(data)
    except FileNotFoundError:
        raise UserError(f"{folder}: no sweep was planned here (there is no {PLAN_FILE})") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON, truncated or edited: {error}; {_ANEW}") from None
    known = {key: value for key, value in content.items() if key != CHECK} if isinstance(content, dict) else content
    return parse(Plan, known, path)


def _check(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _plan(content: Mapping[str, Any]) -> Plan:
    cells = tuple(Cell(**{**cell, "command": tuple(cell["command"])}) for cell in content["cells"])
    return Plan(**{**content, "needs": Needs(**content["needs"]), "cells": cells})
