"""Papers' tables of some methods, backbones, protocols and shots alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from fsseg_bench.report.blocks import printed_rows
from fsseg_bench.report.papers import PaperProtocol, PaperTable


def narrowed(
    tables: Sequence[PaperTable], methods: Sequence[str], where: Mapping[str, str]
) -> tuple[list[PaperTable], list[str]]:
    """The tables with those published rows and columns alone that are asked for, and a note on each that lost some.

    A table that nothing is left of is left out. Conditions that choose among runs alone (a training seed, a setting)
    leave published numbers as they are.

    Args:
        tables: papers' tables.
        methods: as printed, or as methods here are called; none: all.
        where: ``dataset``, ``backbone``, ``way`` and ``shot`` with their values as text; others are ignored.
    """
    found, notes = [], []
    for table in tables:
        made = _narrowed(table, methods, where)
        whole, kept = _rows(table), _rows(made) if made else 0
        found += [made] if made else []
        if kept < whole:
            notes.append(f"{table.heading}: {whole - kept} of {whole} published rows left out")
    return found, notes


def _narrowed(table: PaperTable, methods: Sequence[str], where: Mapping[str, str]) -> PaperTable | None:
    protocols = tuple(
        entry
        for entry, protocol in zip(table.protocols, table.rules, strict=True)
        if "dataset" not in where or where["dataset"] in _names(protocol, entry)
    )
    shots = tuple(shot for shot in table.shots if where.get("shot", str(shot)) == str(shot))
    if not protocols or not shots or where.get("way", "1") != "1":
        return None
    return replace(table, protocols=protocols, shots=shots, methods=tuple(methods), backbone=where.get("backbone", ""))


def _names(protocol: PaperProtocol, entry: str) -> set[str]:
    return {protocol.name, protocol.dataset, entry, *([protocol.rules.label] if protocol.rules else [])}


def _rows(table: PaperTable) -> int:
    return sum(len(printed_rows(table, protocol.name)) for protocol in table.rules)
