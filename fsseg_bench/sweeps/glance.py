"""What a cell's record says of how far it is: a few keys of run.json and the lengths of the logs, read in a hurry.

Whoever shows a number of a record reads it with all its checks; see :mod:`fsseg_bench.records.read`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from fsseg_bench.records.info import CHECKPOINT_FILE, EPISODES_FILE, RUN_FILE, STAGE_FILE, TRAIN_FILE
from fsseg_bench.records.settings import identity_hash
from fsseg_bench.storage.json_text import strict_json

_TAIL: Final = 1 << 16
_BLOCK: Final = 1 << 15
_DONE: Final = re.compile(rb'\{\n  "schema": \d+,\n  "identity": "([0-9a-f]{64})",\n  "status": "done",\n')
_TIMINGS: Final = re.compile(rb'\n  "timings": (\{[^{}]*\})')


@dataclass(frozen=True)
class Glance:
    """What run.json says."""

    status: str
    """``damaged`` where it cannot be read; ``reason`` says why."""
    identity: str = ""
    reason: str = ""
    resumed: tuple[str, ...] = ()
    """What was different in software and machine when the run went on, as the record says it."""
    timings: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    training: str | None = None
    """The identity of the run whose checkpoint was evaluated."""

    @property
    def without_checkpoint(self) -> str:
        """The hash of the settings without the digest of the checkpoint that was evaluated."""
        return identity_hash({key: value for key, value in self.settings.items() if key != "checkpoint_digest"})


def glance(folder: str) -> Glance | None:
    """What the record in ``folder`` says; None where there is none."""
    return _read(f"{folder}/{RUN_FILE}")


def stage_glance(folder: str) -> Glance | None:
    """What ``folder`` says of the training of a stage; None where there is none. It is done where its network is."""
    found = _read(f"{folder}/{STAGE_FILE}")
    gone = found is not None and found.status == "done" and not Path(folder, CHECKPOINT_FILE).exists()
    return replace(found, status="training") if found and gone else found


def _read(path: str) -> Glance | None:
    try:
        data = _whole(path)
        return _finished(data) or _glance(json.loads(data.decode()))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return Glance("damaged", reason=f"{path}: cannot be read: {error.strerror or error}")
    except (ValueError, RecursionError, TypeError, AttributeError, KeyError) as error:
        return Glance("damaged", reason=f"{path}: truncated or edited: {error}")


def _whole(path: str) -> bytes:
    """A file's content, by as few calls as can be: there are thousands of them."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe in its place does not wait for a writer
    try:
        data = os.read(file, _BLOCK)
        while len(data) % _BLOCK == 0 and (more := os.read(file, _BLOCK)):
            data += more
        return data
    finally:
        os.close(file)


def _finished(data: bytes) -> Glance | None:
    """What a finished record says that trained itself and never went on later, as most do: found by the places of its
    lines, since parsing takes longer than all else. None for any other, and for what is not laid out as records are."""
    found = _DONE.match(data)
    if found is None or not data.endswith(b"\n}\n") or b'\n  "resumed": ' in data or b'\n  "trained": ' in data:
        return None
    timings = _TIMINGS.search(data)
    return Glance("done", found[1].decode(), timings=json.loads(timings[1]) if timings else {})


def _glance(info: Any) -> Glance:
    resumed = info.get("resumed") or ()
    changed = [str(word) for session in resumed for word in session.get("changed", ())] if resumed else ()
    return Glance(
        str(info["status"]),
        str(info["identity"]),
        str(info.get("reason") or ""),
        tuple(dict.fromkeys(changed)),
        info.get("timings") or {},
        info["settings"],
        (info.get("trained") or {}).get("identity"),
    )


def trained_steps(folder: Path) -> int:
    """Training steps that are logged."""
    lines = _tail(folder / TRAIN_FILE).split(b"\n")[:-1]
    for line in reversed(lines):
        try:
            return int(strict_json(line)["iteration"]) + 1
        except (ValueError, TypeError, KeyError):
            continue  # a damaged line: the training goes on before it
    return 0


def evaluated_episodes(folder: Path) -> int:
    """Episodes that are logged."""
    count = 0
    with suppress(OSError), (folder / EPISODES_FILE).open("rb") as file:
        while block := file.read(1 << 20):
            count += block.count(b"\n")
    return count


def last_line(path: Path) -> str:
    """The last line of a log that says something; headings begin with ``#``."""
    lines = _tail(path).decode("utf-8", "replace").replace("\r", "\n").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip() and not line.startswith("#")), "")


def _tail(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - _TAIL, 0))
            return file.read()
    except OSError:
        return b""
