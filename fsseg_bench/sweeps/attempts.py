"""What was tried of a cell: one line when an attempt begins, one when it ends, in ``attempts.jsonl`` of its folder."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from fsseg_bench.machine.here import here
from fsseg_bench.storage.files import make_folder, writing

ATTEMPTS_FILE: Final = "attempts.jsonl"
LOG_FILE: Final = "log.txt"


@dataclass(frozen=True)
class Attempt:
    """One start of a cell."""

    begun: str
    """When, in UTC."""
    engine: str
    host: str
    process: int
    """That started it and follows it."""
    done_before: int
    """Steps of the cell that were done."""
    job: str | None = None
    gpu: str | None = None
    ended: str | None = None
    """None: it is at work, or whoever followed it was killed."""
    code: int | None = None
    """With which its command ended; minus the number of a signal that killed it."""
    done_after: int | None = None
    excused: bool = False
    """Whether its end says nothing of the cell: there was no room on the disk, or the sweep was stopped."""


def begin_attempt(folder: Path, engine: str, done: int, gpu: str | None = None) -> None:
    """Notes that an attempt begins now, by this process.

    Raises:
        UserError: it cannot be written.
    """
    place = here()
    row = {"begun": now(), "engine": engine, "host": place.host, "process": place.process, "done_before": done}
    _append(folder, row | {"job": place.job, "gpu": gpu})


def end_attempt(folder: Path, code: int, done: int, *, excused: bool = False) -> None:
    """Notes how the attempt that was begun last has ended; see :class:`Attempt`.

    Raises:
        UserError: it cannot be written.
    """
    _append(folder, {"ended": now(), "code": code, "done_after": done} | ({"excused": True} if excused else {}))


def read_attempts(folder: Path) -> list[Attempt]:
    """All attempts, the oldest first; a line that a kill cut off is left out."""
    try:
        lines = (folder / ATTEMPTS_FILE).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    attempts: list[Attempt] = []
    for line in lines:
        try:
            row = json.loads(line)
            if "begun" in row:
                attempts.append(Attempt(**row))
            elif attempts:
                attempts[-1] = replace(attempts[-1], **row)
        except (ValueError, TypeError):
            continue
    return attempts


def append_lines(path: Path, text: str) -> None:
    """Adds whole lines to a file, also after a line that a kill cut off; the folder is made where it is missing.

    Raises:
        UserError: it cannot be written.
    """
    make_folder(path.parent)
    with writing(path), path.open("ab") as file:
        # one write, so that two processes do not mix lines
        file.write((("\n" if _cut(path) else "") + text + "\n").encode(errors="replace"))


def now() -> str:
    """The time in UTC, as attempts have it: texts sort as times do."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _append(folder: Path, row: dict[str, Any]) -> None:
    append_lines(folder / ATTEMPTS_FILE, json.dumps(row))


def _cut(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, 2) == 0:
            return False
        file.seek(-1, 2)
        return file.read(1) != b"\n"
