"""Papers and their tables, read from folders: ``table.toml`` says what each table shows, CSV files hold the numbers."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

from fsseg_bench.errors import UserError, unknown
from fsseg_bench.paths import folder, regular
from fsseg_bench.protocol.load import builtin_protocols, load_protocol
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.protocol.statistics import Metric
from fsseg_bench.report.published import Erratum, FoldOrMean, PublishedNumber, read_errata, read_numbers
from fsseg_bench.schema import parse

Place = tuple[int, FoldOrMean]
"""Shot, and fold or mean."""
ALL = "all"
RUNS = "runs"
"""Names that ``--table`` takes beside those of papers and tables."""
_TABLES = "table.toml"


@dataclass(frozen=True)
class PaperProtocol:
    """A protocol whose numbers a paper has."""

    name: str
    """As in the column ``protocol``."""
    dataset: str
    """For ``--dataset``."""
    rules: Protocol | None
    """None where only the name is known, so that nothing can be run under it."""


@dataclass(frozen=True, kw_only=True)
class TableSpec:
    """What ``table.toml`` says of one table."""

    title: str
    protocols: tuple[str, ...]
    """Built-in protocols, protocol files (``mine.toml``) beside ``table.toml``, or names of ``without_file``."""
    metric: Metric
    shots: tuple[int, ...]
    folds: bool = True
    """Whether single folds have columns, beside the mean."""
    others: bool = True
    """Whether runs of methods that the table does not list get rows."""
    by_scales: bool = False
    """Whether rows are told apart by query scales."""
    alias: str = ""
    """A second, shorter name for ``--table``."""


@dataclass(frozen=True, kw_only=True)
class _PaperFile:
    """What ``table.toml`` may hold."""

    title: str
    tables: Mapping[str, TableSpec]
    published: str = ""
    collected: bool = False
    without_file: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class PaperTable(TableSpec):
    """One table of a paper."""

    name: str
    paper: Paper = field(repr=False)

    @property
    def full_name(self) -> str:
        """For ``--table``: ``biopt:1``."""
        return f"{self.paper.name}:{self.name}"

    @property
    def label(self) -> str:
        """The name in files: LaTeX labels, macros, the CSV's first column."""
        return f"table-{self.alias}" if self.alias else f"{self.paper.name}-{self.name}"

    @property
    def heading(self) -> str:
        """What a sentence calls it."""
        return f"Table {self.alias}" if self.alias else self.full_name

    @property
    def published(self) -> str:
        """Where its numbers are from, after the word "published"."""
        return self.paper.published.replace("{table}", self.name) or f"as {self.paper.title} prints it"

    @cached_property
    def rules(self) -> tuple[PaperProtocol, ...]:
        """Its protocols."""
        return tuple(self.paper.protocol(entry) for entry in self.protocols)

    @cached_property
    def places(self) -> tuple[Place, ...]:
        """The columns."""
        folds = sorted({fold for p in self.rules for fold in self.paper.folds[p.name]}) if self.folds else []
        columns: list[FoldOrMean] = [*folds, "mean"]
        return tuple((shot, fold) for shot in self.shots for fold in columns)

    @cached_property
    def numbers(self) -> tuple[PublishedNumber, ...]:
        """The numbers that it shows."""
        return tuple(n for n in self.paper.numbers if n.table in {"", self.name} and self.lacks(n) is None)

    def lacks(self, number: PublishedNumber) -> tuple[str, str] | None:
        """The first column by which a number has no place in the table, and what is allowed there; None: it has one."""
        wanted: dict[str, Sequence[object]] = {
            "protocol": [p.name for p in self.rules],
            "metric": [self.metric],
            "way": [1],
            "shot": self.shots,
            "fold": list(dict.fromkeys(fold for _, fold in self.places)),
        }
        for column, allowed in wanted.items():
            if getattr(number, column) not in allowed:
                return column, ", ".join(map(str, allowed))
        return None


