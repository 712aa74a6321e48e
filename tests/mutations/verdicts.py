"""How a campaign of damaged inputs is judged, each through the real entry.

A case is fine when it ends as one of

- refused: exit code 2 (or, in a report, the record left out) and a message that names the file;
- equal: accepted, and every number is what it is without the damage;
- other: accepted as another input, with another identity.

Anything else (a traceback, a hang, another number under the same identity) fails.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fsseg_bench.errors import UserError
from fsseg_bench.report.figures.loss import loss_curve
from fsseg_bench.report.select import select
from tests.mutations import mutate
from tests.mutations.world import Ending, replaced, watched

SEED = 20240509


class Tally:
    """The verdicts of one family of inputs."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.verdicts: Counter[str] = Counter()
        self.bad: list[str] = []

    def add(self, case: str, verdict: str) -> None:
        kind = verdict.partition(": ")[0]
        self.verdicts[kind] += 1
        if kind not in {"refused", "equal", "other"}:
            self.bad.append(f"{case}: {verdict}")

    def close(self, at_least: int) -> None:
        if log := os.environ.get("FSSEG_MUTATIONS_LOG"):
            with Path(log).open("a") as file:
                file.write(json.dumps({"family": self.name, **self.verdicts}) + "\n")
        assert sum(self.verdicts.values()) >= at_least
        assert not self.bad, f"{self.name}: {dict(self.verdicts)}\n" + "\n".join(self.bad[:40])


def damaged(data: bytes, count: int, name: str, *more: mutate.Mutator) -> Iterator[tuple[str, bytes]]:
    """``count`` different damages of ``data``, with a name each."""
    rng = random.Random(f"{SEED} {name}")
    mutators = (*mutate.BYTES, *more)
    seen = {data}
    for i in range(4 * count):
        mutator = mutators[i % len(mutators)]
        other = mutator(data, rng)
        if other not in seen:
            seen.add(other)
            yield f"{name} {i} {getattr(mutator, '__name__', 'lines').lstrip('_')}", other
        if len(seen) > count:
            return


def family(name: str, path: Path, cases: Iterator[tuple[str, bytes]], verdict: Callable[[], str], least: int) -> None:
    """Each of ``cases`` in the place of ``path``, judged by ``verdict``."""
    tally = Tally(name)
    for case, data in cases:
        with replaced(path, data):
            tally.add(case, verdict())
    tally.close(least)


def judged(ending: Ending, name: str, otherwise: str) -> str:
    """The verdict on a command: broken, refused with a message that has ``name`` in it, or ``otherwise``."""
    if ending.broken:
        return f"broken: {ending.broken}"
    if ending.code == 2:
        return "refused" if name in ending.err else f"unnamed: {ending.err[-300:]}"
    return otherwise


def numbers(folder: Path) -> Any:
    """The counts of a finished run, read without the package."""
    try:
        rows = [json.loads(line) for line in (folder / "episodes.jsonl").read_bytes().splitlines()]
        return [(row["episode"], row["classes"], row["input"], row["native"]) for row in rows]
    except (ValueError, LookupError, TypeError) as error:
        return f"not the log of a finished run: {error!r}"


def asked(ask: Callable[[], Any], whole: Any, path: Path) -> str:
    """The verdict on a Python call: equal, or a UserError that names the file."""
    try:
        with watched():
            found = ask()
    except UserError as error:
        return "refused" if str(path) in str(error) else f"unnamed: {error}"
    except BaseException as error:  # noqa: BLE001 - what is looked for
        return f"traceback: {type(error).__name__}: {error}"
    return "equal" if found == whole else "silent: other numbers"


def losses(results: Path) -> Any:
    """The loss curve of the one MAP baseline under ``results``."""
    found = loss_curve(select(["baseline"], results, {}).contenders[0])
    return found.total.tolist(), {name: part.tolist() for name, part in found.parts.items()}
