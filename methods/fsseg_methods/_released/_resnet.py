"""Names of a ResNet's parts: torchvision's, under any prefix."""

from __future__ import annotations


def resnet_names(prefix: str = "", last: int = 4) -> dict[str, str]:
    """Of the first convolution, its batch-norm, and the stages up to ``layer<last>``; ``prefix`` ends with a dot."""
    parts = ("conv1", "bn1", *(f"layer{i}" for i in range(1, last + 1)))
    return {f"{prefix}{part}": f"backbone.{part}" for part in parts}
