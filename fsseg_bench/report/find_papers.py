"""Finds papers in folders, the package's and the user's, and their tables by name."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from fsseg_bench.errors import UserError, unknown
from fsseg_bench.paths import folder, regular
from fsseg_bench.report.papers import NAME, TABLES_FILE, Paper, PaperSpec, PaperTable
from fsseg_bench.report.published import read_errata, read_numbers, read_seen
from fsseg_bench.schema import parse

ALL = "all"
RUNS = "runs"
"""Names that ``--table`` takes beside those of papers and tables."""


def papers(papers_path: Path | str | None = None) -> tuple[Paper, ...]:
    """The papers of the package, then the user's: a folder each in ``papers_path`` (None: ``FSSEG_PAPERS_PATH``).

    Raises:
        UserError: no such folder, two papers or tables of one name, or a wrong value in a file; names file, line or
            key, and what is allowed.
    """
    found = _builtin()
    given = papers_path or os.environ.get("FSSEG_PAPERS_PATH")
    if given:
        found = (*found, *_papers_in(Path(given).expanduser(), f"--papers-path {given}"))
    names: dict[str, str] = dict.fromkeys((ALL, RUNS), "a word of --table")
    for paper in found:
        where = str(paper.folder)
        for name in (paper.name, *(n for table in paper.tables for n in (table.full_name, table.alias) if n)):
            if name in names:
                raise UserError(f"{paper.file}: the name {name!r} is taken by {names[name]}; choose another")
            names[name] = where
    return found


def find_tables(names: Iterable[str], known: Sequence[Paper]) -> list[PaperTable]:
    """The tables of these names, in the order of the papers.

    A name is that of a paper (all its tables), of a table (``biopt:1``), an alias, or :data:`ALL`.

    Raises:
        UserError: an unknown name.
    """
    by_name: dict[str, list[PaperTable]] = {ALL: [table for paper in known for table in paper.tables]}
    for paper in known:
        by_name[paper.name] = list(paper.tables)
        for table in paper.tables:
            by_name |= {name: [table] for name in (table.full_name, table.alias) if name}
    names = list(names)
    for name in names:
        if name not in by_name:
            raise unknown("table", name, [*by_name, RUNS])
    wanted = {table for name in names for table in by_name[name]}
    return [table for table in by_name[ALL] if table in wanted]


@cache
def _builtin() -> tuple[Paper, ...]:
    found = _papers_in(folder("results/published"), "results/published")
    # the paper whose tables are called by their numbers first; the others by their names
    return tuple(sorted(found, key=lambda paper: not any(table.alias for table in paper.tables)))


def _papers_in(home: Path, name: str) -> Iterator[Paper]:
    if not home.is_dir():
        raise UserError(f"{name}: no such folder")
    places = sorted(place for place in home.iterdir() if place.is_dir() and not place.name.startswith((".", "_")))
    if not places:
        inside = f"; give the folder that {home} lies in" if (home / TABLES_FILE).is_file() else ""
        raise UserError(f"{name}: holds no folder of a paper (with {TABLES_FILE} and numbers.csv){inside}")
    for place in places:
        yield _paper(place)


def _paper(place: Path) -> Paper:
    file = place / TABLES_FILE
    said = parse(PaperSpec, _read_toml(file), file)
    for name in (place.name, *said.tables):
        if not NAME.fits(name):
            raise UserError(f"{file}: {name!r} cannot name a paper or a table; use {NAME.words}")
    errata, seen = place / "errata.csv", place / "seen.csv"
    paper = Paper(
        name=place.name,
        folder=place,
        said=said,
        numbers=read_numbers(place / "numbers.csv"),
        errata=read_errata(errata) if errata.exists() else (),
        seen=read_seen(seen) if seen.exists() else {},
    )
    _check(paper)
    return paper


def _read_toml(file: Path) -> Mapping[str, object]:
    try:
        return tomllib.loads(regular(file).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file}: not valid TOML in UTF-8: {error}") from None


def _check(paper: Paper) -> None:
    """Whether each number and erratum has a place.

    A number that names its table must fit it. Another may be in no table (2-way, or shots that the source does not
    state), but only under a protocol that ``table.toml`` knows, so that a misspelt one is not left out in silence.
    """
    tables = {table.name: table for table in paper.tables}
    for number in paper.numbers:
        if number.protocol not in paper.protocols:
            raise unknown("protocol", number.protocol, paper.protocols, f"{number.where}, column protocol")
        folds = paper.folds[number.protocol]
        if number.fold != "mean" and number.fold not in folds:
            raise UserError(
                f"{number.where}, column fold: {number.fold} is no fold of {number.protocol}; use mean or "
                f"{', '.join(map(str, folds))}"
            )
        if number.table and number.table not in tables:
            raise unknown("table", number.table, tables, f"{number.where}, column table")
        if number.table and (wrong := tables[number.table].lacks(number)):
            column, allowed = wrong
            raise UserError(
                f"{number.where}, column {column}: {getattr(number, column)} has no place in table {number.table}; use "
                f"{allowed}, or correct {paper.file}"
            )
    rows = {(number.method, number.backbone) for number in paper.numbers}
    for row, printed in paper.seen.items():
        if row not in rows:
            raise UserError(f"{printed.where}: {paper.name}/numbers.csv has no row of {row[0]} on {row[1]}")
    for erratum in paper.errata:
        if erratum.table is not None and erratum.table not in tables:
            raise unknown("table", erratum.table, tables, f"{erratum.where}, column table")
