"""DINOv2 and DINOv3 as Meta's code computes them, against its outputs and its formulas."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsseg_bench.nn.backbones import Backbone, build_backbone
from fsseg_bench.nn.families import dino
from fsseg_bench.nn.weights import load_weights
from tests.support import golden
from tests.support.golden import Golden


def weight(distance: float, a: float = -0.75) -> float:
    """Keys's cubic kernel."""
    x = abs(distance)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0


def test_positions_by_metas_rule() -> None:
    """Cell i of n lies at (i + 0.5) n0 / (n + 0.1) - 0.5, edges repeated."""
    before, after = (5, 5), (7, 3)
    positions = torch.randn(1, 25, 2, dtype=torch.float64)
    grid = positions.view(5, 5, 2)
    expected = torch.zeros(*after, 2, dtype=torch.float64)
    for i in range(after[0]):
        for j in range(after[1]):
            y, x = (i + 0.5) * 5 / 7.1 - 0.5, (j + 0.5) * 5 / 3.1 - 0.5
            for row in range(int(np.floor(y)) - 1, int(np.floor(y)) + 3):
                for column in range(int(np.floor(x)) - 1, int(np.floor(x)) + 3):
                    seen = grid[min(max(row, 0), 4), min(max(column, 0), 4)]
                    expected[i, j] += weight(y - row) * weight(x - column) * seen
    found = dino.resized_positions(positions, before, after)
    torch.testing.assert_close(found, expected.view(1, 21, 2), rtol=1e-4, atol=1e-5)
    assert dino.resized_positions(positions, before, before) is positions


def test_periods_went_through_bfloat16() -> None:
    rope = SimpleNamespace(periods=100.0 ** torch.linspace(0, 0.9, 16))
    model: Any = nn.Module()
    model.rope, model.pretrained_cfg = rope, {"architecture": "vit_small_patch16_dinov3", "tag": None}
    exact = rope.periods.clone()
    dino.as_meta(model, "x")
    bits = exact.numpy().view(np.uint32).astype(np.uint64)  # bfloat16 keeps the upper 16 bits, rounded to even
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16).astype(np.uint32).view(np.float32)
    assert torch.equal(rope.periods, torch.from_numpy(rounded))
    assert not torch.equal(rope.periods, exact)


def test_metas_convnext_normalises_every_cell() -> None:
    pytest.importorskip("timm", reason="timm is not installed (the extra timm)")
    backbone = build_backbone("timm:convnext_tiny.dinov3_lvd1689m:meta").eval()
    norm = backbone.network.head.norm
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        middle, last = backbone.levels(images, ("stages.2", "stages.3"))
        raw_middle, raw = backbone.levels_before_norm(images, ("stages.2", "stages.3"))
    cells = F.layer_norm(raw.permute(0, 2, 3, 1), (768,), norm.weight, norm.bias, 1e-6).permute(0, 3, 1, 2)
    torch.testing.assert_close(last, cells, rtol=1e-4, atol=1e-4)
    assert torch.equal(middle, raw_middle)
    assert backbone.stage_of("network.head.norm.weight") == "stages.3"
    cut = build_backbone("timm:convnext_tiny.dinov3_lvd1689m:meta-stages.0")
    assert not [key for key in cut.state_dict() if "head" in key]


@pytest.fixture(scope="module")
def case(test_data: Path) -> Golden:
    pytest.importorskip("timm", reason="timm is not installed (the extra timm)")
    return golden.load(test_data / "golden", "dinov2-1")


@pytest.fixture(scope="module")
def images(case: Golden) -> Tensor:
    noise, mask, colour = (torch.from_numpy(case.input(name)) for name in ("noise", "mask", "colour"))
    return noise + 2 * mask[:, None] * colour.view(1, 3, 1, 1)


@pytest.fixture(scope="module")
def file(case: Golden, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The case's parameters in a file as Meta writes it."""
    state = {"mask_token": torch.zeros(1, 384)}
    for entry in case.info["parameters"]:
        state[entry["name"]] = torch.empty(entry["shape"])
        case.fill(entry, state[entry["name"]])
    path = tmp_path_factory.mktemp("weights") / "dinov2_vits14_pretrain.pth"
    torch.save(state, path)
    return path


def loaded(name: str, file: Path) -> Backbone:
    backbone = build_backbone(name)
    assert load_weights(backbone, str(file)).details["unused"] == ["network.mask_token"]
    return backbone.eval()


@pytest.mark.real_data
def test_dinov2_against_metas_code(case: Golden, images: Tensor, file: Path) -> None:
    backbone = loaded("timm:vit_small_patch14_dinov2:meta", file)
    network = backbone.network
    with torch.no_grad():
        case.check("position", (network._pos_embed(torch.zeros(1, 7, 9, 384))[0] - network.cls_token[0] * first(64)))
        levels = backbone.levels(images, ("blocks.11",))[0]
        raw = backbone.levels_before_norm(images, ("blocks.11",))[0]
        tokens = network.forward_features(images)
        stock = loaded("timm:vit_small_patch14_dinov2", file).levels(images, ("blocks.11",))[0]
    case.check("patches", levels.flatten(2).mT.contiguous())
    case.check("class_token", tokens[:, 0])
    whole = F.layer_norm(raw.flatten(2).mT, (384,), network.norm.weight, network.norm.bias, 1e-6)
    case.check("patches", whole.contiguous())
    with pytest.raises(AssertionError, match="off by"):  # timm's own rule is another
        case.check("patches", stock.flatten(2).mT.contiguous())


def first(tokens: int) -> Tensor:
    """(tokens, 1): 1 for the first one."""
    return (torch.arange(tokens) == 0).float()[:, None]
