"""A generalised run from its request to its record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fsseg_bench.conventions import Int64
from fsseg_bench.data.index import PairIndex, build_index
from fsseg_bench.data.loading import load_image
from fsseg_bench.data.open import examine, open_source
from fsseg_bench.data.source import Source
from fsseg_bench.engine.code_digest import method_digest
from fsseg_bench.engine.counts import confusion, predict_labels
from fsseg_bench.engine.device import backend_of, check_arithmetic, describe, resolve_device, use_threads
from fsseg_bench.engine.generalised.images import base_images, labelled_images, support_candidates
from fsseg_bench.engine.generalised.vectors import (
    GeneralisedModel,
    base_vectors,
    distinct_images,
    label_of,
    with_novel,
)
from fsseg_bench.engine.memory import keep_memory
from fsseg_bench.engine.optimise import trunks
from fsseg_bench.engine.outline import Outline, outline
from fsseg_bench.errors import UserError
from fsseg_bench.machine import stopping
from fsseg_bench.method import LabelsEverything, Method
from fsseg_bench.nn.catalogue import backbone_module
from fsseg_bench.nn.weights import WeightsInfo
from fsseg_bench.paths import data_root, results_root
from fsseg_bench.progress import Progress
from fsseg_bench.protocol.generalised import Labels, Supports, draw_supports, scores
from fsseg_bench.protocol.spec import RESOLUTIONS, Protocol, Resolution
from fsseg_bench.records.generalised import RECORD_FILE, folder_of, keep, read_generalised, sparse
from fsseg_bench.records.info import is_empty, moved_aside
from fsseg_bench.records.provenance import provenance
from fsseg_bench.records.request import RunRequest, grouped
from fsseg_bench.registry import method_module, what_was_seen
from fsseg_bench.storage.files import remove_leftovers, writing
from fsseg_bench.storage.json_text import plain
from fsseg_bench.storage.lock import FolderLock

ENTRY = "fsseg_bench.engine.generalised.run"
"""Where the code begins that decides the numbers."""


@dataclass(frozen=True)
class _Work:
    """What a run reads."""

    planned: Outline
    source: Source
    index: PairIndex
    labels: Labels
    base: tuple[str, ...]
    """Images of the base stage."""
    draws: tuple[Supports, ...]
    """The supports of each seed."""
    tested: tuple[str, ...]
    """The images that are labelled."""
    model: Method
    weights: WeightsInfo
    settings: dict[str, Any]

    @property
    def protocol(self) -> Protocol:
        return self.planned.protocol


def run_generalised(request: RunRequest, progress: Progress | None = None) -> Path:
    """Labels base and novel classes at once; the folder of the record. A finished run is not run again.

    Nothing is trained: the backbone is as its weights are, base classes are averaged over the training images. What is
    stopped begins again. A record of ``--fresh`` is made in place of the former, which is moved aside.

    Raises:
        LockedError: another process makes the same run.
        UserError: the protocol or the options do not fit the task, or the data are wrong.
        Stopped: the process was told to end.
    """
    progress = progress or Progress()
    work = _prepared(request)
    folder = folder_of(results_root(request.out), work.settings)
    if (folder / RECORD_FILE).exists() and not request.fresh:
        read_generalised(folder)
        progress.say(f"{folder}: already finished")
        return folder
    device = resolve_device(request.device)
    check_arithmetic(device, request)
    lock = FolderLock(folder)
    try:
        with writing(folder):
            if request.fresh and not is_empty(folder):
                lock = moved_aside(folder, lock)
            remove_leftovers(folder)
        if (folder / RECORD_FILE).exists():  # another process has finished it meanwhile
            read_generalised(folder)
            return folder
        lines, facts = _made(request, work, device, progress)
        lock.check()
        keep(folder, work.settings, lines, facts)
    finally:
        lock.release()
    return folder


def _made(
    request: RunRequest, work: _Work, device: torch.device, progress: Progress
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The lines of the images, and what else the record says."""
    use_threads(request.threads or torch.get_num_threads())
    keep_memory()
    model = GeneralisedModel(work.model, device, request.precision, deterministic=not request.nondeterministic)
    base, shown = base_vectors(model, work.source, work.protocol, request.fold, work.base, progress)
    vectors = [with_novel(base, model, work.source, work.protocol, work.labels, one) for one in work.draws]
    zeros = np.zeros((len(vectors), work.labels.size, work.labels.size), np.int64)
    totals = {size: zeros.copy() for size in RESOLUTIONS}
    lines = []
    with progress.meter("label images", len(work.tested)) as meter:
        for image, counts in _counted(work, model, vectors):
            for size in RESOLUTIONS:
                for i, own in enumerate(counts[size]):
                    totals[size][i] += 0 if own is None else own
            lines.append({"image": image, **_sparse(counts)})
            meter.advance(1, "")
            stopping.check()
    facts = {
        "labels": ["background", *(work.protocol.class_name(c) for c in work.labels.classes)],
        "base_images": {str(i): count for i, count in shown.items()},
        "runs": [
            {
                "seed": seed,
                "supports": {str(c): list(images) for c, images in draw.items()},
                **{size: _facts(totals[size][i], work) for size in RESOLUTIONS},
            }
            for i, (seed, draw) in enumerate(zip(work.settings["support_seeds"], work.draws, strict=True))
        ],
        "weights": work.weights.as_dict(),
        "seen": vars(_seen(request, work)),
        "remarks": [*work.index.remarks((request.fold,)), *work.index.source_remarks],
        "device": describe(device),
        "provenance": {**provenance(), "threads": torch.get_num_threads()},
        "options": plain(request.given()),
    }
    return lines, facts


