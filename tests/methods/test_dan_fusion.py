"""The decoder from coarse to fine against plain PyTorch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsseg_methods._dan.fusion import FusionDecoder, RefinementFusion


def _conv(layer: nn.Module, inputs: Tensor) -> Tensor:
    assert isinstance(layer, nn.Conv2d)
    return F.conv2d(inputs, layer.weight, layer.bias, padding=layer.kernel_size[0] // 2)


def _fused(step: RefinementFusion, coarse: Tensor, fine: Tensor) -> Tensor:
    enlarged = F.interpolate(coarse, size=fine.shape[2:], mode="bilinear", align_corners=False)
    lateral = F.relu(_conv(step.lateral[0], fine))
    fused = F.relu(_conv(step.fuse[0], torch.cat((enlarged, lateral), dim=1)))
    return fused + _conv(step.refine[1], F.relu(_conv(step.refine[0][0], fused)))


def test_one_step() -> None:
    torch.manual_seed(0)
    step = RefinementFusion(5, 3, 4).double()
    coarse, fine = torch.randn(2, 5, 3, 4, dtype=torch.float64), torch.randn(2, 3, 5, 8, dtype=torch.float64)
    torch.testing.assert_close(step(coarse, fine), _fused(step, coarse, fine))
    assert sum(p.numel() for p in step.parameters()) == 9 * (3 * 4 + 9 * 4 + 2 * 4 * 4) + 4 * 4


def test_the_whole_decoder() -> None:
    torch.manual_seed(0)
    decoder = FusionDecoder((6, 5, 2), (8, 7, 3), classes=2).double()
    maps = [torch.randn(2, c, s, s, dtype=torch.float64) for c, s in ((6, 2), (5, 3), (2, 6))]
    decoded = F.relu(_conv(decoder.start[0], maps[0]))
    for step, fine in zip(decoder.steps, maps[1:], strict=True):
        assert isinstance(step, RefinementFusion)
        decoded = _fused(step, decoded, fine)
    torch.testing.assert_close(decoder(maps), _conv(decoder.classify, decoded))


def test_one_map_alone() -> None:
    decoder = FusionDecoder((6,), (4,))
    assert decoder([torch.randn(1, 6, 3, 3)]).shape == (1, 2, 3, 3)
    assert len(decoder.steps) == 0
