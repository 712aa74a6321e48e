"""Where the parts of a run compute."""

from __future__ import annotations

import torch

from fsseg_bench.engine.device import backend_of, check_arithmetic, resolve_device, use_threads
from fsseg_bench.engine.distributed import check_batch, processes
from fsseg_bench.engine.left import left_of, threads_words
from fsseg_bench.engine.memory import keep_memory
from fsseg_bench.engine.plan import Plan
from fsseg_bench.machine.share import ALONE, Share
from fsseg_bench.records.request import RunRequest

_MOST_WORKERS = 8


def device_of(plan: Plan) -> tuple[torch.device, list[str]]:
    """Where this process computes, made ready for it; and what to say of that."""
    request = plan.request
    device = processes().device(resolve_device(request.device))
    check_arithmetic(device, request)
    check_batch(plan.recipe)
    left = left_of(plan.settings, request, len(plan.table))
    told = [words] if request.threads is None and (words := threads_words(left)) else []
    use_threads(request.threads or left.threads)
    keep_memory()
    return device, told


def default_workers(request: RunRequest, device: torch.device, share: Share = ALONE) -> int:
    """Loader workers: as asked, else one for each core that the run may keep busy beside computing, at most eight.

    On a CPU those are the cores that no thread computes on, by default none: decoding ahead there would stop one of the
    threads, and the others wait for it.
    """
    if request.workers is not None:
        return request.workers
    computing = 0 if backend_of(device).is_gpu else torch.get_num_threads()
    return min(max(share.cores - computing, 0), _MOST_WORKERS)
