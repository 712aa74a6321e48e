"""A method ready to predict, from a run's folder, a checkpoint file, or as it is built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsseg_bench.engine.build import BASE_CLASSES, assemble, parse_switches
from fsseg_bench.engine.checkpoint import load_state, load_trained
from fsseg_bench.engine.plan import protocol_of
from fsseg_bench.errors import UserError
from fsseg_bench.method import Method
from fsseg_bench.nn.catalogue import laid_out
from fsseg_bench.nn.layout import Layout
from fsseg_bench.protocol.load import replace_list
from fsseg_bench.records.read import StoredRun, read_run
from fsseg_bench.records.settings import RunSettings
from fsseg_bench.registry import find_method

DEFAULT_SIZE = 417
"""The papers' input side, in pixels."""
_LEAST_SIZE = 32


@dataclass(frozen=True)
class Restored:
    """A method with its trained parameters."""

    name: str
    backbone: str
    size: int
    """Side of the square input, in pixels."""
    method: Method
    origin: str
    """Where the parameters come from, in words."""


def restore(
    checkpoint: Path | None = None,
    *,
    method: str | None = None,
    backbone: str | None = None,
    weights: str | None = None,
    switches: Mapping[str, Any] | None = None,
    size: int | None = None,
    methods_path: str | None = None,
) -> Restored:
    """Builds a method and fills in its parameters.

    Of a run's folder, what is not given is read from its run.json: method, backbone, switches and input size.

    Args:
        checkpoint: a run's folder or a file; None: the method as it is built, with pretrained weights alone.
        method: its name; needed unless ``checkpoint`` is a run's folder.
        backbone: None: the run's, else the method's own.
        weights: of the backbone, where no checkpoint is; None: the run's, else ``imagenet``.
        switches: by name, as text or Python values.
        size: None: the run's, else 417.
        methods_path: a folder with further method files.

    Raises:
        UserError: anything is unknown, missing, contradictory or damaged.
    """
    if checkpoint is not None and not checkpoint.exists():
        raise UserError(f"--checkpoint {checkpoint}: no such file and no such run folder")
    run = read_run(checkpoint) if checkpoint is not None and checkpoint.is_dir() else None
    settings = run.settings if run else None
    name = method or (settings.method if settings else None)
    if name is None:
        raise UserError("--method is needed: only a run's folder, given as --checkpoint, says which method it is")
    if size is not None and size < _LEAST_SIZE:
        raise UserError(f"--size {size}: it must be at least {_LEAST_SIZE}")
    cls = find_method(name, methods_path or (run.info.passed.methods_path if run else None))
    own = settings.switches if settings and name == settings.method else {}
    values = parse_switches(name, cls, {**own, **(switches or {})})
    trunk = backbone or (settings.backbone if settings else None) or cls.default_backbone
    file = _run_checkpoint(run) if run else checkpoint
    if file is not None and weights is not None:
        raise UserError(f"--weights {weights}: the checkpoint {file} holds all parameters; leave --weights out")
    spec = "none" if file is not None else weights or (_weights(settings, cls.layout) if settings else "imagenet")
    base = (settings.base_classes if settings else None) or BASE_CLASSES
    model, info = assemble(cls, trunk, spec, values, settings.seed if settings else 0, base)
    if file is not None:
        load_trained(model, file)
    origin = str(file) if file is not None else f"not trained, weights {info.source}"
    return Restored(name, trunk, size or (_size(run) if run else DEFAULT_SIZE), model, origin)


def _run_checkpoint(run: StoredRun) -> Path | None:
    """The run's trained parameters; None for a run that was not trained."""
    if run.settings.checkpoint_digest:
        given = run.info.passed.eval_only
        raise UserError(f"{run.folder}: this run evaluated another checkpoint; give --checkpoint {given}")
    wanted = run.settings.iterations
    if not wanted:
        return None
    file = run.folder / "checkpoint.pt"
    if file.is_file() and (done := load_state(file, run.info.identity).iteration) < wanted:
        raise UserError(f"{run.folder}: trained {done} of {wanted} iterations; finish the run, or name {file} itself")
    return file


def _weights(settings: RunSettings, layout: Layout) -> str:
    """The run's weights as ``--weights`` takes them."""
    source = settings.weights or "imagenet"
    return "imagenet" if source == laid_out(settings.backbone, layout).weights_enum else source


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