@dataclass(frozen=True, kw_only=True, eq=False)
class Paper:
    """The tables and numbers of one folder."""

    name: str
    """The folder's."""
    folder: Path = field(repr=False)
    title: str
    published: str
    """Where its numbers are from; ``{table}`` stands for the table's name."""
    collected: bool
    """Whether its numbers are from many sources: then each row says its kind of source, and nothing is ranked."""
    without_file: tuple[str, ...]
    """Protocols of which only the name is known. Their numbers may be in a table, with nothing measured beside them."""
    specs: Mapping[str, TableSpec] = field(repr=False)
    numbers: tuple[PublishedNumber, ...] = field(repr=False)
    errata: tuple[Erratum, ...] = field(repr=False)

    @property
    def file(self) -> Path:
        """Its ``table.toml``."""
        return self.folder / _TABLES

    @cached_property
    def tables(self) -> tuple[PaperTable, ...]:
        """Its tables, in the order of the file."""
        return tuple(PaperTable(**vars(spec), name=name, paper=self) for name, spec in self.specs.items())

    @cached_property
    def protocols(self) -> Mapping[str, PaperProtocol]:
        """By name the protocols that its numbers may have."""
        entries = dict.fromkeys((*(e for spec in self.specs.values() for e in spec.protocols), *self.without_file))
        found: dict[str, PaperProtocol] = {}
        for entry in entries:
            protocol = self.protocol(entry)
            if other := found.get(protocol.name):
                raise UserError(f"{self.file}: {other.dataset} and {entry} are both called {protocol.name}; rename one")
            found[protocol.name] = protocol
        return found

    def protocol(self, entry: str) -> PaperProtocol:
        """What an entry of ``protocols`` means."""
        if entry.endswith(".toml"):
            path = self.folder / entry
            rules = load_protocol(path)
            return PaperProtocol(rules.name, str(path), rules)
        if entry in builtin_protocols():
            return PaperProtocol(entry, entry, load_protocol(entry))
        if entry in self.without_file:
            return PaperProtocol(entry, "", None)
        known = [*builtin_protocols(), *self.without_file, *(path.name for path in self._protocol_files())]
        raise unknown("protocol", entry, known, f"{self.file}: protocols")

    def _protocol_files(self) -> list[Path]:
        return [path for path in self.folder.glob("*.toml") if path.name != _TABLES]

    @cached_property
    def folds(self) -> Mapping[str, tuple[int, ...]]:
        """By protocol its folds; of one without a file those up to the last that is printed."""
        last: dict[str, int] = {}
        for n in self.numbers:
            last[n.protocol] = max(last.get(n.protocol, 0), 0 if n.fold == "mean" else n.fold)
        return {
            name: tuple(p.rules.folds if p.rules else range(1, last.get(name, 0) + 1))
            for name, p in self.protocols.items()
        }


def papers(papers_path: Path | str | None = None) -> tuple[Paper, ...]:
    """The papers of the package, then those of a folder of the user's.

    Args:
        papers_path: a folder with one folder for each paper; None: ``FSSEG_PAPERS_PATH``, where it is set.

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

    Args:
        names: each the name of a paper (all its tables), of a table (``biopt:1``), an alias, or :data:`ALL`.
        known: the papers.

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
    return tuple(_papers_in(folder("results/published"), "results/published"))


def _papers_in(home: Path, name: str) -> Iterator[Paper]:
    if not home.is_dir():
        raise UserError(f"{name}: no such folder")
    places = sorted(place for place in home.iterdir() if place.is_dir() and not place.name.startswith((".", "_")))
    if not places:
        inside = f"; give the folder that {home} lies in" if (home / _TABLES).is_file() else ""
        raise UserError(f"{name}: holds no folder of a paper (with {_TABLES} and numbers.csv){inside}")
    for place in places:
        yield _paper(place)


def _paper(place: Path) -> Paper:
    file = place / _TABLES
    said = parse(_PaperFile, _read_toml(file), file)
    errata = place / "errata.csv"
    paper = Paper(
        name=place.name,
        folder=place,
        title=said.title,
        published=said.published,
        collected=said.collected,
        without_file=said.without_file,
        specs=said.tables,
        numbers=read_numbers(place / "numbers.csv"),
        errata=read_errata(errata) if errata.exists() else (),
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
    """Whether names can be names, lists are not empty, and each number has a place.

    A number that names its table must fit it. Another may be in no table (2-way, or shots that the source does not
    state), but only under a protocol that ``table.toml`` knows, so that a misspelt one is not left out in silence.
    """
    for name in (paper.name, *paper.specs, *(spec.alias for spec in paper.specs.values() if spec.alias)):
        if not name or not all(c.isalnum() or c in "-_." for c in name):
            raise UserError(f"{paper.file}: {name!r} cannot be a name; use letters, digits, '-', '_', '.'")
    for table in paper.tables:
        where = f"{paper.file}: tables.{table.name}"
        if not table.protocols or len(set(table.protocols)) < len(table.protocols):
            raise UserError(f"{where}.protocols is {list(table.protocols)}; give one or more, each once")
        if not table.shots or min(table.shots) < 1 or len(set(table.shots)) < len(table.shots):
            raise UserError(f"{where}.shots is {list(table.shots)}; give one or more numbers from 1, each once")
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
    for erratum in paper.errata:
        if erratum.table is not None and erratum.table not in tables:
            raise unknown("table", erratum.table, tables, f"{erratum.where}, column table")
