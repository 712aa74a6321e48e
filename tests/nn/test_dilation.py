"""Against torchvision's own dilation, and against the strided networks that the weights were trained in."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import Tensor, nn

from fsseg_bench.nn.backbones.dilation import replace_stride
from tests.support.networks import noise_images, shuffle_norms


def _trunk(network: nn.Module, images: Tensor) -> Tensor:
    features = network.maxpool(network.relu(network.bn1(network.conv1(images))))
    return network.layer4(network.layer3(network.layer2(network.layer1(features))))


def _geometry(network: nn.Module) -> dict[str, tuple[object, ...]]:
    return {
        name: (module.stride, module.padding, module.dilation, module.kernel_size)
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d)
    }


@pytest.mark.parametrize("replaced", [(False, True, True), (True, True, True)])
def test_bottlenecks_as_torchvision_dilates_them(replaced: tuple[bool, bool, bool]) -> None:
    reference = torchvision.models.resnet50(replace_stride_with_dilation=replaced).eval()
    shuffle_norms(reference)
    ours = torchvision.models.resnet50()
    dilation = 1
    for layer, wanted in zip((ours.layer2, ours.layer3, ours.layer4), replaced, strict=True):
        if wanted:
            dilation = replace_stride(layer, dilation)
    assert dilation == 2 ** sum(replaced)
    assert _geometry(ours) == _geometry(reference)
    ours.load_state_dict(reference.state_dict())
    images = noise_images(1, (65, 49))
    with torch.inference_mode():
        assert torch.equal(_trunk(ours.eval(), images), _trunk(reference, images))


@pytest.mark.parametrize(("network", "size"), [("resnet18", (65, 65)), ("resnet18", (64, 98)), ("resnet50", (65, 33))])
def test_every_weight_meets_the_positions_it_was_trained_on(network: str, size: tuple[int, int]) -> None:
    """The dilated output, taken at every fourth cell, is the strided network's output."""
    torch.manual_seed(0)
    strided = getattr(torchvision.models, network)().double().eval()
    shuffle_norms(strided)
    dilated = getattr(torchvision.models, network)().double()
    dilated.load_state_dict(strided.state_dict())
    assert replace_stride(dilated.layer4, replace_stride(dilated.layer3, 1)) == 4
    images = noise_images(1, size).double()
    with torch.inference_mode():
        expected, fine = _trunk(strided, images), _trunk(dilated.eval(), images)
    assert fine.shape[-2:] == tuple(-(-side // 8) for side in size)
    torch.testing.assert_close(fine[..., ::4, ::4], expected, rtol=1e-10, atol=1e-10)


def test_a_stage_without_stride_takes_the_dilation_before_it() -> None:
    stage = torchvision.models.resnet18().layer1
    assert replace_stride(stage, 2) == 2
    assert {(m.dilation, m.padding) for m in stage.modules() if isinstance(m, nn.Conv2d)} == {((2, 2), (2, 2))}
