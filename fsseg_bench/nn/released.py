"""Files that authors of methods publish: which names their tensors have, and what they are called here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from fsseg_bench.protocol.claim import Claim

COUNTER = "num_batches_tracked"
"""Of batch-norms: torch before 0.4.1 had none, and no number depends on it."""


@dataclass(frozen=True, kw_only=True)
class Released:
    """One kind of file that the authors' code writes: a method with its tables says how each is read.

    Names are those of the authors without ``module.``; a name stands for all names that go on with a dot.
    """

    what: str
    """The network, in the authors' words."""
    backbones: tuple[str, ...]
    """That such files are known of."""
    names: Mapping[str, str]
    """The authors' names, and those of the method; of several that fit, the longest holds."""
    marks: tuple[str, ...]
    """Names without which a file is of another kind."""
    unused: Mapping[str, str] = field(default_factory=dict)
    """Names of tensors that the method has no use for, and why."""
    twice: Mapping[str, str] = field(default_factory=dict)
    """Names under which tensors are in a file a second time, and the authors' first names: both must be equal."""
    stage: str = ""
    """The stage before the method whose network the file holds, in place of the method's own."""
    network: type[nn.Module] | None = None
    """That stage's network."""
    switches: Mapping[str, Any] = field(default_factory=dict)
    """Without which the method is another network than the file's."""
    classes: str = ""
    """The authors' name of a tensor whose first axis are the background and the base classes."""
    lists: str = "unknown"
    """On which lists of images it was trained, where the authors say so."""
    source: str = "none is released"
    """Where the authors say that their files are."""
    licence: str = "none stated"
    claims: str = "none"
    """The published row that the files claim, in words."""
    rows: tuple[Claim, ...] = ()
    """The same for ``fsseg-bench claims``: numbers that are among the published ones here."""
    notes: tuple[str, ...] = ()
    """What the file does not say, and the user must."""

    def knows(self, names: Iterable[str]) -> bool:
        """Whether a file with these names is of this kind."""
        given = list(names)
        return self.marked(given) and all(self.own(name) is not None or self.why_unused(name) for name in given)

    def marked(self, names: Iterable[str]) -> bool:
        """Whether all names are there without which a file is of another kind."""
        given = list(names)
        return all(any(_within(name, mark) for name in given) for mark in self.marks)

    def first(self, name: str) -> str:
        """The authors' first name of a tensor that is in the file twice; empty where ``name`` is the only one."""
        found = _longest(name, self.twice)
        return self.twice[found] + name[len(found) :] if found else ""

    def own(self, name: str) -> str | None:
        """The method's name of the authors' ``name``; None where it has none."""
        if found := _longest(name, self.names):
            return self.names[found] + name[len(found) :]
        return None

    def why_unused(self, name: str) -> str:
        """Why a tensor is not used; empty where it is."""
        if self.first(name):
            return "in the file a second time, under another name"
        found = _longest(name, self.unused)
        return self.unused[found] if found and len(found) > len(_longest(name, self.names)) else ""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where parameters that were not trained here come from."""

    file: str
    """Its name."""
    digest: str
    """The SHA-256 of the authors' file."""
    what: str
    method: str
    backbone: str
    switches: Mapping[str, Any]
    base_classes: int | None
    """How many classes it was trained on, where a tensor says so."""
    lists: str
    unused: tuple[str, ...] = ()
    """Tensors of the file that the method has no use for, by the authors' names."""
    counters: int = 0
    """Of batch-norms, which the file lacks."""
    stage: str = ""
    """The stage before the method whose network it is; empty for the method itself."""
    rows: tuple[Claim, ...] | None = None
    """Which published numbers such files claim; None where an earlier version read the file."""

    def to_json(self) -> dict[str, Any]:
        """As run.json and the header of an imported file hold it."""
        found = asdict(self) | {"switches": dict(self.switches), "unused": list(self.unused)}
        return {key: value for key, value in found.items() if value is not None and (key, value) != ("stage", "")} | {
            "base_classes": self.base_classes
        }

    def use(self, file: str) -> str:
        """The options of ``fsseg-bench run`` that take ``file`` for what it is."""
        taken = f"--set stage.{self.stage}.file={file}" if self.stage else f"--eval-only {file}"
        return f"--method {self.method} --backbone {self.backbone} {taken}"


@dataclass(frozen=True)
class Imported:
    """Parameters by the method's names, and where they come from."""

    state: Mapping[str, Tensor]
    origin: Origin

    @property
    def digest(self) -> str:
        """SHA-256 over names, types, shapes and bytes: that of the parameters, whatever file they lie in."""
        found = hashlib.sha256()
        for name, tensor in sorted(self.state.items()):
            found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            found.update(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return found.hexdigest()


def _longest(name: str, known: Iterable[str]) -> str:
    return max((each for each in known if _within(name, each)), key=len, default="")


def _within(name: str, part: str) -> bool:
    return name == part or name.startswith(f"{part}.")
