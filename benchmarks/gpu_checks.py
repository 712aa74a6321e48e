"""Whether a GPU computes what the CPU computes, and goes on after a kill and after running out of memory."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.gpu_rows import Row
from benchmarks.methods import Case, build
from fsseg_bench.engine.cache import GIB, Budget, FeatureCache
from fsseg_bench.engine.checkpoint import load_state
from fsseg_bench.engine.device import backend_of
from fsseg_bench.engine.evaluate import Evaluator, Setting
from fsseg_bench.engine.made_up import training_episode
from fsseg_bench.engine.plan import make_plan
from fsseg_bench.engine.results import EpisodeResult
from fsseg_bench.engine.run import execute
from fsseg_bench.engine.train import Cadence
from fsseg_bench.errors import last_words
from fsseg_bench.method import Method
from fsseg_bench.progress import Meter, Progress, Unit
from fsseg_bench.records.request import RunRequest
from fsseg_bench.registry import method_names

PIXELS = 1e-3
"""The share of an evaluation's pixels that may get another label: those at which two classes are all but equal."""
AGREEMENT = 1e-5
"""How far loss and gradients may differ, relative to their size.

Parameters are float64 in this check, but losses and some sums of heads are float32.
"""
_CPU = torch.device("cpu")


def checks(device: torch.device, toy: bool) -> Iterator[Row]:
    """All checks; one that raises has failed, and says why."""
    names = method_names()[:2] if toy else method_names()
    for name in names:
        yield _guarded(f"{name}: labels as on the CPU", partial(labels, name, device, toy))
        yield _guarded(f"{name}: loss and gradients as on the CPU", partial(gradients, name, device, toy))
    for name in ("baseline",) if toy else ("baseline", "biopt", "canet", "ppnet"):
        yield _guarded(f"{name}: trained twice, and once with a kill", partial(resumes, name, device, toy))
    if backend_of(device).is_gpu:
        yield _guarded("a head batch that does not fit", partial(out_of_memory, device, toy))


def _guarded(what: str, check: Callable[[], Row]) -> Row:
    try:
        return check()
    except Exception as error:  # noqa: BLE001 - the other checks are worth having
        return Row("checks", what, None, "", passed=False, note=f"{type(error).__name__}: {last_words(error)}")


def labels(name: str, device: torch.device, toy: bool) -> Row:
    """The labels of 50 one-shot episodes, fp32: which share of the pixels differs between the devices."""
    method = build(name, _light(toy))
    size, episodes = (65, 2) if toy else (129, 50)
    found = [
        torch.stack([result.prediction for result in evaluated(copy.deepcopy(method), place, size, episodes)])
        for place in (_CPU, device)
    ]
    share = float((found[0] != found[1]).float().mean())
    what = f"{name}: labels of {episodes} episodes as on the CPU"
    return Row("checks", what, share, "of the pixels differ", passed=share <= PIXELS, limit=f"{PIXELS:g}")


def _light(toy: bool) -> str | None:
    """A backbone for a CPU; None: the common one, or the method's own."""
    return "resnet18-layer2" if toy else None


def evaluated(
    method: Method,
    device: torch.device,
    size: int,
    episodes: int,
    *,
    shots: int = 1,
    head_batch: int = 8,
    progress: Progress | None = None,
) -> list[EpisodeResult]:
    """The engine's results of made-up episodes."""
    case = Case.of(method, device, size, shots, episodes)
    results: list[EpisodeResult] = []
    cache = FeatureCache(device, Budget(4 * GIB, 4 * GIB))
    setting = Setting(size, head_batch=head_batch, workers=0)
    Evaluator(case.model, case.source, case.table, setting, cache, case.further).run(results.append, 0, progress)
    return results


def gradients(name: str, device: torch.device, toy: bool) -> Row:
    """The largest relative difference of a loss's part, or of a parameter's gradient (by norms), in float64."""
    method = build(name, _light(toy)).double()
    sides = [_loss(copy.deepcopy(method).to(place)) for place in (_CPU, device)]
    differences = [_relative(a, b) for a, b in zip(*sides, strict=True)]
    worst = max(differences)
    what = f"{name}: loss and gradients as on the CPU"
    return Row("checks", what, worst, "relative", passed=worst <= AGREEMENT, limit=f"{AGREEMENT:g}")


