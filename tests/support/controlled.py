"""A finished run of six episodes with controls whose numbers one can work out on paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fsseg_bench.protocol.table import EpisodeTable
from fsseg_bench.records.controls import CONTROLS_FILE
from fsseg_bench.records.lines import Chain, LineLog
from fsseg_bench.records.read import read_run
from tests.support.runs import write_run

QUERIES = ("1a", "1b", "1c", "2a", "2b", "2c")
TABLE = EpisodeTable(
    tuple((int(query[0]),) for query in QUERIES), QUERIES, tuple(((f"{query[0]}s{query[1]}",),) for query in QUERIES)
)
OWN = [[60, 10, 10, 20], [60, 10, 0, 30], [70, 0, 10, 20], [70, 0, 20, 10], [60, 10, 20, 10], [70, 0, 0, 30]]
"""Class 1: 70 of 110 pixels, class 2: 50 of 100."""
WRONG = [[60, 10, 30, 0], [70, 0, 30, 0], [70, 0, 20, 10], [70, 0, 30, 0], [70, 0, 30, 0], [60, 10, 10, 20]]
"""Class 1: 10 of 100, class 2: 20 of 100."""
ABSENT = {0: [90, 10, 0, 0], 1: [80, 20, 0, 0], 3: [100, 0, 0, 0], 4: [50, 50, 0, 0]}
"""80 of 400 pixels."""
DRAWN = ([20, 10, 10], [30, 10, 20], [30, 20, 20], [10, 20, 0], [10, 10, 30], [30, 20, 10])
"""Hits of each query with each of three sets of supports of its class; 30 pixels of each, and no false alarm."""


def write_controlled(root: Path, method: str = "baseline", without: str = "", **changes: Any) -> Path:
    """Writes the run and its controls but one, and gives the folder. ``changes`` are rows of a control, by its name."""
    episodes = [((int(q[0]),), own) for q, own in zip(QUERIES, OWN, strict=True)]
    folder = write_run(root, episodes, table=TABLE, method=method)
    rows: dict[str, list[dict[str, Any]]] = {
        "wrong": wrong(),
        "absent": [row(i, 3 - int(QUERIES[i][0]), "a", counts) for i, counts in ABSENT.items()],
        "empty": [{"refused": "NotFiniteError: its logits are not finite"}],
        "whole": [row(i, int(QUERIES[i][0]), "s", [0, 70, 0, 30]) for i in range(6)],
        "shifted": [row(i, int(QUERIES[i][0]), "s", [70, 0, 30, 0]) for i in range(6)],
        **{f"draw-{n + 1}": [drawn(i, n) for i in range(6)] for n in range(3)},
    }
    rows |= changes
    rows.pop(without, None)
    stated = {
        name: {"episodes": 6 if own and "refused" in own[0] else len(own), "digest": name} for name, own in rows.items()
    }
    identity = read_run(folder).info.identity
    with LineLog(folder / CONTROLS_FILE, Chain(identity)) as log:
        log.append({"controls": stated, "draws": 3, "resolution": "input", "identity": identity})
        for name, own in rows.items():
            for one in own:
                log.append({"control": name, **one})
    return folder


def wrong(**first: Any) -> list[dict[str, Any]]:
    """Rows of the control, with changes of the first one."""
    rows = [row(i, 3 - int(QUERIES[i][0]), "w", counts) for i, counts in enumerate(WRONG)]
    return [{**rows[0], **first}, *rows[1:]]


def row(episode: int, c: int, support: str, counts: list[int]) -> dict[str, Any]:
    """A row of an episode with one support of class ``c``; ``s`` is the episode's own."""
    supports = TABLE.supports[episode][0] if support == "s" else [f"{c}{support}"]
    names = {"query": QUERIES[episode], "class": c, "supports": list(supports)}
    return {"episode": episode, **names, "counts": counts}


def drawn(episode: int, number: int) -> dict[str, Any]:
    """A row of a draw."""
    hit = DRAWN[episode][number]
    return row(episode, int(QUERIES[episode][0]), f"d{number}", [70, 0, 30 - hit, hit])
