"""The sweep that a user means by its TOML file or its name."""

from __future__ import annotations

from pathlib import Path

from fsseg_bench.errors import unknown
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
        raise unknown("sweep", name, known, str(root))
    return known[name]
