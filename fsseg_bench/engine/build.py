"""Models: built from names and settings (backbone, weights, switches), and filled with trained parameters."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fsseg_bench.engine.checkpoint import fill, holds_state, load_state
from fsseg_bench.engine.switches import parse_switches, switch_types
from fsseg_bench.errors import UserError, unknown
from fsseg_bench.method import Method
from fsseg_bench.nn.backbones import Backbone, build_backbone
from fsseg_bench.nn.catalogue import find_backbone
from fsseg_bench.nn.layout import Layout
from fsseg_bench.nn.released import Imported
from fsseg_bench.nn.weight_files import file_hash, named_tensors, open_file
from fsseg_bench.nn.weights import WeightsInfo, load_weights
from fsseg_bench.paths import regular
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.records.info import CHECKPOINT_FILE, RUN_FILE
from fsseg_bench.records.read import StoredRun, read_run
from fsseg_bench.records.settings import CheckpointTraining, RunSettings
from fsseg_bench.registry import find_method

LIGHT_BACKBONE = "resnet18-layer2"
"""The backbone for the embedded images when none is named: trained from scratch in seconds."""

BASE_CLASSES = 15
"""Classes to train on where no fold says how many: PASCAL-5i's."""

_SIDE = 256  # pixels: a multiple of the usual strides, so that a message names the stride as it is


def default_backbone(cls: type[Method], protocol: Protocol) -> tuple[str, str]:
    """Names of backbone and weights when the user names none."""
    if protocol.synthetic:
        return LIGHT_BACKBONE, "none"
    return cls.default_backbone, "imagenet"


def build_method(
    name: str,
    backbone: str = "resnet50",
    weights: str = "imagenet",
    *,
    seed: int = 0,
    base_classes: int = BASE_CLASSES,
    methods_path: Path | str | None = None,
    backbones_path: Path | str | None = None,
    **switches: Any,
) -> Method:
    """A method ready to use: ``build_method("panet", "resnet18", "none")``.

    Args:
        name: as in ``fsseg-bench list methods``.
        backbone: as in ``fsseg-bench list backbones``.
        weights: ``imagenet``, ``none`` or a file.
        seed: of the random initial parameters.
        base_classes: how many classes it is to be trained on, for methods that tell them apart.
        methods_path: a folder with further method files.
        backbones_path: a folder with further backbone files.
        switches: by name, as in ``Switches`` of the method.

    Raises:
        UserError: unknown names, weights that cannot be had or do not fit, wrong switch values.

    Example:
        >>> method = build_method("panet", "resnet18-layer2", "none", align_weight=0.5)
        >>> method.backbone.out_channels
        128
    """
    cls = find_method(name, methods_path)
    known = {*switch_types(cls), "seed", "base_classes", "methods_path", "backbones_path"}
    for key in switches:
        if key not in known:
            raise unknown(f"switch of {name} or option of build_method", key, known)
    values = parse_switches(name, cls, switches)
    return assemble(cls, backbone, weights, values, seed, base_classes, backbones_path)[0]


def assemble(
    cls: type[Method],
    backbone: str,
    weights: str,
    switches: Mapping[str, Any],
    seed: int,
    base_classes: int = BASE_CLASSES,
    backbones_path: Path | str | None = None,
) -> tuple[Method, WeightsInfo]:
    """The method with its backbone, its random parameters drawn from ``seed``; and what its weights are."""
    given: list[Any] = [base_classes] if cls.reads_class_labels else []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        trunk = build_backbone(backbone, cls.layout, backbones_path)
        _check_facts(trunk)
        info = load_weights(trunk, weights)
        try:
            # a method without switches has no argument for them
            method = cls(trunk, *given, *([cls.Switches(**switches)] if cls.Switches else []))
        except ValueError as error:
            raise UserError(f"{cls.__name__} on {backbone}: {error}") from error
    return method, info


def _check_facts(backbone: Backbone) -> None:
    """Whether a backbone's stages put out what its facts say; those of this package are known to.

    What it raises may be about the size of the made-up image: the first real one tells.

    Raises:
        UserError: a stage has other channels, or another stride.
    """
    if type(backbone).__module__.startswith("fsseg_bench."):
        return
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():  # the method's numbers are drawn afterwards
            levels = copy.deepcopy(backbone).eval().levels(torch.zeros(1, 3, _SIDE, _SIDE), backbone.stages)
    except UserError:
        raise
    except Exception:  # noqa: BLE001 - see above
        return
    name = backbone.name.removesuffix(f"-{backbone.stages[-1]}")
    advice = f"correct its facts (fsseg-bench check-backbone {name} shows all)"
    if len(levels) != len(backbone.stages):
        raise UserError(
            f"backbone {name}: levels() gives {len(levels)} maps for {len(backbone.stages)} stages; {advice}"
        )
    for stage, level in zip(backbone.facts.stages, levels, strict=True):
        where = f"backbone {name}: stage {stage.name}"
        if level.ndim != 4:
            raise UserError(f"{where} has the shape {tuple(level.shape)}, not (M, C, h, w); {advice}")
        if level.shape[1] != stage.channels:
            raise UserError(f"{where} has {level.shape[1]} channels, facts say {stage.channels}; {advice}")
        for cells in level.shape[2:]:
            # an edge that is not padded, or padded more, costs or gives a few cells
            if not (2 / 3 <= cells * stage.stride / _SIDE <= 3 / 2 or abs(cells - _SIDE / stage.stride) <= 1):
                found = round(_SIDE / max(cells, 1))
                raise UserError(f"{where} has stride {found}, facts say {stage.stride}; {advice}")


