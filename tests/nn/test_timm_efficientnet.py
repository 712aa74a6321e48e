"""EfficientNets in the names of EfficientNet-PyTorch, by timm's names; one with its published ImageNet numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from fsseg_bench.errors import UserError
from fsseg_bench.nn.backbones import build_backbone
from fsseg_bench.nn.families import efficientnet
from fsseg_bench.nn.weight_files import file_hash, read_file
from fsseg_bench.nn.weights import load_weights
from tests.support.efficientnet import NAME, SHA256, lite2_file

PAIRS = {
    "_conv_stem.weight": "conv_stem.weight",
    "_bn0.running_mean": "bn1.running_mean",
    "_blocks.0._depthwise_conv.weight": "blocks.0.0.conv_dw.weight",  # the first stage's blocks expand nothing
    "_blocks.0._bn1.weight": "blocks.0.0.bn1.weight",
    "_blocks.0._se_reduce.bias": "blocks.0.0.se.conv_reduce.bias",
    "_blocks.0._project_conv.weight": "blocks.0.0.conv_pw.weight",
    "_blocks.0._bn2.bias": "blocks.0.0.bn2.bias",
    "_blocks.1._expand_conv.weight": "blocks.1.0.conv_pw.weight",
    "_blocks.1._bn0.weight": "blocks.1.0.bn1.weight",
    "_blocks.2._expand_conv.weight": "blocks.1.1.conv_pw.weight",
    "_blocks.2._depthwise_conv.weight": "blocks.1.1.conv_dw.weight",
    "_blocks.2._bn1.num_batches_tracked": "blocks.1.1.bn2.num_batches_tracked",
    "_blocks.2._se_expand.weight": "blocks.1.1.se.conv_expand.weight",
    "_blocks.2._project_conv.weight": "blocks.1.1.conv_pwl.weight",
    "_blocks.2._bn2.weight": "blocks.1.1.bn3.weight",
    "_conv_head.weight": "conv_head.weight",
    "_bn1.weight": "bn2.weight",
    "_fc.bias": "classifier.bias",
}


def test_names_one_by_one() -> None:
    """tf_efficientnet_b0 has 1, 2, 2, 3, 3, 4 and 1 blocks in its stages."""
    timm = pytest.importorskip("timm", reason="timm is not installed (the extra timm)")
    with torch.device("meta"):
        model = timm.create_model("tf_efficientnet_b0")
    given: dict[str, Tensor] = {key: torch.full((1,), float(i)) for i, key in enumerate(PAIRS)}
    assert efficientnet.is_theirs(given)
    found = efficientnet.timm_names(model, given)
    assert {key: float(tensor) for key, tensor in found.items()} == {
        own: float(i) for i, own in enumerate(PAIRS.values())
    }
    assert found.keys() <= model.state_dict().keys()
    assert not efficientnet.is_theirs(found)


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    return read_file(lite2_file())


@pytest.mark.slow
def test_the_published_file_gives_the_logits_of_its_own_package(published: dict[str, Tensor]) -> None:
    """At 260 pixels, for which its package pads."""
    package = pytest.importorskip(
        "efficientnet_lite_pytorch",
        reason="efficientnet-lite-pytorch is not installed (the dependency group pretrained)",
    )
    import timm

    theirs = package.EfficientNet.from_name("efficientnet-lite2")
    theirs.load_state_dict(published, strict=True)
    own = timm.create_model("tf_efficientnet_lite2")
    own.load_state_dict(efficientnet.timm_names(own, published), strict=True)
    images = torch.randn(1, 3, 260, 260, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, found = theirs.eval()(images), own.eval()(images)
    assert expected.std() > 0.5
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_the_published_file_fills_the_backbone_whole_and_cut(published: dict[str, Tensor]) -> None:
    file = lite2_file()
    assert file_hash(file).startswith(SHA256)
    for name, blocks in ((NAME, 21), (f"{NAME}-blocks.4", 15)):
        backbone = build_backbone(name)
        assert (backbone.mean, backbone.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
        details = load_weights(backbone, str(file)).details
        assert details["missing"] == []
        numbers = {int(key.split(".")[2]) for key in details["unused"] if "_blocks" in key}
        assert numbers == set(range(blocks, 21))
        own = backbone.state_dict()["network.blocks.4.0.conv_dw.weight"]  # stages of 1, 3, 3 and 4 blocks before it
        assert torch.equal(own, published["_blocks.11._depthwise_conv.weight"])


def test_a_file_of_another_size_does_not_fit(published: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(published, tmp_path / "lite2.pth")
    with pytest.raises(UserError, match="do not fit timm:tf_efficientnet_lite0"):
        load_weights(build_backbone("timm:tf_efficientnet_lite0"), str(tmp_path / "lite2.pth"))
