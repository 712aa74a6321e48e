"""What the columns of an episode list are, by their names."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

_NOUN = (
    "(?:_?(?:(?:img|image)_)?"
    "(?:names?|imgs?|images?|ids?|idx|index|files?|filenames?|fnames?|paths?|basenames?|stems?))?"
)
_NUMBERS = r"(?:_?(?P<first>[0-9]{1,4}))?(?:_(?P<second>[0-9]{1,4}))?"
_ROLES = {
    "masks": r"(?:query|qry|q|supports?|supp|sup|spt|s)_.*(?:mask|label|gt|anno|seg).*",
    "query": f"(?:query|qry|que|q){_NOUN}",
    "support": f"(?:supports?|supp|sup|spt|s)(?:_set)?{_NOUN}{_NUMBERS}{_NOUN}",
    "fold from 0": "(?:fold|split)_?0(?:_based)?",
    "fold": "(?:test_|val_)?(?:fold|split)(?:_?(?:id|idx|index|no|number|num))?",
    "class": (
        "(?:novel_|sampled_|semantic_|object_|query_)?(?:class|classes|cls|category|cat|label|target)"
        f"(?:_?(?:ids?|idx|index|names?|label|no|number|num|sample))?{_NUMBERS}"
    ),
    "shot": "(?:n_?|num_?)?shots?|k(?:_?shots?)?",
    "way": "(?:n_?|num_?)?ways?",
    "number": (
        "|unnamed_0|index|idx|id|i|no|nr|num|number|row|ep|sample|trial|iter|iteration|step"
        "|(?:episode|task)(?:_?(?:id|idx|index|no|number|num))?"
    ),
}
"""What a column is, by the pattern of its name in lower case with ``_`` for all other signs; the first that fits."""

_Numbered = tuple[tuple[int, ...], int]
"""The numbers in a column's name, and where the column is."""

SKIP = "-"
"""Stands for a column that does not matter, where the columns are named by the user."""


@dataclass(frozen=True)
class Columns:
    """Where in a row everything is; numbers are columns, from 0."""

    fold: int | None
    fold_from_0: bool
    """Whether the name of the column says that folds are counted from 0."""
    shot: int | None
    way: int | None
    classes: tuple[tuple[int, ...], ...]
    """For each way the columns that say its class: one, or several that say it in different ways."""
    query: int
    supports: tuple[tuple[int, ...], ...]
    """For each way the columns of its supports: one each, or all in one."""
    numbers: tuple[int, ...]
    """Columns that only count the rows."""
    masks: tuple[int, ...]
    """Columns of mask files."""
    unknown: tuple[int, ...]


class ColumnsError(Exception):
    """The names do not say where class, query and supports are; the text says what is missing."""


def columns_of(names: Sequence[str]) -> Columns:
    """What the columns of these names are.

    Raises:
        ColumnsError: no query, no class, no supports; or several columns for one thing.
    """
    found: dict[str, list[_Numbered]] = defaultdict(list)
    for column, name in enumerate(names):
        role, numbers = _role(name)
        found[role].append((numbers, column))
    folds = found["fold"] + found["fold from 0"]
    for role, those in (("query", found["query"]), ("fold", folds), ("shot", found["shot"]), ("way", found["way"])):
        if len(those) > 1:
            raise ColumnsError(f"{', '.join(repr(names[column]) for _, column in those)} all seem to be the {role}")
    if lacking := [role for role in ("class", "query", "support") if not found[role]]:
        raise ColumnsError(f"no column seems to be the {' or the '.join(lacking)}")
    classes = _by_way(found["class"])

    def all_of(role: str) -> tuple[int, ...]:
        return tuple(column for _, column in found[role])

    def first(columns: Sequence[_Numbered]) -> int | None:
        return columns[0][1] if columns else None

    return Columns(
        fold=first(folds),
        fold_from_0=bool(found["fold from 0"]),
        shot=first(found["shot"]),
        way=first(found["way"]),
        classes=classes,
        query=found["query"][0][1],
        supports=_supports(found["support"], len(classes), names),
        numbers=all_of("number"),
        masks=all_of("masks"),
        unknown=all_of("unknown"),
    )


def _role(name: str) -> tuple[str, tuple[int, ...]]:
    """What a column is, and the numbers in its name."""
    if name.strip() == SKIP:
        return "skipped", ()
    plain = re.sub("[^a-z0-9]+", "_", name.strip().lower()).strip("_")
    for role, pattern in _ROLES.items():
        if match := re.fullmatch(pattern, plain):
            given = match.groupdict()
            return role, tuple(int(given[key]) for key in ("first", "second") if given.get(key))
    return "unknown", ()


def _by_way(found: Sequence[_Numbered]) -> tuple[tuple[int, ...], ...]:
    """Columns of equal number belong to one way; without numbers all are of the only one."""
    ways: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for numbers, column in found:
        ways[numbers].append(column)
    if len(ways) > 1 and () in ways:
        raise ColumnsError("some class columns are numbered and some are not")
    return tuple(tuple(ways[numbers]) for numbers in sorted(ways))


def _supports(found: Sequence[_Numbered], ways: int, names: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    pairs = sorted(found) if len({numbers for numbers, _ in found}) == len(found) else list(found)
    double = [numbers for numbers, _ in pairs if len(numbers) == 2]
    if not double:
        if ways > 1:
            raise ColumnsError(f"supports of {ways} ways need columns support_1_1 .. support_{ways}_K")
        numbers = [of_column[0] for of_column, _ in pairs if of_column]
        start = numbers[0] - (len(pairs) - len(numbers)) if numbers else 0  # pandas: support, support.1, support.2
        if numbers and (start not in {0, 1} or numbers != list(range(numbers[0], numbers[0] + len(numbers)))):
            raise ColumnsError(
                f"the supports {', '.join(names[column] for _, column in pairs)} are not numbered 1, 2, ..."
            )
        return (tuple(column for _, column in pairs),)
    if len(double) < len(pairs):
        raise ColumnsError("some support columns have two numbers and some do not")
    by_way: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for (way, shot), column in pairs:
        by_way[way].append((shot, column))
    shots = {tuple(shot for shot, _ in of_way) for of_way in by_way.values()}
    if len(by_way) != ways or len(shots) > 1 or not _in_order(sorted(by_way)) or not _in_order(next(iter(shots))):
        raise ColumnsError(f"support columns of {len(by_way)} ways do not fit {ways} classes, or numbers are left out")
    return tuple(tuple(column for _, column in by_way[way]) for way in sorted(by_way))


def _in_order(numbers: Sequence[int]) -> bool:
    return list(numbers) in (list(range(len(numbers))), list(range(1, len(numbers) + 1)))
