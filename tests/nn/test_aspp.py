"""ASPP against its branches written out."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from fsseg_bench.nn.aspp import ASPP, ASPPClassifier


def _count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


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
    aspp = ASPP(1, rates=(2, 3), dropout=0.0)
    with torch.no_grad():
        for parameter in aspp.parameters():
            parameter.fill_(1.0 if parameter.ndim == 4 else 0.0)
    point = torch.zeros(1, 1, 9, 9)
    point[0, 0, 4, 4] = 81
    image, one, two, three = aspp(point)[0]
    assert bool((image == 1).all())
    assert torch.equal(one.nonzero(), torch.tensor([[4, 4]]))
    for rate, out in ((2, two), (3, three)):
        assert sorted({int(i) for i in out.nonzero().flatten()}) == [4 - rate, 4, 4 + rate]


def test_the_numbers_of_canet_and_rpmms() -> None:
    conv1, conv3 = 256 * 256 + 256, 256 * 256 * 9 + 256
    project, classify = 1280 * 256 + 256, 2 * 256 + 2
    head = ASPPClassifier(256)
    assert _count(head.aspp) == 2 * conv1 + 3 * conv3
    assert _count(head) == 2 * conv1 + 3 * conv3 + project + classify
    assert _count(ASPPClassifier(256, project_batch_norm=True)) == _count(head) + 512
    assert [type(m).__name__ for m in head.project] == ["Conv2d", "ReLU", "Dropout2d"]
    plain = ASPPClassifier(256, project_batch_norm=True, project_dropout=0.0)
    assert [type(m).__name__ for m in plain.project] == ["Conv2d", "BatchNorm2d", "ReLU"]
    assert head(torch.randn(1, 256, 5, 6)).shape == (1, 2, 5, 6)


def test_dropout_drops_whole_channels_and_only_in_training() -> None:
    torch.manual_seed(0)
    aspp = ASPP(64, rates=(1,))
    features = torch.rand(1, 64, 6, 6) + 1
    still = aspp.eval()(features)
    dropped = aspp.train()(features)
    torch.testing.assert_close(aspp.eval()(features), still)
    alive = still.flatten(2).amax(dim=2) > 0
    gone = (dropped.flatten(2).amax(dim=2) == 0) & alive
    assert 0.3 < float(gone.float().sum() / alive.sum()) < 0.7
    kept = alive & ~gone
    torch.testing.assert_close(dropped[kept], 2 * still[kept])
