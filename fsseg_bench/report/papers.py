"""Papers and their tables: what ``table.toml`` says that each shows, and the numbers that it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from fsseg_bench.errors import UserError, unknown
from fsseg_bench.protocol.find import builtin_protocols, prepared_protocols
from fsseg_bench.protocol.load import load_protocol
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.protocol.statistics import Metric
from fsseg_bench.report.published import Erratum, FoldOrMean, PrintedSeen, PublishedNumber
from fsseg_bench.report.words import PrintedMetric, plain
from fsseg_bench.schema import Must, Range

Place = tuple[int, FoldOrMean]
"""Shot, and fold or mean."""
TABLES_FILE = "table.toml"
_SCORED: Mapping[PrintedMetric, Metric] = {"mean": "mean", "binary": "binary"}


def _is_name(text: str) -> bool:
    return bool(text) and all(c.isalnum() or c in "-_." for c in text)


def _each_once(values: tuple[object, ...]) -> bool:
    return bool(values) and len(set(values)) == len(values)


NAME = Must("letters, digits, '-', '_' and '.'", _is_name)
"""What a paper, a table or an alias may be called."""
_SET = Must("a list of one or more, each once", _each_once)


@dataclass(frozen=True)
class PaperProtocol:
    """A protocol whose numbers a paper has."""

    name: str
    """As in the column ``protocol``."""
    dataset: str
    """For ``--dataset``."""
    rules: Protocol | None
    """None where only the name is known, so that nothing can be run under it."""
    why: str = ""
    """Why its file cannot be read, where there is one."""


@dataclass(frozen=True, kw_only=True)
class TableSpec:
    """What ``table.toml`` says of one table."""

    title: str
    protocols: Annotated[tuple[str, ...], _SET]
    """Built-in protocols, protocol files (``mine.toml``) beside ``table.toml``, or names of ``without_file``."""
    metric: PrintedMetric
    shots: Annotated[tuple[Annotated[int, Range(least=1)], ...], _SET]
    folds: bool = True
    """Whether single folds have columns, beside the mean."""
    others: bool = True
    """Whether runs of methods that the table does not list get rows."""
    by_scales: bool = False
    """Whether rows are told apart by query scales."""
    alias: Annotated[str, NAME] | Literal[""] = ""
    """A second, shorter name for ``--table``."""


@dataclass(frozen=True, kw_only=True)
class PaperSpec:
    """What ``table.toml`` may hold."""

    title: str
    tables: Mapping[str, TableSpec]
    published: str = ""
    """Where its numbers are from; ``{table}`` stands for the table's name."""
    collected: bool = False
    """Whether its numbers are from many sources: then each row says its kind of source, and nothing is ranked."""
    without_file: tuple[str, ...] = ()
    """Protocols of which only the name is known. Their numbers may be in a table, with nothing measured beside them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PaperTable(TableSpec):
    """One table of a paper."""

    name: str
    paper: Paper = field(repr=False)
    methods: tuple[str, ...] = ()
    """The methods that it is narrowed to, as printed or as they are called here; none: all."""
    backbone: str = ""
    """The backbone that it is narrowed to; empty: all."""

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
        return self.paper.said.published.replace("{table}", self.name) or f"as {self.paper.said.title} prints it"

    @property
    def scored(self) -> Metric | None:
        """Its metric; None where counts of episodes have no such score."""
        return _SCORED.get(self.metric)

    @cached_property
    def rules(self) -> tuple[PaperProtocol, ...]:
        """Its protocols."""
        return tuple(self.paper.protocol(entry) for entry in self.protocols)

    @cached_property
    def places(self) -> tuple[Place, ...]:
        """The columns. A single fold has one beside the mean, which it is, only where its number is printed."""
        names = {p.name for p in self.rules}
        folds = sorted({fold for name in names for fold in self.paper.folds[name]}) if self.folds else []
        if len(folds) == 1 and not any(n.fold != "mean" and n.protocol in names for n in self.paper.numbers):
            folds = []
        columns: list[FoldOrMean] = [*folds, "mean"]
        return tuple((shot, fold) for shot in self.shots for fold in columns)

    @cached_property
    def numbers(self) -> tuple[PublishedNumber, ...]:
        """The numbers that it shows."""
        methods, backbone = set(map(plain, self.methods)), plain(self.backbone)
        return tuple(
            n
            for n in self.paper.numbers
            if n.table in {"", self.name}
            and self.lacks(n) is None
            and (not methods or {plain(n.name), plain(n.method)} & methods)
            and (not backbone or plain(n.backbone) == backbone)
        )

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


def _prepared(name: str) -> PaperProtocol:
    """A protocol whose lists ``data prepare`` writes: its numbers in print need none, so that they may be absent."""
    try:
        return PaperProtocol(name, name, load_protocol(name))
    except UserError as error:
        return PaperProtocol(name, "", None, str(error))


@dataclass(frozen=True, kw_only=True, eq=False)
class Paper:
    """The tables and numbers of one folder."""

    name: str
    """The folder's."""
    folder: Path = field(repr=False)
    said: PaperSpec
    """In its ``table.toml``."""
    numbers: tuple[PublishedNumber, ...] = field(repr=False)
    errata: tuple[Erratum, ...] = field(repr=False)
    seen: Mapping[tuple[str, str], PrintedSeen] = field(repr=False, default_factory=dict)
    """By method and backbone as printed; of others nothing is known."""

    @property
    def file(self) -> Path:
        """Its ``table.toml``."""
        return self.folder / TABLES_FILE

    @cached_property
    def tables(self) -> tuple[PaperTable, ...]:
        """Its tables, in the order of the file."""
        return tuple(PaperTable(**vars(spec), name=name, paper=self) for name, spec in self.said.tables.items())

    @cached_property
    def protocols(self) -> Mapping[str, PaperProtocol]:
        """By name the protocols that its numbers may have."""
        entries = dict.fromkeys(
            (*(e for spec in self.said.tables.values() for e in spec.protocols), *self.said.without_file)
        )
        found: dict[str, PaperProtocol] = {}
        for entry in entries:
            protocol = self.protocol(entry)
            if other := found.get(protocol.name):
                raise UserError(f"{self.file}: {other.dataset} and {entry} are both called {protocol.name}; rename one")
            found[protocol.name] = protocol
        return found

    @cached_property
    def _loaded(self) -> dict[str, PaperProtocol]:
        return {}

    def protocol(self, entry: str) -> PaperProtocol:
        """What an entry of ``protocols`` means; read once."""
        if entry not in self._loaded:
            self._loaded[entry] = self._load(entry)
        return self._loaded[entry]

    def _load(self, entry: str) -> PaperProtocol:
        if entry.endswith(".toml"):
            path = self.folder / entry
            rules = load_protocol(path)
            return PaperProtocol(rules.name, str(path), rules)
        if entry in builtin_protocols():
            return PaperProtocol(entry, entry, load_protocol(entry))
        if entry in prepared_protocols():
            return _prepared(entry)
        if entry in self.said.without_file:
            return PaperProtocol(entry, "", None)
        files = [path.name for path in self.folder.glob("*.toml") if path.name != TABLES_FILE]
        known = [*builtin_protocols(), *self.said.without_file, *files]
        raise unknown("protocol", entry, known, f"{self.file}: protocols")

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
