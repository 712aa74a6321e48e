"""The commands that would fill the missing numbers of a report."""

from __future__ import annotations

import shlex
from collections.abc import Collection as Names
from collections.abc import Iterable
from dataclasses import dataclass, replace

from fsseg_bench.records.command import run_words
from fsseg_bench.records.request import RunRequest
from fsseg_bench.report.blocks import Measured, Pair, PublishedRow, blocks
from fsseg_bench.report.cells import Runs
from fsseg_bench.report.collect import Collection
from fsseg_bench.report.model import printable
from fsseg_bench.report.papers import PaperProtocol, PaperTable
from fsseg_bench.report.published import PublishedNumber
from fsseg_bench.report.rows import group_rows
from fsseg_bench.report.words import given_list, plain

_HOW = ("device", "workers", "eval_only", "fresh", "out", "no_check", "head_batch", "cache_gib", "panels", "track")
"""What does not decide a run's numbers, or belongs to one fold."""


@dataclass(frozen=True)
class Installation:
    """What can be run with this installation."""

    methods: Names[str]
    backbones: Names[str]
    out: str | None = None
    """The folder of the records, where it is not the default."""


def paper_commands(tables: Iterable[PaperTable], measured: Measured, here: Installation) -> list[str]:
    """A line for each run that a published number of ``tables`` waits for; then a comment with what is not here.

    Rows that exist in part are filled with the settings of their runs.
    """
    absent: dict[str, None] = {}
    lines = dict.fromkeys(
        line
        for table in tables
        for block in blocks(table, measured)
        for pair in block.pairs
        if pair.printed
        for line in _pair_commands(table, pair, pair.printed, here, absent)
    )
    names = ", ".join(absent)
    return [*lines, *([f"# no method or backbone here for: {names}"] if absent else [])]


def runs_commands(collection: Collection, here: Installation) -> list[str]:
    """A line for each row of runs that lacks some of its folds."""
    rows = [row for runs in collection.by_rules.values() for row in group_rows(runs, collection)]
    return list(dict.fromkeys(line for row in rows for of_shot in row.runs.values() for line in _again(of_shot, here)))


def row_requests(
    table: PaperTable, protocol: PaperProtocol, first: PublishedNumber, shots: Iterable[int], here: Installation
) -> list[RunRequest]:
    """The runs that make a printed row, one for each of ``shots``; none where method, backbone or rules are not here.

    ``first`` is any of the row's numbers.
    """
    method, backbone = _known(first.name, here.methods), _known(first.backbone, here.backbones)
    if not method or not backbone or protocol.rules is None:
        return []
    scales = protocol.rules.scoring.scales if _several(table, first) else (1.0,)
    request = RunRequest(method, protocol.dataset, backbone=backbone, scales=scales)
    return [replace(request, shot=shot) for shot in shots]


def absent_words(protocol: PaperProtocol, first: PublishedNumber) -> str:
    """A printed row that cannot be made here, in words: with its backbone, or its protocol where that has no file."""
    return f"{first.method} ({first.backbone if protocol.rules else protocol.name})"


def _pair_commands(
    table: PaperTable, pair: Pair, printed: PublishedRow, here: Installation, absent: dict[str, None]
) -> list[str]:
    lines = []
    for shot in dict.fromkeys(shot for shot, _ in printed.numbers):
        done = pair.measured.runs.get(shot, {}) if pair.measured else {}
        requests = row_requests(table, pair.protocol, printed.first, [shot], here)
        if done:
            lines += _again(done, here)
        elif not requests:
            absent[absent_words(pair.protocol, printed.first)] = None
        lines += [_line(request, "all", here) for request in requests if not done]
    return lines


def _several(table: PaperTable, printed: PublishedNumber) -> bool:
    """Whether to run at several query scales: as the row says, or else as another row of the same method does."""
    rows = [printed] if printed.multi_scale != "unstated" else table.paper.numbers
    key = printed.name, printed.backbone, printed.protocol
    return any(n.multi_scale in {"yes", "inferred"} and (n.name, n.backbone, n.protocol) == key for n in rows)


def _known(name: str, names: Names[str]) -> str:
    return next((known for known in sorted(names) if plain(known) == plain(name)), "")


def _again(runs: Runs, here: Installation) -> list[str]:
    """The command of ``runs`` for the folds that they lack."""
    record = next(iter(runs.values())).record
    lacking = ",".join(str(fold) for fold in record.folds if fold not in runs)
    settings, request, given = record.settings, record.info.passed, given_list(record)
    if not lacking:
        return []
    whose = f"# fold {lacking} of {printable(settings.method)}"
    if request.eval_only:
        return [f"{whose}: --eval-only needs its own checkpoint"]
    if given and "{fold" not in given:
        return [f"{whose}: --episodes needs a list of each fold, as {printable(given)}"]
    request = replace(
        request,
        method=settings.method,
        dataset=request.dataset or settings.protocol,
        way=settings.way,
        shot=settings.shot,
        backbone=settings.backbone,
        episodes=given or request.episodes,
    )
    line = _line(request, lacking, here)
    if line != printable(line):
        return [f"# the options of this run hold control characters, so its command is not shown: {printable(line)}"]
    return [line]


def _line(request: RunRequest, folds: str, here: Installation) -> str:
    words = run_words(request, folds, without=_HOW)
    return shlex.join([*words, *(["--out", here.out] if here.out else [])])
