"""What became of a sweep's cells, as a frame."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fsseg_bench.sweeps.find import find_sweep
from fsseg_bench.sweeps.states import states_of
from fsseg_bench.sweeps.table import states_frame

if TYPE_CHECKING:
    import pandas as pd


def sweep_status(sweep: str | Path, out: str | Path | None = None) -> pd.DataFrame:
    """What became of each cell of a sweep: a row for each, from records and locks alone, without torch.

    Args:
        sweep: its TOML file, or its name.
        out: the folder of the records; None: as the file says, else ``FSSEG_RESULTS``, else ``results/runs``.

    Returns:
        As :func:`fsseg_bench.sweeps.table.states_frame`: the ``state`` is ``done``, ``running``, ``waiting``,
        ``stopped``, ``failed`` or ``gave up``.

    Raises:
        UserError: no such sweep was planned.
    """
    return states_frame(states_of(find_sweep(sweep, out)))
