"""The requests of a sweep's cells: methods, backbones and trainings that are meant rather than named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from fsseg_bench.engine.device import resolve_device
from fsseg_bench.engine.outline import PUBLISHED, outline
from fsseg_bench.engine.remembered import Remembered
from fsseg_bench.engine.requests import chosen_backbone, methods_meant
from fsseg_bench.errors import UserError
from fsseg_bench.records.request import RunRequest
from fsseg_bench.sweeps.expand import Wanted, expand, key_of, trained_as
from fsseg_bench.sweeps.labels import told_apart
from fsseg_bench.sweeps.options import SET, Options, request_of
from fsseg_bench.sweeps.spec import Spec


@dataclass(frozen=True)
class Asked:
    """A cell that is asked for, as a request."""

    label: str
    request: RunRequest
    shown: Options
    """What tells it from other cells."""
    trains: str | None = None
    """The label of the cell whose checkpoint it evaluates."""


@dataclass(frozen=True)
class AskedAll:
    """All cells of a sweep; one comes after the cell that it waits for."""

    cells: tuple[Asked, ...]
    notes: tuple[str, ...]
    """What was chosen for the user, what was asked for twice, and what leaves out nothing."""


def asked_cells(spec: Spec, kept: Remembered) -> AskedAll:
    """The cells of a sweep as requests.

    Cells that name no backbone share one in all tables of a protocol where they are of several methods, by the rule of
    :func:`fsseg_bench.engine.requests.requests_for`: methods are compared on equal terms whichever grid they are in.

    Raises:
        UserError: no cell is left, or a name of several methods means none.
    """
    notes: list[str] = []

    def meant(name: str, options: Options) -> tuple[tuple[str, ...], Options]:
        fields: dict[str, Any] = {key: value for key, value in options.items() if not key.startswith(SET)}
        names, said = methods_meant([name], fields)
        notes.extend(f"{name}: {note}" for note in said)
        return tuple(names), {key: value for key, value in fields.items() if value != options.get(key)}

    expanded = expand(spec, meant)
    wanted, trainings = _with_trainings(spec, expanded.cells, kept)
    requests = [request_of(cell.options) for cell in wanted]
    chosen, said = _with_backbones(requests)
    labels = told_apart([cell.label for cell in wanted], [cell.options for cell in wanted])
    by_key = {key_of(cell.options): label for cell, label in zip(wanted, labels, strict=True)}
    cells = [
        Asked(label, request, cell.shown, by_key.get(trainings.get(cell.label, ())))
        for cell, request, label in zip(wanted, chosen, labels, strict=True)
    ]
    return AskedAll(tuple(cells), tuple(dict.fromkeys([*expanded.notes, *notes, *said])))


def with_device(spec: Spec, cells: Sequence[Asked]) -> tuple[list[Asked], int, list[str]]:
    """The cells with the kind of device that computes them, how many GPUs each needs, and what to say of that.

    A plan names the kind, so that no cell goes on elsewhere on another one: with ``[cell] gpus`` as that says; else as
    the cell's own option says, or as it is on this machine.

    Raises:
        UserError: a cell's option contradicts ``[cell] gpus``.
    """
    gpus = spec.cell.gpus
    usual = resolve_device("auto").type if gpus is None else "cuda" if gpus else "cpu"
    wrong = [cell.label for cell in cells if cell.request.device not in {"auto", usual}]
    if wrong and gpus is not None:
        cells_named = ", ".join(wrong[:3])
        raise UserError(
            f"{spec.where}: [cell] gpus = {gpus} and device of {cells_named} exclude each other; leave device out"
        )
    found = [
        cell if cell.label in wrong else replace(cell, request=replace(cell.request, device=usual)) for cell in cells
    ]
    needed = gpus if gpus is not None else int(any(cell.request.device == "cuda" for cell in found))
    if gpus is not None or all(cell.request.device != "auto" for cell in cells):
        return found, needed, []
    advice = "" if usual == "cuda" else "; [cell] gpus = 1 plans for machines that have a GPU"
    return found, needed, [f"device: {usual}, as this machine has it{advice}"]


def _with_trainings(
    spec: Spec, cells: Sequence[Wanted], kept: Remembered
) -> tuple[list[Wanted], dict[str, tuple[tuple[str, str], ...]]]:
    """The cells, each after the training that it evaluates; and by label the key of that training."""
    if spec.training is None:
        return list(cells), {}
    known = {key_of(cell.options): cell for cell in cells}
    placed: dict[tuple[tuple[str, str], ...], Wanted] = {}
    trainings: dict[str, tuple[tuple[str, str], ...]] = {}
    for cell in cells:
        training = trained_as(cell, spec.training)
        own, key = key_of(cell.options), key_of(training.options)
        if key != own and _trains(training, kept):
            placed.setdefault(key, known.get(key, training))
            trainings[cell.label] = key
        placed.setdefault(own, cell)
    return list(placed.values()), trainings


def _trains(cell: Wanted, kept: Remembered) -> bool:
    """Whether anything is trained; what is evaluated untrained has no checkpoint."""
    try:
        return bool(outline(request_of(cell.options), kept).recipe.iterations)
    except UserError:  # planning says so, together with whatever else is wrong
        return True


def _with_backbones(requests: Sequence[RunRequest]) -> tuple[list[RunRequest], list[str]]:
    """The requests with the backbone that those without one share, and what to say of it."""
    groups: dict[str, list[int]] = {}
    for number, request in enumerate(requests):
        if request.backbone in {None, PUBLISHED}:
            groups.setdefault(f"{request.backbone} {_table_of(request)}", []).append(number)
    found, notes = list(requests), list[str]()
    several = len({request.dataset for request in requests}) > 1
    for numbers in groups.values():
        first = requests[numbers[0]]
        names = list(dict.fromkeys(requests[number].method for number in numbers))
        try:
            backbone, note, _ = chosen_backbone(first, names)
        except UserError:  # planning says so, together with whatever else is wrong
            continue
        notes.append(f"{first.dataset}: {note}" if several else note)
        for number in numbers:
            found[number] = replace(requests[number], backbone=backbone)
    return found, notes


def _table_of(request: RunRequest) -> str:
    """What cells share whose numbers stand in one table."""
    rules = sorted((key, value) for key, value in request.settings.items() if key.startswith("protocol."))
    return repr((request.dataset, request.sources_path, rules))
