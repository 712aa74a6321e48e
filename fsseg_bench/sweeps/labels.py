"""Names of a sweep's cells: readable, fit for files, and the same whatever other cells there are."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from fsseg_bench.sweeps.options import SET, Options, given_or_default
from fsseg_bench.values import text_of

LONGEST: Final = 120
ALWAYS: Final = ("method", "dataset", "shot", "fold", "seed")
"""Options that each label names."""
_DIGITS = 8
_UNFIT = re.compile(r"[^A-Za-z0-9._=-]+")


def label_of(options: Options, varied: Sequence[str]) -> str:
    """``panet-coco20i-a-1shot-fold3-seed0-recipe.lr=0.01``.

    Args:
        options: all of the cell's.
        varied: those of them that are the cell's own, and not those of all.
    """
    given = {key: given_or_default(options, key) for key in (*ALWAYS, "way")}
    parts = [_fit(given["method"]), _fit(_dataset(given["dataset"]))]
    parts += [f"{given['way']}way"] if given["way"] != 1 else []
    parts += [f"{given['shot']}shot", f"fold{given['fold']}", f"seed{given['seed']}"]
    others = sorted(set(varied) - given.keys(), key=lambda key: key.removeprefix(SET))
    parts += [f"{_fit(key.removeprefix(SET))}={_fit(text_of(options[key]))}" for key in others]
    return _short("-".join(parts))


def stage_label(name: str, needed_by: str) -> str:
    """Of the cell that trains the stage ``name``, from the label of the first cell that needs it."""
    return _short(f"stage-{name}-{needed_by}")


def told_apart(labels: Sequence[str], cells: Sequence[Options]) -> list[str]:
    """The labels of different cells; those that are alike, also where a file system takes ``A`` for ``a``, get digits
    of what the cell is."""
    alike = Counter(label.casefold() for label in labels)
    return [
        label if alike[label.casefold()] == 1 else _short(f"{label}-{_digits(sorted(options.items()))}")
        for label, options in zip(labels, cells, strict=True)
    ]


def _dataset(given: str) -> str:
    """The name, or that of the file; files of one name in two folders are two."""
    if not given.endswith(".toml") and "/" not in given:
        return given
    path = Path(given)
    return f"{path.stem}-{_digits(given)[:4]}"


def _fit(text: str) -> str:
    """``text`` as a part of a file's name; digits tell apart what looks alike then."""
    fit = _UNFIT.sub("_", text)
    return fit if fit == text else f"{fit.strip('_')[-30:]}-{_digits(text)[:4]}"


def _short(label: str) -> str:
    return label if len(label) <= LONGEST else f"{label[: LONGEST - _DIGITS - 1]}-{_digits(label)}"


def _digits(content: Any) -> str:
    return hashlib.sha256(repr(content).encode()).hexdigest()[:_DIGITS]
