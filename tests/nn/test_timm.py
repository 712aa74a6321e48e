"""Models of timm as backbones: their features are timm's, and timm is needed for them alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as torchvision_resize

from fsseg_bench.engine.build import build_method
from fsseg_bench.engine.check_backbone import check_backbone
from fsseg_bench.engine.code_digest import ENTRY, _tops, code_of
from fsseg_bench.errors import UserError
from fsseg_bench.nn.backbones import Backbone, build_backbone, folded
from fsseg_bench.nn.catalogue import backbone_module, find_backbone
from fsseg_bench.nn.weights import load_weights
from tests.support.networks import noise_images

INSTALL = r'pip install "fsseg-bench\[timm\]"'
FAMILY = "fsseg_bench.nn.families"
CONVOLUTIONAL = ("test_resnet", "test_convnext", "test_efficientnet", "test_nfnet", "test_byobnet")


@pytest.fixture(scope="module")
def timm() -> Any:
    return pytest.importorskip("timm", reason="timm is not installed (the extra timm)")


def random_file(timm: Any, name: str, folder: Path) -> Path:
    """A file as timm publishes it, with a classifier, and random numbers."""
    torch.manual_seed(1)
    state = timm.create_model(name).state_dict()
    for key, tensor in state.items():
        if tensor.is_floating_point():  # also what begins at 0 or 1, so that each number has a part in the features
            tensor.uniform_(0.5, 1.5) if "var" in key else tensor.add_(0.05 * torch.randn_like(tensor))
    torch.save(state, folder / f"{name}.pth")
    return folder / f"{name}.pth"


def filled(name: str, file: Path) -> Backbone:
    backbone = build_backbone(f"timm:{name}")
    load_weights(backbone, str(file))
    return backbone.eval()


def test_without_timm_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=rf"timm:nothing.* need timm.*{INSTALL}|NAME need timm.*{INSTALL}"):
        find_backbone("timm:test_nothing")


def test_timm_is_imported_for_its_own_backbones_alone() -> None:
    program = (
        "import sys; from fsseg_bench.engine import run\n"
        "from fsseg_bench.nn.catalogue import backbone_names; backbone_names()\n"
        "from fsseg_bench.nn.backbones import build_backbone; build_backbone('resnet18-layer1')\n"
        "sys.exit('timm' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_family_is_in_no_other_identity(timm: Any) -> None:
    tops = _tops([ENTRY])
    assert not [name for name in code_of([ENTRY], tops) if name.startswith(FAMILY)]
    own = code_of([ENTRY, backbone_module("timm:test_vit")], tops)
    assert {f"{FAMILY}.timm", f"{FAMILY}.timm_models", f"{FAMILY}.timm_weights", f"{FAMILY}.dino"} <= own.keys()


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_levels_are_those_of_timms_feature_extractor(name: str, timm: Any, tmp_path: Path) -> None:
    file = random_file(timm, name, tmp_path)
    backbone = filled(name, file)
    theirs = timm.create_model(name, features_only=True, pretrained=True, pretrained_cfg_overlay={"file": str(file)})
    images = noise_images(2, (97, 65))
    with torch.no_grad():
        expected, found = theirs.eval()(images), backbone.levels(images, backbone.stages)
        ready = folded(backbone).levels(images, backbone.stages)
    assert len(found) == len(expected) == len(backbone.stages)
    for ours, timms, fast in zip(found, expected, ready, strict=True):
        torch.testing.assert_close(ours, timms, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(fast, timms, rtol=1e-4, atol=1e-4)


def test_transformers_give_patches_alone_normed(timm: Any, tmp_path: Path) -> None:
    file = random_file(timm, "test_vit2", tmp_path)
    backbone = filled("test_vit2", file)
    theirs = timm.create_model("test_vit2", num_classes=0, dynamic_img_size=True).eval()
    state = torch.load(file, weights_only=True)
    theirs.load_state_dict({key: value for key, value in state.items() if not key.startswith("head.")})
    images = noise_images(2, (96, 64))
    with torch.no_grad():
        tokens = theirs.forward_features(images)
        (found,) = backbone.levels(images, backbone.stages[-1:])
        (again,) = backbone.block_outputs(images, backbone.stages[-1:])
        before = backbone.levels_before_norm(images, ("blocks.2", "blocks.0"))
        normed = backbone.levels(images, ("blocks.2",))[0]
    assert theirs.num_prefix_tokens == 1
    torch.testing.assert_close(found.flatten(2).mT, tokens[:, 1:], rtol=1e-5, atol=1e-5)
    assert torch.equal(again[0], found)
    # naive: the blocks one after the other
    stream = theirs.norm_pre(theirs._pos_embed(theirs.patch_embed(images)))
    for number, block in enumerate(theirs.blocks[:3]):
        stream = block(stream)
        if number in (0, 2):
            level = before[0 if number else 1]
            torch.testing.assert_close(level.flatten(2).mT, stream[:, 1:], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(normed.flatten(2).mT, theirs.norm(stream)[:, 1:], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["test_vit2", "test_resnet", "test_convnext", "test_efficientnet"])
def test_each_stage_holds_what_its_output_depends_on(name: str, timm: Any, tmp_path: Path) -> None:
    backbone = filled(name, random_file(timm, name, tmp_path))
    held = {
        stage: {id(p) for module in backbone.stage_modules(stage) for p in module.parameters()}
        for stage in backbone.stages
    }
    assert not backbone.further_modules() or all(not list(m.parameters()) for m in backbone.further_modules())
    seen: set[int] = set()
    for stage in backbone.stages:
        backbone.zero_grad()
        output: Tensor = backbone.levels_before_norm(noise_images(1, (65, 97)), (stage,))[0]
        (output * torch.randn_like(output)).sum().backward()
        used = {id(p) for p in backbone.parameters() if p.grad is not None and bool(p.grad.any())}
        own = held[stage] - {id(p) for n, p in backbone.named_parameters() if n.startswith("network.norm.")}
        assert own <= used, stage
        seen |= held[stage]
        assert used <= seen, stage
    for key, parameter in backbone.named_parameters():
        assert id(parameter) in held[str(backbone.stage_of(key))], key


@pytest.mark.parametrize(
    "name", ["test_vit", "test_resnet:output_stride=8", "test_efficientnet-blocks.3", "test_convnext"]
)
def test_the_contract(name: str, timm: Any) -> None:
    whole = name.partition("-")[0]
    checks = check_backbone(lambda stage: build_backbone(f"timm:{whole}-{stage}" if stage else f"timm:{name}"))
    assert not [f"{check.name}: {check.detail}" for check in checks if not check.passed]


def test_facts_are_the_models_own(timm: Any) -> None:
    backbone = build_backbone("timm:test_vit")
    assert (backbone.mean, backbone.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    cls = find_backbone("timm:vit_small_patch16_dinov3")[0]
    assert (cls.facts.mean[0], cls.facts.weights) == (0.485, "vit_small_patch16_dinov3.lvd1689m")
    assert (cls.facts.licence, cls.facts.stride, len(cls.facts.stages)) == ("dinov3-license", 16, 12)
    assert find_backbone("timm:vit_small_patch14_dinov2")[0].facts.licence is None
    assert find_backbone("timm:test_vit")[0] is type(backbone)
    details = load_weights(backbone, "none").details
    assert details["timm"] == timm.__version__
    assert details["images"].startswith("resized to the nearest multiples of 16x16 pixels")


@pytest.mark.parametrize(
    ("size", "patch", "expected"),
    [((417, 417), 14, (420, 420)), ((417, 473), 16, (416, 480)), ((473, 5), 14, (476, 14)), ((28, 42), 14, (28, 42))],
)
def test_images_are_resized_to_the_nearest_multiples(
    size: tuple[int, int], patch: int, expected: tuple[int, int], timm: Any
) -> None:
    from fsseg_bench.nn.families.timm import fitted

    images = noise_images(1, size)
    found = fitted(images, (patch, patch))
    assert tuple(found.shape[2:]) == expected
    theirs = torchvision_resize.resize(images, list(expected), antialias=True)
    torch.testing.assert_close(found, theirs, rtol=1e-4, atol=1e-5)


def test_cells_tile_the_image(timm: Any) -> None:
    backbone = build_backbone("timm:test_vit").eval()
    image = noise_images(1, (41, 55))  # 3 x 3 patches of 16: 48 x 48
    with torch.no_grad():
        whole = backbone(image)
        squashed = backbone(torchvision_resize.resize(image, [48, 48], antialias=True))
    assert whole.shape == (1, 64, 3, 3)
    torch.testing.assert_close(whole, squashed, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm:test_vitt", r"unknown model of timm 'timm:test_vitt'\. Did you mean 'timm:test_vit"),
        ("timm:test_vit.foo", r"unknown tag of timm:test_vit 'foo'\. Known: r160_in1k"),
        ("timm:test_vit:output_stride=8", "has no output stride to choose"),
        ("timm:test_vit:wide", r"'wide' is no option; there are :meta .* :output_stride=8, 16 or 32"),
        ("timm:test_resnet:output_stride=8:output_stride=8", r"write timm:test_resnet:output_stride=8$"),
        ("timm:test_vit:meta", "do not differ here, or Meta has no such model; leave :meta out"),
        ("timm:test_vit-blocks.5", "blocks.5 is the last stage of timm:test_vit, so this is the whole network"),
        ("timm:test_vit-layer1", r"no stage 'layer1' to cut after; it can be cut after blocks\.0, "),
        ("timm:test_vit_relpos", "does not take images of any size, such as 128x96 pixels .*doesn't match"),
        ("timm:inception_v3", "Conv2d_2b_3x3 gives .* for 129x97 pixels; timm lists 64 channels at stride 2"),
    ],
)
def test_names_that_cannot_be_had(name: str, message: str, timm: Any) -> None:
    with pytest.raises(UserError, match=message):
        find_backbone(name)


@pytest.mark.parametrize("method", ["hsnet", "pfenet", "bam", "canet", "pgnet", "pmms", "dan", "fwb", "sgone"])
def test_methods_of_several_depths_refuse_a_transformer(method: str, timm: Any) -> None:
    with pytest.raises(UserError, match=r"reads feature maps of several depths.*this transformer all keep one grid"):
        build_method(method, "timm:test_vit", "none")


def test_methods_of_several_depths_take_timms_resnets(timm: Any) -> None:
    method = build_method("canet", "timm:test_resnet:output_stride=8", "none")
    with torch.no_grad():
        features = method.eval().encode(noise_images(1, (65, 65)))
    level = features if isinstance(features, Tensor) else features[-1]
    assert level.shape[-2:] == (9, 9)