def _loss(method: Method) -> list[Tensor]:
    """The parts of one training loss, and the gradient of all parameters as one vector, on the CPU."""
    torch.manual_seed(0)
    method.train()
    method.backbone.set_batch_norm("eval")  # statistics of two random images magnify the last bits
    for module in method.modules():
        if isinstance(module, torch.nn.modules.dropout._DropoutNd):
            module.p = 0.0  # each device draws its own
    parts = method.loss(training_episode(method))
    torch.stack(list(parts.values())).sum().backward()
    gradient = torch.cat([p.grad.flatten() for p in method.parameters() if p.grad is not None])
    return [*(part.detach().cpu().flatten() for part in parts.values()), gradient.cpu()]


def _relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm().clamp_min(1e-12))


class _Killed(BaseException):
    """As a kill: nothing catches it."""


class _Killer(Progress):
    """Ends the training once so many of its steps are told."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self._after = after

    @contextmanager
    def meter(self, title: str, total: int, done: int = 0, unit: Unit = "steps") -> Iterator[Meter]:
        yield _Fuse(self._after) if title == "train" else Meter()


class _Fuse(Meter):
    def __init__(self, steps: int) -> None:
        self._left = steps

    def advance(self, steps: int = 1, note: str = "") -> None:
        self._left -= steps
        if self._left <= 0:
            raise _Killed


def resumes(name: str, device: torch.device, toy: bool) -> Row:
    """Whether two trainings, and one that is killed and goes on, end in the same parameters, bit by bit."""
    iterations = 3 if toy else 12
    with tempfile.TemporaryDirectory() as folder:
        ends = []
        for turn in ("first", "second", "killed"):
            request = RunRequest(
                method=name,
                dataset="shapes5i",
                iterations=iterations,
                episodes="12",
                panels=0,
                device=str(device),
                out=str(Path(folder) / turn),
            )
            ends.append(_trained(request, kill=turn == "killed"))
    same = [all(torch.equal(a, b) for a, b in zip(ends[0], other, strict=True)) for other in ends[1:]]
    told = f"again: {'equal' if same[0] else 'OTHER'}; after a kill: {'equal' if same[1] else 'OTHER'}"
    what = f"{name}: {iterations} iterations twice, and once with a kill"
    return Row("checks", what, None, "", passed=all(same), limit="the same bits", note=told)


def _trained(request: RunRequest, *, kill: bool) -> list[Tensor]:
    """The parameters after a training; with ``kill`` it ends in the middle first, and begins again from there."""
    iterations = request.iterations or 1
    cadence = Cadence(iterations=max(iterations // 3, 1))
    if kill:
        with suppress(_Killed):
            execute(make_plan(request), _Killer(2 * iterations // 3), cadence)
    record = execute(make_plan(request), None, cadence)
    return list(load_state(record.checkpoint).model.values())


class _Listener(Progress):
    """Keeps the lines that it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)


def out_of_memory(device: torch.device, toy: bool) -> Row:
    """Whether an evaluation whose head batch does not fit into the memory ends with the results of a small one."""
    method = build("baseline", _light(toy))
    size, shots, episodes = (65, 1, 2) if toy else (257, 5, 48)
    small = evaluated(copy.deepcopy(method), device, size, episodes, shots=shots, head_batch=1)
    backend_of(device).release_memory(device)
    listener = _Listener()
    with _within(device, 3 * GIB):
        large = evaluated(method, device, size, episodes, shots=shots, head_batch=episodes, progress=listener)
    pairs = zip(small, large, strict=True)
    share = sum(float((a.prediction != b.prediction).float().mean()) for a, b in pairs) / episodes
    what = f"{episodes} {shots}-shot episodes at once with 3 GiB in all: labels as one by one"
    note = "; ".join(listener.lines) or "the memory sufficed, so that nothing was shown"
    passed = share <= PIXELS and bool(listener.lines)
    return Row("checks", what, share, "of the pixels differ", passed=passed, limit=f"{PIXELS:g}", note=note)


@contextmanager
def _within(device: torch.device, size: int) -> Iterator[None]:
    """Within it this process gets no more than ``size`` bytes of a GPU."""
    index = torch.cuda.current_device() if device.index is None else device.index  # the calls below want a number
    torch.cuda.set_per_process_memory_fraction(size / torch.cuda.get_device_properties(index).total_memory, index)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, index)
