"""Building blocks of heads against convolutions written out, and by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsseg_bench.nn.backbones import build_backbone
from fsseg_bench.nn.heads import (
    ASPP,
    MidLevel,
    Refinement,
    TiledConvolution,
    conv_block,
    mid_level_features,
    mid_level_stages,
    start,
)
from tests.support.heads import TinyBackbone


@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (3, 1), (3, 2), (3, 18)])
def test_the_size_stays_and_the_numbers_are_those_of_a_convolution(kernel: int, dilation: int) -> None:
    block = conv_block(3, 5, kernel=kernel, dilation=dilation)
    images = torch.randn(2, 3, 7, 6)
    padding = dilation * (kernel - 1) // 2
    expected = F.conv2d(images, block[0].weight, block[0].bias, padding=padding, dilation=dilation).clamp_min(0)
    assert expected.shape == (2, 5, 7, 6)
    torch.testing.assert_close(block(images), expected)


def test_layers() -> None:
    kinds = [type(layer) for layer in conv_block(3, 5, batch_norm=True, dropout=0.25)]
    assert kinds == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.Dropout2d]
    assert [type(layer) for layer in conv_block(3, 5)] == [nn.Conv2d, nn.ReLU]


def test_small_start_touches_weights_of_convolutions_only() -> None:
    torch.manual_seed(0)
    block = conv_block(64, 64, batch_norm=True)
    bias = block[0].bias.detach().clone()
    start(block, small=True)
    assert abs(float(block[0].weight.detach().std()) - 0.01) < 2e-4
    assert abs(float(block[0].weight.detach().mean())) < 2e-4
    assert torch.equal(block[0].bias, bias)
    assert bool((block[1].weight == 1).all())
    start(block)
    assert abs(float(block[0].weight.detach().std()) - (2 / (64 * 9)) ** 0.5) < 1e-3


@pytest.mark.parametrize(
    ("name", "stages", "channels"),
    [
        ("resnet50", ("layer2", "layer3"), 1536),
        ("resnet18", ("layer2", "layer3"), 384),
        ("resnet18-layer3", ("layer2", "layer3"), 384),
        ("resnet18-layer2", ("layer2",), 128),
        ("vgg16", ("conv5",), 512),
    ],
)
def test_stages(name: str, stages: tuple[str, ...], channels: int) -> None:
    backbone = build_backbone(name)
    assert mid_level_stages(backbone) == stages
    features = mid_level_features(backbone.eval(), torch.randn(1, 3, 33, 40))
    assert features.shape == (1, channels, 5, 5)
    assert float(features.detach().min()) == 0


def test_stages_of_other_strides_are_not_mixed() -> None:
    backbone = build_backbone("resnet18-layer3")
    backbone.strides["layer3"] = 16
    assert mid_level_stages(backbone) == ("layer3",)
    assert mid_level_stages(TinyBackbone()) == ("conv",)


def test_order_and_embedding() -> None:
    backbone = build_backbone("resnet18-layer3").eval()
    images = torch.randn(2, 3, 33, 40)
    levels = backbone.levels(images, ("layer2", "layer3"))
    middle = MidLevel(backbone, 16).eval()
    convolution = middle.embed[0]
    both = torch.cat((levels[0], levels[1].clamp_min(0)), dim=1)
    expected = F.conv2d(both, convolution.weight, convolution.bias, padding=2, dilation=2).clamp_min(0)
    torch.testing.assert_close(middle(backbone, images), expected)
    assert not [name for name, _ in middle.named_parameters() if "backbone" in name]


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("size", [(7, 5), (2, 3), (1, 1)])
def test_against_the_joined_convolution(dilation: int, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    convolution = TiledConvolution(4, 3, 5, dilation=dilation).double()
    maps = torch.randn(2, 4, *size, dtype=torch.float64, requires_grad=True)
    vectors = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    towards = torch.randn(2, 5, *size, dtype=torch.float64)
    inputs = (maps, vectors, convolution.joined.weight, convolution.joined.bias)
    actual = convolution.of_map(maps) + convolution.of_vector(vectors, size)
    tiled = vectors[:, :, None, None].expand(-1, -1, *size)
    expected = convolution.joined(torch.cat((maps, tiled), dim=1))
    torch.testing.assert_close(actual, expected)
    gradients = [torch.autograd.grad((result * towards).sum(), inputs) for result in (actual, expected)]
    for mine, reference in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, reference)


def test_hand_computed_border() -> None:
    """Weights 1 on a 3 x 3 map: the vector's part counts the kernel positions that lie on the map."""
    convolution = TiledConvolution(1, 1, 1)
    nn.init.ones_(convolution.joined.weight)
    nn.init.constant_(convolution.joined.bias, 0.5)
    part = convolution.of_vector(torch.tensor([[2.0]]), (3, 3))
    assert part[0, 0].tolist() == [[8.0, 12.0, 8.0], [12.0, 18.0, 12.0], [8.0, 12.0, 8.0]]
    torch.testing.assert_close(convolution.of_map(torch.zeros(1, 1, 3, 3)), torch.full((1, 1, 3, 3), 0.5))


