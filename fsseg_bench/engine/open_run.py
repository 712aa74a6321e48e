"""Trained models ready to predict: a finished run with its data, or a method alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fsseg_bench.engine.build import BASE_CLASSES, TrainedFile, assemble, find_trained
from fsseg_bench.engine.device import backend_of
from fsseg_bench.engine.plan import Plan, make_plan
from fsseg_bench.engine.released import Places, find_imported
from fsseg_bench.engine.same_counts import moved_pixels
from fsseg_bench.engine.switches import parse_switches
from fsseg_bench.engine.training_data import OpenSources
from fsseg_bench.errors import UserError
from fsseg_bench.method import Method
from fsseg_bench.nn.backbones import laid_out
from fsseg_bench.nn.layout import Layout
from fsseg_bench.nn.weight_files import file_hash, weights_folders
from fsseg_bench.protocol.load import replace_list
from fsseg_bench.protocol.side import Side
from fsseg_bench.records.info import RUN_FILE, TABLE_FILE
from fsseg_bench.records.read import EpisodeCounts, StoredRun, read_run
from fsseg_bench.records.request import RunRequest, protocol_of
from fsseg_bench.records.settings import differences
from fsseg_bench.registry import find_method

DEFAULT_SIZE = 417
"""The papers' input side, in pixels."""
_LEAST_SIZE = 32
_GPU_SHARE = 0.001  # of an episode's pixels


class ChangedError(UserError):
    """What a run depends on is not what it was; the message says what."""


@dataclass(frozen=True)
class RunPlaces:
    """What may be elsewhere or other than when the run was made, and changes no number."""

    dataset: str | None = None
    """The protocol's file, where the path in the record leads nowhere."""
    data_root: str | None = None
    weights: str | None = None
    device: str = "auto"
    workers: int | None = None
    methods_path: str | None = None
    backbones_path: str | None = None
    sources_path: str | None = None


@dataclass(frozen=True)
class OpenRun:
    """A finished run ready to predict again."""

    run: StoredRun
    plan: Plan
    """Its model has the trained parameters."""
    changed_code: bool
    """Whether the method's code is not what the run was made with; its counts must then be checked."""

    @cached_property
    def _recorded(self) -> EpisodeCounts:
        return self.run.counts()

    def check_counts(self, device: torch.device, episode: int, **counts: Tensor) -> int:
        """Where the code has changed, whether an episode still has its recorded counts.

        On the CPU they come out exactly. Where one of the two devices is a GPU, a pixel in a thousand may be decided
        otherwise: a sum is rounded in another order on another device, and in batches of another size.

        Args:
            device: on which the episode was evaluated now.
            episode: its number.
            counts: (N+1, N+1) int64 by resolution: ``input``, ``native`` or both.

        Returns:
            How many pixels, at the least, were decided otherwise, at the resolution where they are most.

        Raises:
            UserError: they are more than may be.
        """
        if not self.changed_code:
            return 0
        exact = not backend_of(device).is_gpu and (self.run.info.device or "cpu").startswith("cpu")
        most = 0
        for key, found in counts.items():
            recorded = getattr(self._recorded, key)[episode : episode + 1]
            moved, total = int(moved_pixels(recorded, found.numpy()[None])[0]), int(recorded.sum())
            if moved > (0 if exact else _GPU_SHARE * total):
                raise UserError(
                    f"{self.run.folder}: the code has changed since the run was made, and episode {episode} comes out "
                    f"differently now ({moved:,} of {total:,} pixels at {key} size); run it again"
                )
            most = max(most, moved)
        return most


def open_run(folder: Path, places: RunPlaces | None = None, opened: OpenSources | None = None) -> OpenRun:
    """The run in ``folder`` with its protocol, data, episodes and trained model.

    Raises:
        UserError: no finished run, or its data, weights or checkpoint cannot be had.
        ChangedError: anything that its numbers depend on is different now (code alone may differ: see
            :class:`OpenRun`).
    """
    run = read_run(folder)
    if run.status != "done":
        raise UserError(f"{folder}: the run is not done (status {run.status}); give its command again")
    request = request_of(run, places or RunPlaces())
    try:
        plan = make_plan(request, opened)
        checkpoint = find_trained(folder, "checkpoint of") if plan.settings.has_checkpoint else plan.checkpoint
        if checkpoint is not None:
            checkpoint.fill(plan.model)
    except UserError as error:
        raise UserError(
            f"{folder}: cannot be opened again: {error} (what has moved can be named with --dataset-file, --data-root "
            "and --weights)"
        ) from error
    stored, now = run.info.settings, plan.settings
    unnoted = [] if stored.evaluated_digest else ["evaluated_digest", "unlabelled_digest"]  # an early record
    if changed := differences(*(settings.without("method_digest", *unnoted) for settings in (stored, now))):
        raise ChangedError(
            f"{folder}: what the run depends on is different now (then / now): {'; '.join(changed)}. Run it again"
        )
    return OpenRun(run, plan, changed_code=now.method_digest != stored.method_digest)


def request_of(run: StoredRun, places: RunPlaces) -> RunRequest:
    """The request that the record was made with, as far as it is still known, and what is elsewhere now."""
    passed = run.info.passed
    if not passed.method or not passed.dataset:
        raise UserError(f"{run.folder}: the record does not say what was asked for; it cannot be opened again")
    elsewhere: dict[str, Any] = {key: value for key, value in vars(places).items() if value is not None}
    stored = run.folder / TABLE_FILE
    if passed.episode_list and stored.is_file():
        elsewhere["episodes"] = str(stored)  # the list that was given may have moved since
    if "weights" not in elsewhere and passed.weights not in {None, "imagenet", "none"}:
        elsewhere["weights"] = _weight_file(run)
    # no check: the images must be those that were evaluated, so they can be decoded
    return replace(passed, **elsewhere, no_check=True)