def geometry_note(method: str, layout: Layout, backbone: str, backbones_path: Path | str | None = None) -> str | None:
    """A line where a method states the geometry of other families than the backbone's; None where it states its own.

    Raises:
        UserError: no such backbone.
    """
    stated = [type(entry) for entry in layout.families]
    family = find_backbone(backbone, backbones_path)[0].family
    if not stated or family in stated:
        return None
    names = " and ".join(kind.__name__.removesuffix("Layout") for kind in stated)
    return f"{method} states strides and dilations for {names} alone; {backbone} is used as it is listed"


@dataclass(frozen=True)
class TrainedFile:
    """A file of parameters, and what is known of their training."""

    file: Path
    run: StoredRun | None = None
    """The run whose finished training wrote the file, where it lies in that run's folder."""
    imported: Imported | None = None
    """What it holds, where it is a released checkpoint."""

    @property
    def digest(self) -> str:
        """SHA-256 of the file; of a released checkpoint of the parameters, so that one is one run in any form."""
        return file_hash(self.file) if self.imported is None else self.imported.digest

    def fill(self, method: Method) -> None:
        """Gives ``method`` the parameters.

        They may be nested under ``model`` or ``state_dict``, and have the prefix of a wrapper: ``module.`` of
        DataParallel, ``_orig_mod.`` of torch.compile, ``model.`` or the like of a training framework.

        Raises:
            UserError: the file is damaged or unsafe, or its parameters are not those of the method.
        """
        if self.imported is not None:
            fill(method, self.imported.state, self.file)
            return
        state = named_tensors(open_file(self.file), self.file)
        fill(method, _unwrapped(state, method.state_dict().keys()), self.file)

    def training(self, method: str, backbone: str, protocol: Protocol, fold: int) -> CheckpointTraining:
        """What a record of an evaluation says of the training; of a file that lies in no run's folder its name alone.

        Raises:
            UserError: the score would mean something else than it seems: the run is of another method or backbone, or
                was trained on classes that the fold holds out.
        """
        if self.imported is not None:
            return CheckpointTraining(self.file.name, released=self.imported.origin.to_json())
        if self.run is None:
            return CheckpointTraining(self.file.name)
        check_trained_for(self.run.info.settings, method, backbone, protocol, fold, f"--eval-only {self.file}")
        return self.run.info.as_training(self.file.absolute())


def check_trained_for(
    trained: RunSettings, method: str, backbone: str, protocol: Protocol, fold: int, where: str
) -> None:
    """Whether a checkpoint of a run with the settings ``trained`` can be evaluated so; ``where`` is for messages.

    Raises:
        UserError: as :meth:`TrainedFile.training`.
    """
    if trained.method != method:
        raise UserError(f"{where}: this is a checkpoint of {trained.method}, not of {method}")
    if trained.backbone != backbone:
        used = trained.backbone
        raise UserError(f"{where}: trained on {used}, not on {backbone}; give --backbone {used}")
    held_out = set(trained.class_names.values())
    seen = [name for name in map(protocol.class_name, protocol.novel_classes(fold)) if name not in held_out]
    if trained.protocol == protocol.name and seen and trained.training_data is None:
        raise UserError(
            f"{where}: trained with fold {trained.fold} held out, so that it has seen classes of fold {fold} "
            f"({', '.join(seen[:5])}{', ...' if len(seen) > 5 else ''}); use --fold {trained.fold}"
        )


def _unwrapped(state: Mapping[str, Tensor], names: Collection[str]) -> Mapping[str, Tensor]:
    """``state`` without the prefix that all its names have, if they are ``names`` then."""
    first = min(names, default="")
    for prefix in {name.removesuffix(first) for name in state if name.endswith(first)}:
        found = {name.removeprefix(prefix): value for name, value in state.items()}
        if prefix and found.keys() == set(names) and all(name.startswith(prefix) for name in state):
            return found
    return state


def find_trained(given: str | Path, option: str) -> TrainedFile:
    """The parameters that a user named by ``option``: a run's folder, the checkpoint in it, or any such file.

    Raises:
        UserError: no such file, or no run with finished training: it evaluated another checkpoint, it was not trained,
            its training is not finished, its record is damaged, or the checkpoint is damaged or another run's.
    """
    path = Path(given).expanduser()
    file = path / CHECKPOINT_FILE if path.is_dir() else path
    try:
        if (file.parent / RUN_FILE).is_file() and (file.name == CHECKPOINT_FILE or holds_state(file)):
            run = read_run(file.parent)
            _check_finished(run, file)
            return TrainedFile(file, run)
        return TrainedFile(regular(file))
    except FileNotFoundError:
        raise UserError(
            f"{option} {given}: no such checkpoint; give a file or a run folder that holds {CHECKPOINT_FILE}"
        ) from None
    except OSError as error:
        raise UserError(f"{option} {given}: cannot be read: {error.strerror or error}") from error
    except UserError as error:
        named = str(error).startswith(str(file.parent))
        raise type(error)(f"{option} {error}" if named else f"{option} {given}: {error}") from None


def _check_finished(run: StoredRun, file: Path) -> None:
    settings, wanted = run.info.settings, run.info.settings.iterations
    if settings.checkpoint_digest:
        raise UserError(f"this run evaluated another checkpoint; give {run.info.passed.eval_only}")
    if wanted is None or not run.info.settings.has_checkpoint:
        raise UserError("this run was not trained, so that it has no checkpoint; leave the option out")
    done = load_state(regular(file), run.info.identity).iteration
    if done < wanted:
        raise UserError(
            f"trained {done} of {wanted} iterations; finish the run, or copy {file.name} elsewhere to take it as it is"
        )
