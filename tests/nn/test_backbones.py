"""Backbones against torchvision's networks, a VGG-16 written out by hand, and the authors' features."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import Tensor, nn

from fsseg_bench.errors import UserError
from fsseg_bench.nn.backbones import Backbone, build_backbone
from tests.support.networks import noise_images, random_backbone

RESNETS = ["resnet18", "resnet50"]
SMALL = "resnet18-layer3"


# --- names and first numbers ---


@pytest.mark.parametrize(("name", "trunk"), [("vgg16", "features."), ("resnet18", ""), ("resnet50-layer3", "")])
def test_parameter_names_and_shapes_are_torchvisions(name: str, trunk: str) -> None:
    with torch.device("meta"):
        network = getattr(torchvision.models, name.partition("-")[0])()
        ours = build_backbone(name).state_dict()
    absent = ("fc.",) if name == "resnet18" else ("fc.", "layer4.")
    theirs = {
        key: tensor.shape
        for key, tensor in network.state_dict().items()
        if key.startswith(trunk) and not key.startswith(absent)
    }
    assert {key: tensor.shape for key, tensor in ours.items()} == theirs


def test_random_initialisation_is_torchvisions() -> None:
    torch.manual_seed(7)
    expected = torchvision.models.resnet18().state_dict()
    torch.manual_seed(7)
    backbone = build_backbone("resnet18")
    assert all(torch.equal(tensor, expected[key]) for key, tensor in backbone.state_dict().items())


def test_random_initialisation_of_vgg() -> None:
    """torchvision's rule: He's normal distribution over the outputs, biases zero."""
    torch.manual_seed(0)
    vgg = build_backbone("vgg16")
    for module in vgg.modules():
        if isinstance(module, nn.Conv2d) and module.in_channels > 3:
            deviation = (2 / (9 * module.out_channels)) ** 0.5
            assert module.weight.std().item() == pytest.approx(deviation, rel=0.02)
            assert not module.bias.any()
    torch.manual_seed(0)
    again = build_backbone("vgg16").state_dict()
    assert all(torch.equal(tensor, again[key]) for key, tensor in vgg.state_dict().items())


def test_unknown_names() -> None:
    with pytest.raises(UserError, match=r"stage of resnet18-layer3 'layer4'.*layer3"):
        build_backbone(SMALL).levels(noise_images(), ("layer4",))
    with pytest.raises(UserError, match=r"stage of resnet18-layer3 'layer-2'.*'layer2'"):
        build_backbone(SMALL).freeze("layer-2")


# --- the mathematics ---


def _torchvision_levels(backbone: Backbone, images: Tensor) -> dict[str, Tensor]:
    """torchvision's ResNet-18 with the same weights: stage outputs, and layer4's sum before its ReLU."""
    network = torchvision.models.resnet18().eval()
    network.load_state_dict(backbone.state_dict(), strict=False)
    kept: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        return lambda _module, _inputs, output: kept.__setitem__(name, output.clone())

    for stage in backbone.stages:
        (network.maxpool if stage == "stem" else network.get_submodule(stage)).register_forward_hook(keep(stage))
    network.layer4[-1].bn2.register_forward_hook(keep("residual"))
    network.layer4[-2].register_forward_hook(keep("shortcut"))
    with torch.inference_mode():
        network(images)
    return {**kept, "signed": kept["residual"] + kept["shortcut"]}


@pytest.mark.parametrize("size", [(65, 65), (64, 98)])
def test_resnet18_is_torchvisions_on_a_finer_grid(size: tuple[int, int]) -> None:
    """torchvision has no dilated ResNet-18: its strided one gives every fourth cell (layer3: every second)."""
    backbone = random_backbone("resnet18").eval()
    images = noise_images(2, size)
    expected = _torchvision_levels(backbone, images)
    with torch.inference_mode():
        levels = dict(zip(backbone.stages, backbone.levels(images, backbone.stages), strict=True))
    fine = {"stem": 1, "layer1": 1, "layer2": 1, "layer3": 2}
    for stage, step in fine.items():
        torch.testing.assert_close(levels[stage][..., ::step, ::step], expected[stage], rtol=1e-5, atol=1e-5)
    signed = levels["layer4"][..., ::4, ::4]
    assert signed.min() < 0
    torch.testing.assert_close(signed, expected["signed"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "last"), [("resnet18", "layer2"), ("resnet18", "layer3"), ("resnet50", "layer3")])
def test_a_cut_is_the_network_up_to_there_without_the_last_relu(name: str, last: str) -> None:
    whole, cut = random_backbone(name).eval(), build_backbone(f"{name}-{last}").eval()
    cut.load_state_dict(whole.state_dict(), strict=False)
    assert cut.stages == whole.stages[: whole.stages.index(last) + 1]
    with torch.inference_mode():
        signed, rectified = cut(noise_images()), whole.levels(noise_images(), (last,))[0]
    assert signed.min() < 0
    assert torch.equal(signed.relu(), rectified)


@pytest.mark.parametrize("name", ["vgg16", "resnet50-deep-layer1", *RESNETS])
@pytest.mark.parametrize("grad", [False, True])
def test_later_stages_leave_earlier_outputs_alone(name: str, grad: bool) -> None:
    backbone = random_backbone(name).eval()
    images = noise_images(1, (33, 33))
    given = images.clone()
    with torch.set_grad_enabled(grad):
        together = backbone.levels(images, backbone.stages)
        alone = [backbone.levels(images, (stage,))[0] for stage in backbone.stages]
    assert all(torch.equal(a, b) for a, b in zip(together, alone, strict=True))
    assert torch.equal(images, given)
    if grad:
        sum(level.sum() for level in together).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in backbone.parameters())


def test_levels_come_in_the_order_asked_for_and_stop_there() -> None:
    backbone = random_backbone(SMALL).eval()
    reached = []
    backbone.get_submodule("layer3").register_forward_hook(lambda *_: reached.append("layer3"))
    second, first, again = backbone.levels(noise_images(), ("layer2", "stem", "layer2"))
    assert (second.shape[1], first.shape[1]) == (128, 64)
    assert torch.equal(second, again)
    assert not reached
    assert backbone.levels(noise_images(), ()) == ()