@dataclass(frozen=True)
class TrainedModel:
    """A method with its parameters, without data."""

    name: str
    backbone: str
    size: Side
    """Side of the square input, in pixels; images are brought to it as in the run."""
    method: Method
    origin: str
    """Where the parameters come from, in words."""


def open_model(
    checkpoint: Path | None = None,
    *,
    method: str | None = None,
    backbone: str | None = None,
    weights: str | None = None,
    switches: Mapping[str, Any] | None = None,
    size: int | None = None,
    default_size: int = DEFAULT_SIZE,
    methods_path: str | None = None,
    backbones_path: str | None = None,
) -> TrainedModel:
    """Builds a method and fills in its parameters.

    Of a run's folder, or the checkpoint in it, what is not given is read from its run.json: method, backbone, switches
    and input size. Without a checkpoint the method is as it is built, with pretrained weights alone. The options are
    those of :class:`fsseg_bench.Predictor`.

    Raises:
        UserError: anything is unknown, missing, contradictory or damaged.
    """
    places = Places(methods_path, backbones_path)
    found, run = (None, None) if checkpoint is None else _find(checkpoint, method, backbone, places)
    settings = run.settings if run else None
    origin = found.imported.origin if found and found.imported else None
    name = method or (settings.method if settings else origin.method if origin else None)
    if name is None:
        raise UserError("--method is needed: only a run's folder, given as --checkpoint, says which method it is")
    if size is not None and size < _LEAST_SIZE:
        raise UserError(f"--size {size}: it must be at least {_LEAST_SIZE}")
    passed = run.info.passed if run else RunRequest()
    cls = find_method(name, methods_path or passed.methods_path)
    backbones = backbones_path or passed.backbones_path
    values = (
        dict(settings.switches) if settings and name == settings.method else dict(origin.switches) if origin else {}
    )
    chosen = parse_switches(name, cls, values | dict(switches or {}))
    known = settings.backbone if settings else origin.backbone if origin else cls.default_backbone
    trunk = backbone or known
    if found is not None and weights is not None:
        raise UserError(f"--weights {weights}: the checkpoint {found.file} holds all parameters; leave --weights out")
    spec = "none" if found else weights or (_weights(run, cls.layout, backbones) if run else "imagenet")
    counted = settings.base_classes if settings else origin.base_classes if origin else None
    base = BASE_CLASSES if counted is None else counted
    model, info = assemble(cls, trunk, spec, chosen, settings.seed if settings else 0, base, backbones)
    if found is not None:
        found.fill(model)
    words = str(found.file) if found else f"not trained, weights {info.source}"
    side = Side(size or (_size(run) if run else default_size), (settings.pad_multiple or 0) if settings else 0)
    return TrainedModel(name, trunk, side, model, words)


def _find(
    checkpoint: Path, method: str | None, backbone: str | None, places: Places
) -> tuple[TrainedFile | None, StoredRun | None]:
    """The parameters and the run they are of; a run that was not trained has none, and is taken as it was tested."""
    if (released := find_imported(str(checkpoint), method, backbone, places)) is not None:
        return released, None
    if (checkpoint / RUN_FILE).is_file():
        run = read_run(checkpoint)
        if run.settings.parameters == "untrained":
            return None, run
    found = find_trained(checkpoint, "--checkpoint")
    return found, found.run


def _weights(run: StoredRun, layout: Layout, backbones_path: str | None) -> str:
    """The run's weights as ``--weights`` takes them."""
    source = run.settings.weights or "imagenet"
    if source == laid_out(run.settings.backbone, layout, backbones_path).weights:
        return "imagenet"
    return source if source in {"imagenet", "none"} else _weight_file(run)


def _weight_file(run: StoredRun) -> str:
    """The file of weights that a run was made with: the path was relative to a folder that the record does not name."""
    given, digest = Path(run.info.passed.weights or str(run.settings.weights)).expanduser(), run.settings.weights_digest
    folders = (Path(), *run.folder.absolute().parents)
    places = [*(folder / given for folder in folders), *(folder / given.name for folder in weights_folders())]
    there = [place for place in dict.fromkeys(places) if place.is_file()]
    for place in there:
        if file_hash(place) == digest:
            return str(place)
    others = f"; of another content: {', '.join(map(str, there))}" if there else ""
    raise UserError(
        f"{run.folder}: its weights {given} (SHA-256 {str(digest)[:8]}...) are not here, nor under a folder above the "
        f"run, nor in FSSEG_WEIGHTS{others}; name the file with --weights"
    )


def _size(run: StoredRun) -> int:
    """The input size of the run's protocol.

    Raises:
        UserError: the protocol cannot be had as it was.
    """
    passed = run.info.passed
    if not passed.dataset:
        raise UserError(f"{run.folder}: the record does not say which protocol it is of; give the size with --size")
    advice = "give the input size with --size"
    try:
        protocol = protocol_of(passed)
    except UserError as error:
        raise UserError(f"{run.folder}: its protocol cannot be read ({error}); {advice}") from None
    if passed.episode_list:
        protocol = replace_list(protocol)
    if protocol.digest != run.settings.protocol_digest:
        raise UserError(f"{run.folder}: its protocol, {passed.dataset}, was changed since; {advice}")
    return protocol.image.size