def _prepared(request: RunRequest) -> _Work:
    planned = outline(request)
    protocol = planned.protocol
    _check(request, planned)
    source = open_source(protocol, data_root(request.data_root))
    index = build_index(source, protocol)
    base, candidates = base_images(index, request.fold), support_candidates(index, request.fold)
    seeds = protocol.episodes.seeds
    draws = tuple(draw_supports(candidates, request.shot, seed) for seed in seeds)
    tested = labelled_images(source, protocol)
    model, weights = planned.built(len(protocol.base_classes(request.fold)))
    looked = [*tested, *distinct_images(draws), *base]
    evaluated = examine(source, looked, labels=True, decode=not request.no_check)
    labels = Labels.of(protocol, request.fold)
    settings = plain(
        {
            "protocol": protocol.name,
            "protocol_label": protocol.label,
            "protocol_version": protocol.version,
            "protocol_digest": protocol.digest,
            "background": protocol.scoring.background,
            "overall": protocol.scoring.overall,
            "headline": protocol.scoring.headline,
            "method": request.method,
            "switches": planned.switches,
            "backbone": planned.backbone,
            "weights": Path(weights.source).name,
            "weights_digest": weights.digest,
            "precision": request.precision,
            "nondeterministic": request.nondeterministic,
            "fold": request.fold,
            "folds": len(protocol.folds),
            "shot": request.shot,
            "seed": request.seed,
            "support_seeds": seeds,
            "supports": [{str(c): images for c, images in draw.items()} for draw in draws],
            "classes": labels.classes,
            "novel": labels.novel,
            "data_fingerprint": index.fingerprint,
            "evaluated_digest": evaluated.digest,
            "code_digest": _code(request, planned, model, type(source)),
        }
    )
    return _Work(planned, source, index, labels, base, draws, tested, model, weights, settings)


