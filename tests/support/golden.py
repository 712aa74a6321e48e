"""Parity cases: outputs of the authors' own code on tensors that are made again from their names."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


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
        """``actual`` equals the stored output within the tolerance that the case states."""
        entry = next(e for e in self.info["outputs"] if e["name"] == name)
        assert list(actual.shape) == list(entry["shape"]), f"{name}: {actual.shape} is not {entry['shape']}"
        flat = np.ascontiguousarray(actual).reshape(-1)
        stored = self.stored[name].reshape(-1)
        kept = flat[:: entry.get("stride", entry.get("k", 1))]
        largest = float(np.abs(stored).max(initial=0.0))
        tolerance = entry.get("tolerance", 1e-4 * max(0.1, largest))
        worst = float(np.abs(kept - stored).max(initial=0.0))
        assert worst <= tolerance, f"{self.case} {name}: off by {worst:.3g}, allowed {tolerance:.3g}"
        if "mean" in entry and actual.dtype.kind == "f":
            assert abs(float(flat.mean(dtype=np.float64)) - entry["mean"]) <= tolerance, f"{name}: the mean is off"


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
