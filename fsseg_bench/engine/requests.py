"""What one command asks for: a request for each method, seed and fold, and the backbone that several methods share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from fsseg_bench.engine.build import LIGHT_BACKBONE, default_backbone
from fsseg_bench.engine.outline import PUBLISHED
from fsseg_bench.errors import UserError
from fsseg_bench.method import TrainingFree
from fsseg_bench.records.request import RunRequest, protocol_of
from fsseg_bench.registry import find_method, method_names, training_free

COMMON_BACKBONE = "resnet50"
"""What several methods of one command share where none is named and the protocol has no light one."""


ALL, TRAINING_FREE = "all", "training-free"
"""For ``--method``: every method, and those that work without training."""


@dataclass(frozen=True)
class Requests:
    """What one command asks for."""

    requests: tuple[RunRequest, ...]
    notes: tuple[str, ...]
    """What was chosen for the user, and what was given twice."""
    details: tuple[str, ...] = ()
    """What else could have been chosen."""


def requests_for(
    methods: Sequence[str], folds: Sequence[int] | None, seeds: Sequence[int] | None = None, **options: Any
) -> Requests:
    """A request for each method, seed and fold, each once.

    Several methods share one backbone unless one is named: the light one for the embedded images, else ResNet-50. A
    single method gets its own, and so does each with ``backbone="published"``.

    Args:
        methods: names; or :data:`ALL` alone, less those that cannot do so many ways; or :data:`TRAINING_FREE` alone,
            not trained unless ``iterations`` says so.
        folds: None are all there are.
        seeds: None is the option ``seed`` alone.
        options: the other fields of :class:`fsseg_bench.records.request.RunRequest`.

    Raises:
        UserError: ``all`` or ``training-free`` together with names.
    """
    names, notes = methods_meant(methods, options)
    if folds is None:
        try:
            folds = tuple(protocol_of(RunRequest(method=names[0], **options)).folds)
        except UserError:  # planning says so, together with whatever else is wrong
            folds = (1,)
    numbers = list(dict.fromkeys(folds))
    trained = list(dict.fromkeys([options.pop("seed", 0)] if seeds is None else seeds))
    notes += [f"--fold {fold} is given twice; it is run once" for fold in numbers if list(folds).count(fold) > 1]
    requests = [
        RunRequest(method=name, fold=fold, seed=seed, **options)
        for name in names
        for seed in trained
        for fold in numbers
    ]
    free = [name for name in names if _trains_nothing(name, options)]
    if free and options.get("iterations") and len(names) > 1:
        requests = [replace(one, iterations=None) if one.method in free else one for one in requests]
        notes.append(f"{', '.join(free)}: nothing is trained; --iterations is of the other methods")
    if not requests or requests[0].backbone not in {None, PUBLISHED}:
        return Requests(tuple(requests), tuple(notes))
    try:
        backbone, note, detail = chosen_backbone(requests[0], names)
    except UserError:  # planning says so, together with whatever else is wrong
        return Requests(tuple(requests), tuple(notes))
    requests = [replace(request, backbone=backbone) for request in requests]
    return Requests(tuple(requests), (*notes, note), (detail,) if detail else ())


def _trains_nothing(name: str, options: dict[str, Any]) -> bool:
    try:
        return issubclass(find_method(name, options.get("methods_path")), TrainingFree)
    except UserError:  # planning says so, together with whatever else is wrong
        return False


def methods_meant(methods: Sequence[str], options: dict[str, Any]) -> tuple[list[str], list[str]]:
    """The methods that are meant, each once, and what to say of them; may set ``iterations`` among the options.

    Raises:
        UserError: ``all`` or ``training-free`` together with names, or no method does episodes of so many ways.
    """
    path = options.get("methods_path")
    groups = [name for name in methods if name in {ALL, TRAINING_FREE}]
    if not groups:
        names = list(dict.fromkeys(methods))
        twice = [name for name in names if list(methods).count(name) > 1]
        return names, [f"--method {name} is given twice; it is run once" for name in twice]
    if len(methods) > 1:
        raise UserError(f"--method {groups[0]} stands alone; leave the other methods out")
    way = 1 if options.get("merge") else options.get("way", 1)
    known = training_free(path) if groups == [TRAINING_FREE] else method_names(path)
    able = [name for name in known if (most := find_method(name, path).max_ways) is None or way <= most]
    if not able:
        raise UserError(f"--method {groups[0]}: there is no such method that does {way}-way episodes")
    notes = []
    if lacking := [name for name in known if name not in able]:
        notes.append(f"left out, since they do no {way}-way episodes: {', '.join(lacking)}")
    if groups == [TRAINING_FREE] and options.get("iterations") is None and options.get("eval_only") is None:
        options["iterations"] = 0
        notes.append("nothing is trained, as by --iterations 0")
    return able, notes


def chosen_backbone(request: RunRequest, names: Sequence[str]) -> tuple[str | None, str, str]:
    """The backbone to ask for where none is named, a line that says so, and one of what else there is.

    Raises:
        UserError: an unknown protocol or method.
    """
    protocol = protocol_of(request)
    classes = {name: find_method(name, request.methods_path) for name in names}
    published = ", ".join(f"{name} {cls.default_backbone}" for name, cls in classes.items())
    if request.backbone == PUBLISHED:
        return PUBLISHED, f"backbone: each method's published one ({published})", ""
    defaults = [default_backbone(cls, protocol) for cls in classes.values()]  # those that the methods would have alone
    own, weights = {name for name, _ in defaults}, defaults[0][1]
    if len(names) > 1:
        common = LIGHT_BACKBONE if own == {LIGHT_BACKBONE} else COMMON_BACKBONE
        note = f"backbone: {common} for all methods, weights {request.weights or weights}"
        return common, note, f"published backbones: {published}; --backbone {PUBLISHED} gives each method its own"
    (chosen,), cls = own, classes[names[0]]
    if chosen == cls.default_backbone:
        return None, f"backbone: {chosen}, {names[0]}'s own", ""
    return None, f"backbone: {chosen}, the light one for embedded images ({names[0]}'s own: {cls.default_backbone})", ""
