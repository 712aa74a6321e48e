"""The sweep that a user means by its TOML file or its name."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

from fsseg_bench.errors import UserError, unknown
from fsseg_bench.paths import results_root
from fsseg_bench.sweeps.plan import PLAN_FILE, SWEEPS
from fsseg_bench.sweeps.spec import read_spec


def sweeps_in(root: Path) -> list[Path]:
    """The folders of all planned sweeps among the records in ``root``, by name."""
    return sorted(path.parent for path in (root / SWEEPS).glob(f"*/{PLAN_FILE}"))


def find_sweep(given: Path | str, out: Path | str | None = None) -> Path:
    """The folder of a sweep that was planned.

    Args:
        given: its TOML file (what ends in ``.toml``), or its name.
        out: the folder of records; None: what the file says, else ``FSSEG_RESULTS``, else ``results/runs``.

    Raises:
        UserError: the file cannot be read, or no sweep of this name was planned there; names near matches.
    """
    name = str(given)
    if name.endswith(".toml"):
        spec = read_spec(name)
        name, out = spec.name, out if out is not None else spec.out
    root = results_root(out)
    known = {folder.name: folder for folder in sweeps_in(root)}
    if name not in known:
        raise _not_planned(given, name, known, root)
    return known[name]


def _not_planned(given: Path | str, name: str, known: Iterable[str], root: Path) -> UserError:
    """Of a file it is known what plans it; of a name, what there is."""
    place = root.absolute()
    if str(given).endswith(".toml"):
        begin = f"'fsseg-bench sweep {shlex.quote(str(given))}' plans it first, and is perhaps at it"
        return UserError(f"{given}: sweep {name!r} is not planned in {place}; {begin}. Planned elsewhere? --out FOLDER")
    words = unknown("sweep", name, known, str(place))
    return UserError(f"{words} Records elsewhere? --out FOLDER; or name the sweep's TOML file")
