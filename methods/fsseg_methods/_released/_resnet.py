"""Names of a ResNet's parts: torchvision's under any prefix, and those of deep stems that count their layers."""

from __future__ import annotations

from collections.abc import Sequence

_DEEP_STEM = ("conv1", "bn1", "conv2", "bn2", "conv3", "bn3")


def resnet_names(prefix: str = "", last: int = 4) -> dict[str, str]:
    """Of the first convolution, its batch-norm, and the stages up to ``layer<last>``; ``prefix`` ends with a dot."""
    return {f"{prefix}{part}": f"backbone.{part}" for part in ("conv1", "bn1", *_layers(last))}


def deep_names(stem: Sequence[str], last: int = 4) -> dict[str, str]:
    """Of a deep stem, whose convolutions and batch-norms are called ``stem`` in turn, and of the stages."""
    parts = {official: f"backbone.{own}" for official, own in zip(stem, _DEEP_STEM, strict=True)}
    return parts | {part: f"backbone.{part}" for part in _layers(last)}


def _layers(last: int) -> list[str]:
    return [f"layer{i}" for i in range(1, last + 1)]
