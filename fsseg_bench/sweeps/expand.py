"""The cells that a sweep asks for, before anything is planned: grids multiplied, exceptions left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from fsseg_bench.errors import UserError
from fsseg_bench.records.request import RunRequest, protocol_of
from fsseg_bench.sweeps.labels import ALWAYS, label_of, told_apart
from fsseg_bench.sweeps.options import ALL_FOLDS, SET, Lists, Options, given_or_default, request_of
from fsseg_bench.sweeps.spec import Spec
from fsseg_bench.values import text_of

Meant = Callable[[str, Options], tuple[tuple[str, ...], Options]]
"""The methods that a name of ``method`` means for cells of such options, and what options they get beside."""
_OUTER = ("seed", "dataset", "way", "shot", "backbone", "weights")
_INNER = ("method", "fold")
_Key = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Wanted:
    """A cell that is asked for."""

    label: str
    options: Options
    """All of them, but for those that have their defaults."""
    own: tuple[str, ...]
    """Those that are not common to all cells."""

    @property
    def shown(self) -> Options:
        """By name what tells it from other cells."""
        names = dict.fromkeys((*ALWAYS, *self.own))
        return {key.removeprefix(SET): given_or_default(self.options, key) for key in names}


@dataclass(frozen=True)
class Expanded:
    """The cells of a sweep."""

    cells: tuple[Wanted, ...]
    notes: tuple[str, ...]
    """What was asked for twice, and what leaves out nothing."""


def itself(method: str, _options: Options) -> tuple[tuple[str, ...], Options]:
    """A name of ``method`` that means itself."""
    return (method,), {}


def expand(spec: Spec, meant: Meant = itself) -> Expanded:
    """The cells in the order in which they are to be made.

    A table whole for one seed comes before the next seed's, in it method by method and fold by fold; values come in the
    order of their lists, and grids in that of the file.

    Raises:
        UserError: no cell is left, or a protocol that must tell its folds cannot be read.
    """
    grids = [spec.grid or {}] if spec.grid is not None or not spec.also else []
    folds: dict[str, tuple[int, ...]] = {}
    found: dict[_Key, tuple[Options, tuple[str, ...]]] = {}
    asked, twice = 0, 0
    unused = set(range(len(spec.excepted)))
    for lists in (*grids, *spec.also):
        for options, own in _cells(spec.common, lists, meant, folds):
            asked += 1
            hit = [number for number, out in enumerate(spec.excepted) if _matches(options, out)]
            unused -= set(hit)
            if hit:
                continue
            key = key_of(options)
            twice += key in found
            found.setdefault(key, (options, own))
    notes = [f"asked for twice: {twice} of {asked} cells; each is made once"] if twice else []
    notes += [f"[[except]] leaves out nothing: {_words(spec.excepted[number])}" for number in sorted(unused)]
    if not found:
        raise UserError(f"{spec.where}: no cell is left; [[except]] leaves out all {asked}")
    return Expanded(_labelled(list(found.values())), tuple(notes))


def key_of(options: Options) -> _Key:
    """Equal for equal cells, whatever is said of them that is so anyway."""
    return tuple(sorted((key, text_of(value)) for key, value in options.items() if not _default(key, value)))


def trained_as(wanted: Wanted, training: Options) -> Wanted:
    """The cell whose checkpoint ``wanted`` evaluates, where trainings have these options; it may be itself."""
    options, own = {**wanted.options, **training}, tuple(dict.fromkeys((*wanted.own, *training)))
    return Wanted(label_of(options, own), options, own)


def _cells(
    common: Options, lists: Lists, meant: Meant, folds: dict[str, tuple[int, ...]]
) -> Iterator[tuple[Options, tuple[str, ...]]]:
    """Each combination of a grid over what is common, with the methods and folds that are meant; and which of its
    options are its own."""
    others = sorted(lists.keys() - {*_OUTER, *_INNER})
    names = [key for key in (*_OUTER, *others, *_INNER) if key in lists]
    for values in product(*(lists[key] for key in names)):
        options = {**common, **dict(zip(names, values, strict=True))}
        methods, further = meant(options["method"], options)
        for method in methods:
            whole = {**options, **further, "method": method}
            given = whole.get("fold", ALL_FOLDS)
            for fold in _folds(whole, folds) if given == ALL_FOLDS else (given,):
                yield {**whole, "fold": fold}, (*names, *further)


def _folds(options: Options, known: dict[str, tuple[int, ...]]) -> tuple[int, ...]:
    """All folds of a cell's protocol."""
    deciding = {k: v for k, v in options.items() if k in {"dataset", "sources_path"} or k.startswith(f"{SET}protocol.")}
    key = text_of({**deciding})
    if key not in known:
        try:
            known[key] = tuple(protocol_of(request_of(deciding)).folds)
        except UserError:  # planning says so, together with whatever else is wrong
            known[key] = (1,)
    return known[key]


def _matches(options: Options, lists: Lists) -> bool:
    return all(_same(given_or_default(options, key), values) for key, values in lists.items())


def _same(value: Any, values: tuple[Any, ...]) -> bool:
    return value is not None and _number(value) in map(_number, values)


def _number(value: Any) -> Any:
    """A number that is given as text is that number."""
    text = text_of(value)
    try:
        return float(text)
    except ValueError:
        return text


def _labelled(cells: list[tuple[Options, tuple[str, ...]]]) -> tuple[Wanted, ...]:
    labels = told_apart([label_of(*cell) for cell in cells], [options for options, _ in cells])
    return tuple(Wanted(label, *cell) for label, cell in zip(labels, cells, strict=True))


def _default(key: str, value: Any) -> bool:
    return not key.startswith(SET) and value == getattr(RunRequest(), key)


def _words(lists: Mapping[str, tuple[Any, ...]]) -> str:
    return ", ".join(f"{key.removeprefix(SET)} = {' or '.join(map(text_of, values))}" for key, values in lists.items())
