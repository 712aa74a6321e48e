"""The sweep that fills a paper's table: its TOML file, for ``fsseg-bench sweep``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from fsseg_bench.errors import UserError
from fsseg_bench.records.request import RunRequest
from fsseg_bench.report.blocks import printed_rows
from fsseg_bench.report.commands import Installation, absent_words, row_requests
from fsseg_bench.report.find_papers import find_tables, papers
from fsseg_bench.report.model import printable
from fsseg_bench.report.papers import PaperTable

_WIDTH = 118
_REST = """\
# What one cell needs; all of it may be left out.
# [cell]
# gpus = 1
# gpu_memory_gib = 12    # so that several cells share a GPU
# threads = 4            # that compute on the CPU: sums are rounded by it, so that it is the same on any machine
# workers = 4
# memory_gib = 16
# minutes = 240          # a limit of the batch system: a cell goes on from its checkpoint
# retries = 2

# For --on slurm; whatever else is here goes to sbatch.
# [slurm]
# partition = "gpu"
# at_once = 16
"""


def table_sweep(paper: str, table: str, here: Installation, papers_path: Path | str | None = None) -> str:
    """The TOML file of a sweep that makes each row of a paper's table whose method and backbone are ``here``.

    Every row is made as :func:`fsseg_bench.report.commands.paper_commands` says, on all folds: single folds that a
    paper does not print have a part in the mean that it does.

    Args:
        paper: its name, as ``biopt``.
        table: of the paper, as ``1``.
        here: what can be run.
        papers_path: a folder with further papers.

    Raises:
        UserError: an unknown table, or none of its rows can be made here.
    """
    (found,) = find_tables([f"{paper}:{table}"], papers(papers_path))
    requests, absent = _rows(found, here)
    if not requests:
        rows = ", ".join(map(printable, absent)) or "none"
        raise UserError(f"{found.full_name}: none of its rows can be made here; it has {rows}")
    return "\n".join([*_head(found, requests, absent), *_tables(requests), _REST])


def _rows(table: PaperTable, here: Installation) -> tuple[list[RunRequest], list[str]]:
    """A request for each printed row and shot that can be made, whatever its fold; and the other rows in words."""
    requests: list[RunRequest] = []
    absent: dict[str, None] = {}
    for protocol in table.rules:
        for row in printed_rows(table, protocol.name):
            shots = sorted({shot for shot, _ in row.numbers})
            made = row_requests(table, protocol, row.first, shots, here)
            requests += [request for request in made if request not in requests]
            if not made:
                absent[absent_words(protocol, row.first)] = None
    return requests, list(absent)


def _head(table: PaperTable, requests: Sequence[RunRequest], absent: Sequence[str]) -> list[str]:
    folds = {protocol.dataset: len(table.paper.folds[protocol.name]) for protocol in table.rules}
    cells = sum(folds[request.dataset] for request in requests)
    counts = " and ".join(
        f"{sum(request.dataset == dataset for request in requests)} x {count} folds on {Path(dataset).stem}"
        for dataset, count in folds.items()
        if any(request.dataset == dataset for request in requests)
    )
    lines = [
        *_comment(printable(table.title)),
        *_comment(f"{cells} cells for each training seed: methods, backbones and shots, {counts}."),
    ]
    if absent:
        lines += _comment(
            f"Not made, since there is no such method, backbone or protocol here: {printable(', '.join(absent))}."
        )
    lines += [
        "",
        f"name = {_toml(f'{table.paper.name}-{table.name}')}",
        "",
        "[common]",
        '# data_root = "..."     # the folder of the data sets: say it here, or in FSSEG_DATA, before it is planned',
        "seed = 0                 # several: take this line out, and write seed = [0, 1, 2] into each table below",
    ]
    return lines


def _tables(requests: Sequence[RunRequest]) -> list[str]:
    """One table for methods that have data set, backbone, scales and shots in common."""
    shots: dict[tuple[str, str, tuple[float, ...], str], list[int]] = {}
    for r in requests:
        shots.setdefault((r.dataset, str(r.backbone), r.scales, r.method), []).append(r.shot)
    groups: dict[tuple[str, str, tuple[float, ...], tuple[int, ...]], list[str]] = {}
    for (dataset, backbone, scales, method), found in shots.items():
        groups.setdefault((dataset, backbone, scales, tuple(found)), []).append(method)
    lines = []
    for (dataset, backbone, scales, own), methods in groups.items():
        lines += ["", "[[also]]", f"dataset = {_toml(dataset)}", f"backbone = {_toml(backbone)}"]
        lines += [f"method = {_toml(methods)}", f"shot = {_toml(own)}"]
        lines += [f"scales = [{_toml(scales)}]"] if scales != RunRequest().scales else []
    return [*lines, ""]


def _toml(value: object) -> str:
    """A value as TOML writes it: as JSON does, for text, numbers and lists of them."""
    return json.dumps(value, ensure_ascii=False)


def _comment(text: str) -> list[str]:
    lines, line = list[str](), "#"
    for word in text.split():
        if len(line) + 1 + len(word) > _WIDTH and line != "#":
            lines, line = [*lines, line], "#"
        line += f" {word}"
    return [*lines, line]