def _written_out(refinement: Refinement, features: Tensor, history: Tensor | None) -> Tensor:
    x = features
    for i, block in enumerate(refinement.blocks):
        inputs = x
        if i == 0 and history is not None:
            full = F.interpolate(history, size=x.shape[2:], mode="bilinear", align_corners=True)
            inputs = torch.cat((x, full), dim=1)
        inner = F.conv2d(inputs.clamp_min(0), block[1].weight, block[1].bias, padding=1)
        x = x + F.conv2d(inner.clamp_min(0), block[3].weight, block[3].bias, padding=1)
    return x


@pytest.mark.parametrize("cells", [(6, 5), (3, 9), (1, 1)])
def test_against_the_equations(cells: tuple[int, int]) -> None:
    refinement = Refinement(4)
    features, history = torch.randn(2, 4, 6, 5), torch.rand(2, 2, *cells)
    torch.testing.assert_close(refinement(features, history), _written_out(refinement, features, history))
    no_news = refinement(features)
    torch.testing.assert_close(no_news, _written_out(refinement, features, torch.zeros(2, 2, 6, 5)))
    assert torch.equal(no_news, refinement(features, torch.zeros(2, 2, 1, 1)))


def test_hand_computed() -> None:
    """One cell, one channel, weights 1 in the middle: the skip keeps the sign that the branch loses."""
    refinement = Refinement(1)
    with torch.no_grad():
        for parameter in refinement.parameters():
            parameter.zero_()
        for block in refinement.blocks:
            block[1].weight[0, :, 1, 1] = 1
            block[3].weight[0, 0, 1, 1] = 1
    out = refinement(torch.full((1, 1, 1, 1), -2.0), torch.tensor([2.0, 3.0]).view(1, 2, 1, 1))
    assert out.item() == 12.0  # first -2 + relu(relu(-2) + 2 + 3) = 3, then 3 + relu(3) = 6, then 6 + relu(6) = 12


def test_order_of_the_branches() -> None:
    aspp = ASPP(4).eval()
    features = torch.randn(2, 4, 9, 8)
    convolutions = [aspp.image[0], aspp.point[0], *(branch[0] for branch in aspp.dilated)]
    mean = features.flatten(2).mean(dim=2)
    image = (convolutions[0].weight.flatten(1) @ mean.T).T + convolutions[0].bias
    expected = [image[..., None, None].expand(2, 4, 9, 8).relu(), F.relu(convolutions[1](features))]
    for rate, convolution in zip((6, 12, 18), convolutions[2:], strict=True):
        out = F.conv2d(features, convolution.weight, convolution.bias, padding=rate, dilation=rate)
        expected.append(out.relu())
    torch.testing.assert_close(aspp(features), torch.cat(expected, dim=1))
    assert aspp.out_channels == 20


def test_a_far_pixel_reaches_only_the_branch_of_its_rate() -> None:
    aspp = ASPP(1, dropout=0.0)
    with torch.no_grad():
        for parameter in aspp.parameters():
            parameter.fill_(1.0 if parameter.ndim == 4 else 0.0)
    point = torch.zeros(1, 1, 41, 41)
    point[0, 0, 20, 20] = 41**2
    image, one, *dilated = aspp(point)[0]
    assert bool((image == 1).all())
    assert torch.equal(one.nonzero(), torch.tensor([[20, 20]]))
    for rate, out in zip((6, 12, 18), dilated, strict=True):
        assert sorted({int(i) for i in out.nonzero().flatten()}) == [20 - rate, 20, 20 + rate]


def test_dropout_drops_whole_channels_and_only_in_training() -> None:
    torch.manual_seed(0)
    aspp = ASPP(64)
    features = torch.rand(1, 64, 6, 6) + 1
    still = aspp.eval()(features)
    dropped = aspp.train()(features)
    torch.testing.assert_close(aspp.eval()(features), still)
    alive = still.flatten(2).amax(dim=2) > 0
    gone = (dropped.flatten(2).amax(dim=2) == 0) & alive
    assert 0.3 < float(gone.float().sum() / alive.sum()) < 0.7
    kept = alive & ~gone
    torch.testing.assert_close(dropped[kept], 2 * still[kept])
