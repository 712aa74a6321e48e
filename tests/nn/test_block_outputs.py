"""What blocks give before their last ReLU, against torchvision's networks, whose layers are listened to."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import Tensor, nn

from fsseg_bench.errors import UserError
from fsseg_bench.nn.backbones import Backbone, build_backbone, folded
from fsseg_bench.nn.layout import Layout, ResNetLayout, VGGLayout
from tests.support.heads import TinyBackbone
from tests.support.networks import noise_images, random_backbone

STRIDED = Layout((ResNetLayout(output_stride=32),))
PLAIN = VGGLayout(pool_kernel=2, pool_strides=(2, 2, 2, 2, 2), dilations=(1, 1, 1, 1, 1), floor_pool=True)
IMAGES = (65, 81)


def _listen(network: nn.Module, name: str, kept: dict[str, Tensor]) -> None:
    def keep(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        kept[f"{name} in"], kept[name] = inputs[0].clone(), output.clone()

    network.get_submodule(name).register_forward_hook(keep)


def _resnet_sums(network: nn.Module, stages: tuple[str, ...], last: str) -> list[list[Tensor]]:
    """Residual plus shortcut of every block of torchvision's network."""
    kept: dict[str, Tensor] = {}
    blocks = {
        stage: [f"{stage}.{i}" for i in range(len(list(network.get_submodule(stage).children())))] for stage in stages
    }
    for names in blocks.values():
        for name in names:
            parts = dict(network.get_submodule(name).named_children())
            for part in ("conv1", last, *(["downsample"] if "downsample" in parts else [])):
                _listen(network, f"{name}.{part}", kept)
    with torch.no_grad():
        network(noise_images(2, IMAGES))
    return [
        [kept[f"{name}.{last}"] + kept.get(f"{name}.downsample", kept[f"{name}.conv1 in"]) for name in names]
        for names in blocks.values()
    ]


def _check(backbone: Backbone, stages: tuple[str, ...], expected: list[list[Tensor]]) -> None:
    for network in (backbone, folded(backbone)):
        with torch.no_grad():
            outputs = network.block_outputs(noise_images(2, IMAGES), stages)
        assert [len(blocks) for blocks in outputs] == [network.blocks_of(stage) for stage in stages]
        for blocks, wanted in zip(outputs, expected, strict=True):
            for block, sums in zip(blocks, wanted, strict=True):
                torch.testing.assert_close(block, sums, rtol=1e-4, atol=1e-4 * float(sums.abs().max()))


@pytest.mark.parametrize(("name", "last", "counts"), [("resnet18", "bn2", (2, 2, 2)), ("resnet50", "bn3", (4, 6, 3))])
def test_blocks_of_a_resnet(name: str, last: str, counts: tuple[int, ...]) -> None:
    stages = ("layer2", "layer3", "layer4")
    backbone = random_backbone(name, STRIDED).eval()
    network = getattr(torchvision.models, name)().eval()
    network.load_state_dict(backbone.state_dict(), strict=False)
    expected = _resnet_sums(network, stages, last)
    assert tuple(map(len, expected)) == counts
    assert all(sums.min() < 0 for blocks in expected for sums in blocks)
    _check(backbone, stages, expected)


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("last", ["conv5", "pool5"])
def test_convolutions_and_pools_of_a_vgg(batch_norm: bool, last: str) -> None:
    """Also the convolutions behind which the layout leaves the last ReLU out; a pool's maximum is after it."""
    layout = Layout((VGGLayout(**{**vars(PLAIN), "batch_norm": batch_norm, "last": last}),))
    backbone = random_backbone("vgg16", layout).eval()
    network = getattr(torchvision.models, "vgg16_bn" if batch_norm else "vgg16")().eval()
    network.load_state_dict(backbone.state_dict(), strict=False)
    layers = list(network.features)
    pools = [i for i, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
    kept: dict[str, Tensor] = {}
    for i in range(len(layers)):
        _listen(network, f"features.{i}", kept)
    with torch.no_grad():
        network(noise_images(2, IMAGES))
    kind = nn.BatchNorm2d if batch_norm else nn.Conv2d
    signed = [kept[f"features.{i}"] for i, layer in enumerate(layers) if isinstance(layer, kind)]
    expected = {"conv4": signed[7:10], "pool4": [kept[f"features.{pools[3]}"]], "conv5": signed[10:13]}
    if last == "pool5":
        expected["pool5"] = [kept[f"features.{pools[4]}"]]
    _check(backbone, tuple(expected), list(expected.values()))


def test_other_stages_and_gradients() -> None:
    """A stage without blocks of its own is one; stages come as asked for; gradients reach what was run."""
    tiny = TinyBackbone()
    ((only,),) = tiny.block_outputs(noise_images(), ("conv",))
    assert torch.equal(only, tiny(noise_images()))
    assert tiny.blocks_of("conv") == 1
    backbone = random_backbone("resnet18-layer3").eval()
    second, (stem,) = backbone.block_outputs(noise_images(), ("layer2", "stem"))
    assert torch.equal(stem, backbone.levels(noise_images(), ("stem",))[0])
    torch.stack([block.sum() for block in second]).sum().backward()
    reached = {name.split(".")[0] for name, p in backbone.named_parameters() if p.grad is not None}
    assert reached == {"conv1", "bn1", "layer1", "layer2"}
    with pytest.raises(UserError, match="stage of resnet18-layer3 'layer4'"):
        backbone.block_outputs(noise_images(), ("layer4",))


def test_pools_round_as_the_layout_says() -> None:
    sizes = {}
    for floor in (False, True):
        layout = Layout((VGGLayout(**{**vars(PLAIN), "floor_pool": floor}),))
        sizes[floor] = build_backbone("vgg16", layout)(noise_images(1, (70, 100))).shape[-2:]
    assert sizes == {False: (3, 4), True: (2, 3)}
    with pytest.raises(ValueError, match="floor_pool"):
        VGGLayout(floor_pool=True)
