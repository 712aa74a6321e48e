"""What is left to do of a run, by its record."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from fsseg_bench.engine.device import backend_of, default_threads, resolve_device
from fsseg_bench.errors import UserError
from fsseg_bench.paths import results_root
from fsseg_bench.records.info import (
    CHECKPOINT_FILE,
    EPISODES_FILE,
    RUN_FILE,
    TRAIN_FILE,
    RunInfo,
    Status,
    read_info,
    run_folder,
)
from fsseg_bench.records.lines import count_lines
from fsseg_bench.records.request import RunRequest
from fsseg_bench.records.settings import RunSettings

_LOGS = {"train": TRAIN_FILE, "evaluate": EPISODES_FILE}


@dataclass(frozen=True)
class Left:
    """How far a run is, without a look into its logs: a damaged line shows when the run goes on."""

    steps: Mapping[str, int]
    """Steps of stages, training steps and episodes that are left: ``stage NAME``, ``train``, ``evaluate``; what is done
    has no entry."""
    folder: Path | None = None
    """Where its record is or will be; None where its identity is not known."""
    status: Status = "new"
    threads: int | None = None
    """That computed on the CPU when it was begun, and go on with what is left; None where a GPU did, or does now."""


def left_of(
    settings: RunSettings, request: RunRequest, episodes: int, stages: Mapping[str, int] = MappingProxyType({})
) -> Left:
    """What is left of the run with ``settings``, which has so many ``episodes``; and of ``stages`` if it needs them."""
    folder = run_folder(results_root(request.out), settings)
    whole = {"train": settings.iterations or 0, "evaluate": episodes}
    if not request.fresh and (folder / RUN_FILE).is_file():
        with suppress(UserError):  # the run itself says what is wrong with its record
            info = read_info(folder / RUN_FILE)
            status = info.status
            done = whole if status == "done" else {name: count_lines(folder / log) for name, log in _LOGS.items()}
            steps = {name: n - done[name] for name, n in whole.items() if n > done[name]}
            if status != "done" and not (folder / CHECKPOINT_FILE).exists():  # which has the stages' networks
                steps = {**stages, **steps}
            return Left(steps, folder, status, None if status == "done" else _threads(info, request))
    return Left({**stages, **{name: n for name, n in whole.items() if n}}, folder)


def _threads(info: RunInfo, request: RunRequest) -> int | None:
    with suppress(UserError):
        if not backend_of(resolve_device(request.device)).is_gpu:
            return info.cpu_threads
    return None


def threads_words(left: Left) -> str:
    """What to say of the threads of a run that goes on; nothing where they are what this process would take anyway."""
    own = default_threads()
    if left.threads in {None, own}:
        return ""
    return (
        f"{left.folder}: goes on with {left.threads} thread{'s' * (left.threads != 1)} on the CPU, as it was begun "
        f"({own} by default now; with --threads {own} sums would be rounded otherwise)"
    )
