"""Runs small enough for tests: a tiny VOC data set, a cut ResNet-18 with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fsseg_bench.records.request import RunRequest
from tests.support.datasets import write_protocol, write_voc


def tiny_request(folder: Path, **changes: Any) -> RunRequest:
    """A request for an untrained 1-shot baseline on fold 1; data and protocol are written into ``folder`` once."""
    protocol = folder / "tiny-voc.toml"
    if not protocol.exists():
        write_voc(folder / "tiny-voc", train=4, val=6)
        write_protocol(protocol, size=64, count=12)
    values: dict[str, Any] = {
        "method": "baseline",
        "dataset": str(protocol),
        "backbone": "resnet18-layer2",
        "weights": "none",
        "device": "cpu",
        "iterations": 0,
        "workers": 0,
        "panels": 0,
        "out": str(folder / "runs"),
    }
    return RunRequest(**(values | changes))


def tiny_training(**changes: str) -> dict[str, str]:
    """``settings`` of a short training in which the loss moves."""
    return {
        "recipe.lr": "0.01",
        "recipe.batch": "2",
        "recipe.bn": "train",
        "recipe.augment": "enlarged-crop-supports",
        **changes,
    }