def _check(request: RunRequest, planned: Outline) -> None:
    """Refuses what the task has not."""
    protocol = planned.protocol
    if protocol.episodes.task != "generalised":
        raise UserError(f'{protocol.label} has episodes; episodes.task = "generalised" is what this is for')
    if not issubclass(planned.cls, LabelsEverything):
        raise UserError(
            f"{request.method} does not label base and novel classes at once, as {protocol.label} wants it; baseline "
            "does, and every method that is a LabelsEverything"
        )
    if protocol.scoring.boundary:
        raise UserError(
            f"{protocol.label}: scoring.boundary has no part in base and novel classes at once; leave it out"
        )
    if protocol.train is not None:
        raise UserError(f"{protocol.label} has a section [train]; base and novel classes at once need one data set")
    if planned.recipe.iterations or planned.stages:
        raise UserError(
            f"{protocol.label}: nothing is trained for base and novel classes at once; give --iterations 0: the "
            "backbone is as its weights are, and base classes are averages over the training images"
        )
    refused = {
        "--way": request.way != 1,
        "--merge": request.merge is not None,
        "--scales": request.scales != (1.0,),
        "--episodes": request.episodes is not None,
        "--eval-only": request.eval_only is not None,
    }
    if names := [name for name, given in refused.items() if given]:
        raise UserError(f"{protocol.label} labels whole images, without episodes; leave out {', '.join(names)}")


def _code(request: RunRequest, planned: Outline, model: Method, source: type[Source]) -> str:
    classes = (planned.cls, *(type(trunk) for trunk in trunks(model)))
    modules = (
        method_module(request.method, request.methods_path),
        backbone_module(planned.backbone, request.backbones_path),
    )
    return method_digest(classes, modules, source, entry=ENTRY)


def _seen(request: RunRequest, work: _Work) -> Any:
    return what_was_seen(
        request.method,
        work.planned.backbone,
        work.settings["weights"],
        work.protocol.name,
        work.planned.switches,
        stated=grouped(request.settings)["weights"],
        trained_elsewhere=False,
        methods_path=request.methods_path,
        backbones_path=request.backbones_path,
    )


def _counted(
    work: _Work, model: GeneralisedModel, vectors: Sequence[Tensor]
) -> Iterator[tuple[str, dict[Resolution, list[Int64 | None]]]]:
    """Each image with its counts (C+1, C+1) at both sizes for each draw; None where it is a support of the draw."""
    side, backend = work.protocol.image.side, backend_of(model.device)
    photos = work.index.copies
    taken = [{photos.get(i, i) for i in distinct_images([draw])} for draw in work.draws]
    for start in range(0, len(work.tested), model.encode_batch):
        images = work.tested[start : start + model.encode_batch]
        features = model.encode([load_image(work.source, image, side) for image in images])
        for image, own in zip(images, features, strict=True):
            labels = {s: label_of(work.source, work.labels, image, side if s == "input" else None) for s in RESOLUTIONS}
            on_device = {s: backend.to_device(label[None], model.device) for s, label in labels.items()}
            counts: dict[Resolution, list[Int64 | None]] = {s: [] for s in RESOLUTIONS}
            for draw, supports in zip(vectors, taken, strict=True):
                scored = None if photos.get(image, image) in supports else model.vector_scores(own, draw)[None]
                for s, label in on_device.items():
                    if scored is None:
                        counts[s].append(None)
                        continue
                    shape = label.shape[1], label.shape[2]
                    shares = side.shares(*shape) if s == "native" else (1.0, 1.0)
                    predicted = predict_labels(scored, shape, shares)
                    counted = confusion(predicted, label, work.labels.size - 1)[0]
                    counts[s].append(counted.cpu().numpy())
            yield image, counts


def _sparse(counts: Mapping[Resolution, Sequence[Int64 | None]]) -> dict[str, Any]:
    return {size: [None if own is None else sparse(own) for own in counts[size]] for size in RESOLUTIONS}


def _facts(matrix: Int64, work: _Work) -> dict[str, Any]:
    """The confusion and the scores of one draw at one size; a score that is not defined is said in words."""
    try:
        made = scores(matrix, work.labels, background_in_base=work.protocol.scoring.background == "base")
        said: dict[str, Any] = {name.replace("_", " "): value for name, value in made._asdict().items()}
    except UserError as error:
        said = {"none": str(error)}
    return {"confusion": matrix.tolist(), "scores": said}
