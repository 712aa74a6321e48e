"""How many runs of a command are made at a time, on which device, and with how many threads each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from fsseg_bench.engine.device import backend_of, default_threads, resolve_device
from fsseg_bench.engine.distributed import processes
from fsseg_bench.engine.share import Jobs
from fsseg_bench.errors import UserError
from fsseg_bench.machine.limits import usable_cores
from fsseg_bench.machine.share import ALONE, Share
from fsseg_bench.records.request import RunRequest


@dataclass(frozen=True)
class Slots:
    """Where runs are made at the same time."""

    environments: tuple[Mapping[str, str], ...] = ({},)
    """Of each: what the environment of its process has beside this one's."""
    threads: int | None = None
    """That compute on the CPU, of each; None: as the request says, or PyTorch."""
    share: Share = ALONE
    """What of the machine each may take."""
    note: str = ""
    """What to say of them."""

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.environments)

    def given(self, request: RunRequest, begun: int | None = None) -> RunRequest:
        """The request with the threads that its run was ``begun`` with, or else of a slot, unless it names them."""
        return replace(request, threads=request.threads or begun or self.threads)


ONE_SLOT = Slots()
"""Runs are made one after the other, in this process."""


def slots_for(jobs: Jobs, runs: Sequence[RunRequest], fitting: Callable[[int], int] = lambda count: count) -> Slots:
    """The slots for the runs that are left of a command.

    Args:
        jobs: what was asked for. ``auto``: one a core where the CPU computes, one a GPU elsewhere.
        runs: what is to be made; all on one device.
        fitting: how many of so many at a time there is memory for on the CPU; asked where ``jobs`` is ``auto``.

    Raises:
        UserError: no such device here; or torchrun started several processes, which make one run together.
    """
    together = processes().size
    if together > 1 and jobs not in {1, "auto"}:
        raise UserError(
            f"--jobs {jobs}: torchrun started {together} processes, which make one run at a time together; leave it "
            "out, or start the command without torchrun"
        )
    if jobs == 1 or len(runs) < 2 or together > 1:
        return ONE_SLOT
    device = resolve_device(runs[0].device)
    backend = backend_of(device)
    devices = 1 if device.index is not None or not backend.is_gpu else backend.count()
    wanted = jobs if jobs != "auto" else devices if backend.is_gpu else usable_cores()
    count = max(min(wanted, len(runs)), 1)
    note = ""
    if jobs == "auto" and not backend.is_gpu and (fits := max(fitting(count), 1)) < count:
        count, note = fits, f"; for {wanted} there is not enough memory"
    if count == 1:
        why = "a GPU makes one at a time" if backend.is_gpu else "this process may use one core"
        return Slots(note=f"--jobs auto: one run at a time{note or f', since {why}'}")
    used = min(devices, count)
    threads = max(min(default_threads(), usable_cores() // count), 1)
    where = f", on {used} GPUs" if used > 1 else ", all on one GPU" if backend.is_gpu else ""
    each = runs[0].threads or threads
    return Slots(
        # with an index the device is the same for all, and must keep its number
        tuple(backend.alone(slot % devices) if device.index is None else {} for slot in range(count)),
        threads,
        Share(count, -(-count // used)),
        f"{count} runs at a time{where}, {each} thread{'s' * (each > 1)} each{note}",
    )
