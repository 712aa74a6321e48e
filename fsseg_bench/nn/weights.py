"""Filling a backbone with weights, and what was filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor

from fsseg_bench.errors import UserError, unknown
from fsseg_bench.nn.backbones import Backbone, folded_norms
from fsseg_bench.nn.weight_files import file_hash, find_file, published_file, read_file

_COUNTER = "num_batches_tracked"
_SHOWN = 4
_MISSING = "missing"


@dataclass(frozen=True)
class WeightsInfo:
    """What a backbone was filled with."""

    source: str
    """``none``, the name of published weights, or the file as it was given."""
    digest: str
    """The SHA-256 of the file, or ``none``."""
    details: dict[str, Any] = field(default_factory=dict)
    """``file`` name, ``tensors`` filled in, ``unused`` keys of the file, ``missing`` keys (counters only), and where
    there are any, ``folded`` batch-norms. Also what the backbone says of itself (:meth:`Backbone.about`)."""

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON-able values."""
        return asdict(self)


def load_weights(backbone: Backbone, spec: str) -> WeightsInfo:
    """Fills ``backbone`` with weights, in place; on an error it is left as it was.

    The backbone then says that it is ``filled``, and which of its batch-norms came folded (``folded_norms``).

    Args:
        backbone: its parameter names are those of its published weights; it may know files in other styles
            (:meth:`Backbone.own_names`).
        spec: ``"none"`` keeps the random initialisation; ``"imagenet"`` is the published file, found here or
            downloaded; anything else is a path to a ``.pth``, ``.pt`` or ``.safetensors`` file.

    Raises:
        UserError: the file is missing, damaged or unsafe, cannot be downloaded, or does not fit (a tensor of
            the backbone is missing or of another shape, or the file has layers that the backbone lacks).
    """
    about = backbone.about()
    if spec == "none":
        return WeightsInfo("none", "none", about)
    info = _loaded(backbone, spec)
    return replace(info, details=info.details | about)


def _loaded(backbone: Backbone, spec: str) -> WeightsInfo:
    if spec == "imagenet":
        name = backbone.facts.weights
        if name is None:
            raise UserError(f"{backbone.name} has no published ImageNet weights: use --weights none, or a file")
        file = backbone.published_file()
        return _fill(backbone, file or _imagenet_file(backbone.facts.weights_url or official_url(name)), name)
    path = Path(spec)
    if not path.suffix and path.name == spec and not path.exists():
        raise unknown("weights", spec, ["none", "imagenet", "a path to a .pth, .pt or .safetensors file"])
    return _fill(backbone, find_file(spec), spec)


def official_url(weights_enum: str) -> str:
    """Where torchvision publishes weights, by name (``ResNet50_Weights.IMAGENET1K_V1``)."""
    url: str = torchvision.models.get_weight(weights_enum).url
    return url


def _imagenet_file(url: str) -> Path:
    """The published file; the part of its name after the last hyphen begins its SHA-256."""
    name = url.rpartition("/")[2]
    return published_file(name, url, name.rpartition("-")[2].partition(".")[0])


def _fill(backbone: Backbone, path: Path, source: str) -> WeightsInfo:
    digest = file_hash(path)
    given = backbone.own_names(read_file(path))
    wanted = backbone.state_dict()
    fitting = {key: tensor for key, tensor in given.items() if key in wanted}
    first = {key.partition(".")[0] for key in given}
    if not fitting and len(first) == 1 and (names := {key.partition(".")[2] for key in given} & wanted.keys()):
        prefix = f"{first.pop()}."
        raise UserError(
            f"weights {path} do not fit {backbone.name}: all names in it begin with {prefix!r}, as in "
            f"{prefix}{min(names)}; save it without: {{name.removeprefix({prefix!r}): value for name, value in ...}}"
        )
    if problems := _problems(backbone, wanted, given):
        raise UserError(f"weights {path} do not fit {backbone.name}: {_explain(backbone, problems)}")
    backbone.load_state_dict(fitting, strict=False)
    backbone.filled = True
    backbone.folded_norms = folded_norms(backbone)
    details: dict[str, Any] = {
        "file": path.name,
        "tensors": len(fitting),
        "unused": sorted(given.keys() - wanted.keys()),
        "missing": sorted(wanted.keys() - given.keys()),
    }
    if backbone.folded_norms:
        details["folded"] = list(backbone.folded_norms)
    return WeightsInfo(source, digest, details)


def _problems(backbone: Backbone, wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> dict[str, str]:
    """What matters, by key: tensors of the backbone that the file lacks or has otherwise, layers too many."""
    problems = {}
    for key, tensor in wanted.items():
        if key.endswith(_COUNTER):
            continue
        if key not in given:
            problems[key] = _MISSING
        elif given[key].shape != tensor.shape:
            problems[key] = f"shape {tuple(given[key].shape)}, needed {tuple(tensor.shape)}"
        elif not given[key].is_floating_point() or given[key].layout != torch.strided:
            problems[key] = f"{given[key].dtype}, needed dense floating-point numbers"
        elif not bool(given[key].isfinite().all()):
            problems[key] = "holds NaN or infinity"
    for key in given:
        if key not in wanted and backbone.stage_of(key):
            problems[key] = "the backbone has no such layer"
    return problems


def _explain(backbone: Backbone, problems: Mapping[str, str]) -> str:
    """The first problems in words and, for a file that ends too early, the cut that it fits."""
    shown = "; ".join(f"{key}: {problem}" for key, problem in list(problems.items())[:_SHOWN])
    more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    affected = {backbone.stage_of(key) for key in problems}
    if affected == {None}:
        return f"{shown}{more}. The method needs the network's classifier too, and the file has none that fits"
    whole = next(place for place, stage in enumerate(backbone.stages) if stage in affected)
    if not whole or set(problems.values()) != {_MISSING}:
        return f"{shown}{more}"
    fitting = f"{backbone.name.removesuffix(f'-{backbone.stages[-1]}')}-{backbone.stages[whole - 1]}"
    return f"{shown}{more}. The file does fit {fitting}: use --backbone {fitting}"
