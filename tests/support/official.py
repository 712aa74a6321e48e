"""Files as authors' code writes them: of a toy method with a table of its own, and of the listed official models."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fsseg_bench.engine.build import build_method
from tests.support.golden import Golden

METHOD = '''"""Toy: a prototype of mapped features."""

from dataclasses import dataclass

from torch import nn

from fsseg_bench.method import Method
from fsseg_bench.nn.losses import segmentation_loss
from fsseg_bench.nn.prototypes import cosine_scores, support_prototypes, unit_cells
from fsseg_bench.recipe import Recipe


class Toy(Method):
    @dataclass(frozen=True)
    class Switches:
        width: int = 4
        alpha: float = 20.0

    def __init__(self, backbone, switches):
        super().__init__(backbone, switches)
        self.head = nn.Conv2d(backbone.out_channels, switches.width, 1)
        self.norm = nn.BatchNorm2d(switches.width)

    def encode(self, images):
        return self.norm(self.head(self.backbone(images)))

    def predict(self, episode):
        prototypes = support_prototypes(episode.support, episode.support_masks)
        return cosine_scores(unit_cells(episode.query).cells, prototypes, alpha=self.switches.alpha)

    def loss(self, episode):
        return {"query": segmentation_loss(self.predict(episode), episode.query_labels)}

    @classmethod
    def recipe(cls, protocol, shot):
        return Recipe(iterations=1, batch=1, lr=0.1)
'''
TABLE = '''"""Files of the toy."""

from fsseg_bench.nn.released import Released
from fsseg_bench.protocol.claim import Claim

RELEASED = (
    Released(
        what="the toy of its authors",
        backbones=("resnet18-layer2", "resnet18-layer1"),
        marks=("net.conv1", "cls.0"),
        names={f"net.{part}": f"backbone.{part}" for part in ("conv1", "bn1", "layer1", "layer2")}
        | {"cls.0": "head", "cls.1": "norm"},
        unused={"net.fc": "the classifier of ImageNet"},
        switches={"width": 3},
        claims="row 'Toy' of a table",
        rows=(Claim(protocol="pascal5i", shots=(1, 5), method="Toy"),),
        notes=("Shots are averaged.",),
    ),
)
'''


def toy_folder(folder: Path) -> Path:
    """A folder of methods with the toy and the table of its files."""
    (folder / "_released").mkdir(parents=True)
    (folder / "toy.py").write_text(METHOD)
    (folder / "_released" / "__init__.py").touch()
    (folder / "_released" / "toy.py").write_text(TABLE)
    return folder


def toy_state(methods: Path, backbone: str = "resnet18-layer2", seed: int = 1) -> dict[str, Tensor]:
    """The tensors of a toy of width 3, by its authors' names, and an unused one."""
    model = build_method("toy", backbone, "none", seed=seed, methods_path=methods, width=3)
    names = (("backbone.", "net."), ("head.", "cls.0."), ("norm.", "cls.1."))
    state = {}
    for own, tensor in model.state_dict().items():
        before, after = next(pair for pair in names if own.startswith(pair[0]))
        state[own.replace(before, after, 1)] = tensor.clone()
    return state | {"net.fc.weight": torch.ones(2, 3)}


def manifest(folder: Path, name: str) -> dict[str, Any]:
    """Keys, shapes and nesting of an official model (FSSEG_TEST_DATA/manifests)."""
    found: dict[str, Any] = json.loads((folder / "manifests" / f"{name}.json").read_text())
    return found


def keys(listed: Mapping[str, Any], *, shots: int = 1) -> list[tuple[str, list[int], str]]:
    """Name, shape and type of a manifest's tensors, without the prefix; a file of five shots may have more."""
    entries = [*listed["entries"], *(listed.get("extra_entries_5shot", []) if shots == 5 else [])]
    return [(key.removeprefix(listed["key_prefix"]), shape, kind) for key, shape, kind in entries]


def write_shapes(path: Path, listed: Mapping[str, Any], *, shots: int = 1) -> dict[str, int]:
    """A small file with the keys, shapes, types and nesting of a manifest: each tensor is one number, expanded.

    Gives that number by the tensor's name; a name that repeats another tensor has its number.
    """
    numbers: dict[str, int] = {}
    state: dict[str, Tensor] = {}
    for place, (name, shape, kind) in enumerate(keys(listed, shots=shots), start=1):
        numbers[name] = numbers.get(_first(name, listed), place)
        value = torch.tensor(numbers[name], dtype=getattr(torch, kind))
        state[listed["key_prefix"] + name] = value.expand(shape)
    _save(path, listed, state)
    assert path.stat().st_size < 4_000_000
    return numbers


def write_official(
    path: Path,
    listed: Mapping[str, Any],
    case: Golden,
    called: Callable[[str], str] = str,
    *,
    whole: bool = True,
    shots: int = 1,
) -> Path:
    """A file with the keys and nesting of a manifest and the numbers of a case.

    Args:
        path: of the file.
        listed: the manifest.
        case: whose tensors are taken; those that it has not are 0.
        called: the case's name of a tensor of the file.
        whole: whether the file has all tensors of the case.
        shots: as of :func:`keys`.
    """
    given = {entry["name"]: entry for entry in case.info["parameters"]}
    state: dict[str, Tensor] = {}
    for name, shape, kind in keys(listed, shots=shots):
        first = _first(name, listed)
        if first in state:
            state[name] = state[first]
            continue
        state[name] = torch.zeros(shape, dtype=getattr(torch, kind))
        if entry := given.pop(called(name), None):
            case.fill(entry, state[name])
    left = [name for name in given if not name.endswith("num_batches_tracked")]
    assert not (left and whole), left
    _save(path, listed, {listed["key_prefix"] + name: tensor for name, tensor in state.items()})
    return path


def _first(name: str, listed: Mapping[str, Any]) -> str:
    """The first name of a tensor that is in the file twice."""
    return name.replace("encoder.", "layer", 1) if "aliases" in listed and name.startswith("encoder.") else name


def _save(path: Path, listed: Mapping[str, Any], state: dict[str, Tensor]) -> None:
    layout = listed["torch_save_layout"]
    torch.save({**dict.fromkeys(layout, 1), "state_dict": state} if isinstance(layout, dict) else state, path)
