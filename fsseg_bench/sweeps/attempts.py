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


def begin_attempt(folder: Path, engine: str, done: int, gpu: str | None = None) -> None:
    """Notes that an attempt begins now, by this process.

    Raises:
        UserError: it cannot be written.
    """
    place = here()
    row = {"begun": _now(), "engine": engine, "host": place.host, "process": place.process, "done_before": done}
    _append(folder, row | {"job": place.job, "gpu": gpu})


def end_attempt(folder: Path, code: int, done: int) -> None:
    """Notes how the attempt that was begun last has ended.

    Raises:
        UserError: it cannot be written.
    """
    _append(folder, {"ended": _now(), "code": code, "done_after": done})


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


def _append(folder: Path, row: dict[str, Any]) -> None:
    path = make_folder(folder) / ATTEMPTS_FILE
    with writing(path), path.open("ab") as file:
        # a line of its own also after one that a kill cut off; one write, so that two processes do not mix lines
        file.write((("\n" if _cut(path) else "") + json.dumps(row) + "\n").encode())


def _cut(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, 2) == 0:
            return False
        file.seek(-1, 2)
        return file.read(1) != b"\n"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
