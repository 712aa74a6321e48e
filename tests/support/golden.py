"""Parity cases: outputs of the authors' own code on tensors that are made again from their names."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Golden:
    """One case: its description and its stored outputs."""

    case: str
    info: dict[str, Any]
    stored: dict[str, np.ndarray]
    _folder: Path

    def value(self, name: str, shape: tuple[int, ...], kind: str) -> np.ndarray:
        """The regenerated tensor ``name``, float32."""
        return _generator(self._folder).value(self.case, name, shape, kind)

    def stream(self, name: str) -> np.random.RandomState:
        """The random stream ``name`` of the case."""
        return _generator(self._folder).stream(self.case, name)

    def input(self, name: str) -> np.ndarray:
        """A listed input, regenerated and scaled as the case says."""
        entry = next(e for e in self.info["inputs"] if e["name"] == name)
        value = self.value(name, tuple(entry["shape"]), entry["kind"])
        return value * np.float32(entry["scale"]) if "scale" in entry else value

    def assert_close(self, name: str, actual: np.ndarray) -> None:
        """``actual`` equals the stored output within the tolerance that the case states for its precision."""
        entry = next(e for e in self.info["outputs"] if e["name"] == name)
        assert list(actual.shape) == list(entry["shape"]), f"{name}: {actual.shape} is not {entry['shape']}"
        flat = np.ascontiguousarray(actual).reshape(-1)
        stored = self.stored[name].reshape(-1)
        kept = flat[:: entry.get("stride", entry.get("k", 1))]
        largest = float(np.abs(stored).max(initial=0.0))
        tolerance = entry.get("tolerance", 1e-4 * max(0.1, largest))
        if actual.dtype == np.float64:
            tolerance = entry.get("tolerance64", tolerance)
        worst = float(np.abs(kept - stored).max(initial=0.0))
        assert worst <= tolerance, f"{self.case} {name}: off by {worst:.3g}, allowed {tolerance:.3g}"
        if "mean" in entry and actual.dtype.kind == "f":
            assert abs(float(flat.mean(dtype=np.float64)) - entry["mean"]) <= tolerance, f"{name}: the mean is off"

    def check(self, name: str, actual: Tensor) -> None:
        """:meth:`assert_close` of a tensor."""
        self.assert_close(name, actual.detach().numpy())

    def fill(self, entry: dict[str, Any], tensor: Tensor) -> None:
        """Sets ``tensor`` to the regenerated and scaled, or given, values of a listed parameter."""
        with torch.no_grad():
            assert list(tensor.shape) == entry["shape"], entry["name"]
            if entry["kind"] == "given":
                tensor.copy_(torch.tensor(entry["values"]).view_as(tensor))
                return
            value = self.value(entry["name"], tuple(entry["shape"]), entry["kind"]) * np.float32(entry.get("scale", 1))
            tensor.copy_(torch.from_numpy(value))

    def fill_all(self, tensors: Sequence[Tensor]) -> dict[str, Tensor]:
        """Fills all listed parameters in their order; the tensors by their names in the case."""
        pairs = list(zip(self.info["parameters"], tensors, strict=True))
        for entry, tensor in pairs:
            self.fill(entry, tensor)
        return {entry["name"]: tensor for entry, tensor in pairs}

    def gradients(self) -> list[str]:
        """The names of the parameters whose gradients are stored."""
        names = [entry["name"] for entry in self.info["outputs"]]
        return [name.removeprefix("grad.") for name in names if name.startswith("grad.")]

    def check_gradients(self, parameters: Mapping[str, Tensor], count: int) -> None:
        """The stored gradients, ``count`` of them, are those of ``parameters``, by their names in the case."""
        names = self.gradients()
        assert len(names) == count
        for name in names:
            gradient = parameters[name].grad
            assert gradient is not None, name
            self.check(f"grad.{name}", gradient)


def load(folder: Path, case: str) -> Golden:
    """The case ``case`` of ``folder`` (FSSEG_TEST_DATA/golden)."""
    info = json.loads((folder / f"{case}.json").read_text())
    with np.load(folder / f"{case}.npz", allow_pickle=False) as archive:
        stored = {key: archive[key] for key in archive.files}
    return Golden(case, info, stored, folder)


def _generator(folder: Path) -> Any:
    spec = importlib.util.spec_from_file_location("golden_generator", folder / "golden.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
