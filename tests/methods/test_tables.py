"""What is asked of every method: a row a method, or a method's form."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fsseg_bench.engine.build import assemble
from fsseg_bench.engine.check import check_method
from fsseg_bench.engine.made_up import training_episode
from fsseg_bench.engine.optimise import prepare
from fsseg_bench.errors import UserError
from fsseg_bench.nn.backbones import build_backbone
from fsseg_bench.protocol.load import load_protocol
from fsseg_bench.registry import find_method, method_names
from tests.support.heads import make

LAYER2, LAYER3 = "resnet18-layer2", "resnet18-layer3"


@pytest.mark.parametrize(
    ("name", "backbone", "switches"),
    [
        pytest.param(*("bam", LAYER2, {"shots": 2}), marks=pytest.mark.slow),
        ("baseline", LAYER2, {}),
        ("biopt", LAYER2, {}),
        pytest.param(*("canet", LAYER2, {"fusion": "attention"}), marks=pytest.mark.slow),
        pytest.param(*("canet", LAYER2, {"fusion": "average"}), marks=pytest.mark.slow),
        ("cofcn", LAYER2, {}),
        ("dan", LAYER2, {}),
        pytest.param(*("fwb", LAYER2, {}), marks=pytest.mark.slow),
        pytest.param(*("fwb", LAYER2, {"boosting": False}), marks=pytest.mark.slow),
        ("inopt-dagger", LAYER2, {}),
        ("insid3", LAYER2, {}),
        ("dino-map", LAYER2, {}),
        ("oslsm", LAYER2, {}),
        pytest.param(*("oslsm", LAYER3, {}), marks=pytest.mark.slow),
        ("panet", LAYER2, {}),
        pytest.param(*("pgnet", LAYER2, {}), marks=pytest.mark.slow),
        pytest.param(
            *("pgnet", LAYER2, {"fusion": "concat", "grids": (1, 3), "masked": False}), marks=pytest.mark.slow
        ),
        pytest.param(*("pfenet", LAYER2, {}), marks=pytest.mark.slow),
        pytest.param(*("pfenet", "resnet18", {"bins": (8.0, 0.5)}), marks=pytest.mark.slow),
        pytest.param(*("pmms", LAYER2, {}), marks=pytest.mark.slow),
        pytest.param(*("ppnet", LAYER2, {}), marks=pytest.mark.slow),
        pytest.param(*("ppnet", LAYER2, {"semantic_weight": 0.0, "part_weight": 0.8}), marks=pytest.mark.slow),
        pytest.param(*("ppnet-ud", LAYER2, {"unlabelled": 2}), marks=pytest.mark.slow),
        ("repri", LAYER2, {"steps": 12}),
        pytest.param(*("rpmms", LAYER2, {}), marks=pytest.mark.slow),
        pytest.param(*("sgone", LAYER2, {}), marks=pytest.mark.slow),
        pytest.param(*("sgone", LAYER2, {"fusion": "max"}), marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_the_contract(name: str, backbone: str, switches: dict[str, Any]) -> None:
    cls = find_method(name)
    checks = check_method(cls, lambda: assemble(cls, backbone, "none", switches, 0)[0])
    assert [(check.name, check.detail) for check in checks if not check.passed] == []


@pytest.mark.parametrize("shots", [1, 2])
@pytest.mark.parametrize("name", ["baseline", "cofcn", "dan", "panet", "pgnet", "pmms", "sgone"])
def test_the_query_s_loss_is_the_cross_entropy_of_the_prediction(name: str, shots: int) -> None:
    method = assemble(find_method(name), LAYER2, "none", {}, 0)[0].eval()
    episode = training_episode(method, shots)
    predicted = method.predict(episode)
    full = F.interpolate(predicted, size=episode.size, mode="bilinear")
    expected = F.cross_entropy(full, episode.query_labels.long(), ignore_index=255)
    torch.testing.assert_close(method.loss(episode)["query"], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["canet", "pfenet", "pgnet"])
def test_under_the_authors_recipe_the_head_alone_learns(name: str) -> None:
    """The trunk is frozen; attention over shots learns from two shots on."""
    cls = find_method(name)
    method = assemble(cls, LAYER2, "none", {"dropout": 0.0}, 0)[0]
    prepare(method, cls.recipe(load_protocol("pascal5i"), 5))
    sum(method.loss(training_episode(method, 2)).values()).backward()
    for key, parameter in method.named_parameters():
        trained = not key.startswith("backbone.")
        assert (parameter.grad is not None and bool(parameter.grad.any())) is trained, key


@pytest.mark.parametrize(
    ("name", "switches", "message"),
    [
        ("bam", {"shots": 0}, "shots is 0; it must be at least 1"),
        ("biopt", {"steps": -1}, "steps is -1; it must be at least 0"),
        ("canet", {"dropout": 1.0}, "dropout is 1.0; it must be at least 0 and below 1"),
        ("canet", {"refinements": -1}, "refinements is -1; it must be at least 0"),
        ("canet", {"history_rate": 1.5}, "history_rate is 1.5; it must be at least 0 and at most 1"),
        ("cofcn", {"dilation": 0}, "dilation is 0; it must be odd and at least 1"),
        ("cofcn", {"dilation": 4}, "dilation is 4; it must be odd and at least 1"),
        ("dan", {"width": 0}, "width is 0; it must be at least 1"),
        ("fwb", {"steps": -1}, "steps is -1; it must be at least 0"),
        ("inopt-dagger", {"inner_pixel_ref": -2.0}, "inner_pixel_ref is -2.0; it must be at least 0"),
        ("insid3", {"directions": 128}, "directions=128 would remove everything: resnet18-layer2 has 128 channels"),
        ("insid3", {"tau": 1.5}, "tau is 1.5; it must be at least -1 and at most 1"),
        ("insid3", {"threshold": 1.0}, "threshold is 1.0; it must be at least 0 and below 1"),
        ("pfenet", {"bins": ()}, "bins: the pyramid needs at least one map"),
        ("pfenet", {"bins": (1.0, 0.0)}, "bins[1] is 0.0; it must be above 0"),
        ("pfenet", {"inner_weight": -1.0}, "inner_weight is -1.0; it must be at least 0"),
        ("pgnet", {"dropout": 1.0}, "dropout is 1.0; it must be at least 0 and below 1"),
        ("pgnet", {"grids": (1, 0)}, "grids[1] is 0; it must be at least 1"),
        ("pgnet", {"grids": (), "global_unit": False}, "grids is empty and global_unit is false"),
        ("pmms", {"components": 0}, "components is 0; it must be at least 1"),
        ("ppnet", {"parts": 0}, "parts is 0; it must be at least 1"),
        ("ppnet", {"assignments": 0}, "assignments is 0; it must be at least 1"),
        *(("ppnet-ud", {key: 0}, f"{key} is 0") for key in ("unlabelled", "segments", "top", "group", "width")),
        ("repri", {"steps": -1}, "steps is -1; it must be at least 0"),
        ("repri", {"estimate_after": (9, 0)}, "estimate_after[1] is 0; it must be at least 1"),
        ("repri", {"kl_weight": -1.0}, "kl_weight is -1.0; it must be at least 0"),
        ("rpmms", {"stages": ()}, "stages is []; it must be not empty"),
        ("rpmms", {"stages": (0,)}, "stages[0] is 0; it must be at least 1"),
        ("rpmms", {"em_iterations": 0}, "em_iterations is 0; it must be at least 1"),
        ("rpmms", {"dropout": 1.0}, "dropout is 1.0; it must be at least 0 and below 1"),
        ("sgone", {"exit_padding": -1}, "exit_padding is -1; it must be at least 0"),
    ],
    ids=str,
)
def test_switches_outside_their_range(name: str, switches: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        assemble(find_method(name), LAYER2, "none", switches, 0)
    assert message in str(error.value)


def conv(inputs: int, outputs: int, kernel: int = 3) -> int:
    """Parameters of a convolution."""
    return inputs * outputs * kernel**2 + outputs


def linear(inputs: int, outputs: int) -> int:
    """Parameters of a linear layer."""
    return conv(inputs, outputs, 1)


_VGG = 14_714_688
_PYRAMID = 10_817_034 - 2 * 1536 * 256
_ASPP = 2 * conv(256, 256, 1) + 3 * conv(256, 256) + conv(1280, 256, 1) + conv(256, 2, 1)


@pytest.mark.parametrize(
    ("name", "backbone", "switches", "parts"),
    [
        ("biopt", "resnet50", {}, {"gate": 8_390_656}),
        ("biopt", "vgg16", {}, {"backbone": _VGG, "gate": 524_800}),
        (
            "canet",
            "resnet50",
            {},
            {
                "embed": conv(1536, 256),
                "compare": conv(512, 256),
                "attention": conv(512, 256) + conv(256, 1),
                "refine": conv(258, 256) + 5 * conv(256, 256),
                "decode": _ASPP,
            },
        ),
        ("canet", "resnet50", {"fusion": "average"}, {"attention": 0}),
        (
            "cofcn",
            "vgg16",
            {},
            {
                "backbone": _VGG,
                "query_fc6": conv(512, 256, 7),
                "conditioning": _VGG + 2 * 64 * 3 * 3,
                "support_fc6": conv(512, 256, 7),
                "fc7": linear(512, 256),
                "score": linear(256, 2),
            },
        ),
        (
            "bam",
            "resnet50",
            {"shots": 5},
            {
                "embed_query": 1536 * 256,
                "embed_support": 1536 * 256,
                "meta": 513 * 256 + _ASPP - 256 + 3 * 256 * 256 * 9 + linear(5, 2) + linear(2, 5),
                "ensemble": 4,
                "base": 4 * (2048 * 512 + 2 * 512) + 4096 * 512 * 9 + 2 * 512 + linear(512, 16),
            },
        ),
        (
            "repri",
            "resnet50",
            {},
            {"base": 4 * (2048 * 512 + 2 * 512) + 4096 * 512 * 9 + 2 * 512 + linear(512, 16)},
        ),
        *(
            (
                "pfenet",
                backbone,
                {},
                {"embed_query": channels * 256, "embed_support": channels * 256, "pyramid": _PYRAMID},
            )
            for backbone, channels in (("resnet50", 1536), ("vgg16", 768))
        ),
        (
            "pgnet",
            "resnet50",
            {},
            {
                "embed": conv(1536, 256),
                "units": 3 * (2 * linear(256, 256) + linear(512, 256)),
                "value": linear(256, 256),
                "equal": linear(512, 256),
                "blocks": 6 * conv(256, 256),
                "decode": _ASPP,
                "merge": 0,
            },
        ),
        ("ppnet", "resnet50", {}, {"semantic": 1_179_712}),
        ("ppnet-ud", "resnet50", {}, {"semantic": 1_179_712, "graph": 7_340_032}),
        (
            "sgone",
            "vgg16",
            {},
            {
                "backbone": _VGG,
                "guidance": conv(512, 512),
                "side": conv(256, 128) + 2 * conv(640, 128),
                "fuse": conv(128, 128),
                "exit": linear(128, 2),
            },
        ),
    ],
    ids=str,
)
def test_numbers_of_parameters(name: str, backbone: str, switches: dict[str, Any], parts: dict[str, int]) -> None:
    method = on_meta(name, backbone, **switches)
    children = dict(method.named_children())
    assert {part: count(children[part]) if part in children else 0 for part in parts} == parts
    assert count(method) - count(method.backbone) >= sum(parts.values()) - parts.get("backbone", 0)


@pytest.mark.parametrize("name", ["pmms", "rpmms"])
@pytest.mark.parametrize(("backbone", "total", "head"), [("resnet50", 19.63e6, 11.09e6), ("vgg16", 25.80e6, 8.73e6)])
def test_rounded_numbers_of_parameters(name: str, backbone: str, total: float, head: float) -> None:
    method = on_meta(name, backbone)
    assert count(method) == pytest.approx(total, abs=6e3)
    assert count(method) - count(method.backbone) == pytest.approx(head, abs=6e3)


def on_meta(name: str, backbone: str, **switches: Any) -> nn.Module:
    cls = find_method(name)
    with torch.device("meta"):
        trunk = build_backbone(backbone, cls.layout)
        return make(cls, trunk, *([15] if cls.reads_class_labels else []), **switches)


def count(part: nn.Module) -> int:
    return sum(p.numel() for p in part.parameters())


_FCN = {
    "iterations": 100_000,
    "batch": 1,
    "lr": 1e-5,
    "momentum": 0.99,
    "weight_decay": 5e-4,
    "schedule": "constant",
    "augment": "none",
    "train_shots": 1,
}
_SMALL_FCN = {"iterations": 300, "lr": 0.1, "schedule": "poly", "clip": 1.0}
_BIOPT = {"iterations": 20_000, "lr": 7e-3, "schedule": "step", "milestones": (10_000,), "gamma": 0.1}
_BIOPT_PASCAL = {
    **{"iterations": 10_000, "batch": 8, "lr": 7e-3, "schedule": "constant", "momentum": 0.9, "weight_decay": 5e-4},
    **{"augment": "enlarged-crop-supports", "bn": "eval"},
}
_CANET = {
    "lr": 2.5e-3,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "batch": 4,
    "schedule": "constant",
    "freeze": "all",
    "augment": "enlarged-crop-supports",
}
_FWB = {
    "iterations": 10_000,
    "batch": 8,
    "lr": 7e-3,
    "schedule": "poly",
    "momentum": 0.9,
    "weight_decay": 1e-4,
    "bn": "train",
    "freeze": "none",
    "augment": "none",
    "train_shots": 1,
}
_STEPS = {"batch": 1, "schedule": "step", "milestones": (10_000, 20_000), "gamma": 0.1, "augment": "flip"}
_PPNET = {**_STEPS, "iterations": 24_000, "lr": 5e-4, "freeze": "layer2", "bn": "train"}
_PMMS = {
    "iterations": 200_001,
    "batch": 8,
    "lr": 3.5e-4,
    "schedule": "poly",
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "head_lr_factor": 10,
    "bias_lr_factor": 2,
    "freeze": "none",
    "bn": "stats",
    "augment": "resized-crop",
    "train_shots": 1,
}
_PFENET = {
    "iterations": 297_650,
    "batch": 4,
    "lr": 2.5e-3,
    "head_lr_factor": 10,
    "weight_decay": 1e-4,
    "schedule": "poly",
    "freeze": "all",
    "bn": "stats",
    "train_shots": 1,
}
_OSLSM = {"lr": 1e-10 * 417**2, "weight_decay": 5e-4 / 417**2}  # a sum over pixels, as a mean
REAL, SMALL = ("pascal5i", "coco20i-a", "coco20i-b"), ("shapes5i",)


@pytest.mark.parametrize(
    ("name", "protocols", "shots", "expected"),
    [
        *((name, REAL[1:], (1,), _BIOPT) for name in ("baseline", "biopt", "inopt-dagger")),
        *((name, REAL[:1], (1,), _BIOPT_PASCAL) for name in ("baseline", "biopt", "inopt-dagger")),
        *((name, REAL[:1], (5,), {"batch": 2, "iterations": 10_000}) for name in ("baseline", "biopt", "inopt-dagger")),
        ("bam", REAL, (1, 5), {"lr": 0.05, "batch": 8, "freeze": "all", "bn": "eval", "weight_decay": 1e-4}),
        ("bam", REAL[:1], (1, 5), {"iterations": 148_825}),
        ("bam", REAL[1:], (1, 5), {"iterations": 513_006}),
        ("baseline", SMALL, (1, 5), {"bn": "eval", "augment": "flip"}),
        ("canet", REAL, (1, 5), {**_CANET, "bn": "stats", "iterations": 513_000}),
        ("canet", SMALL, (1, 5), {"augment": "enlarged-crop-supports"}),
        ("cofcn", REAL, (1, 5), _FCN),
        ("cofcn", SMALL, (1,), _SMALL_FCN),
        ("fwb", REAL, (1, 5), _FWB),
        ("fwb", SMALL, (1, 5), {"bn": "train", "train_shots": 1}),
        ("oslsm", REAL, (1, 5), {**_FCN, "iterations": 60_000, "batch": 10, **_OSLSM}),
        ("panet", REAL, (1, 5), {**_STEPS, "iterations": 30_000, "lr": 1e-3, "momentum": 0.9, "weight_decay": 5e-4}),
        ("pfenet", REAL[:1], (1, 5), _PFENET),
        ("pfenet", REAL[1:], (1, 5), {**_PFENET, "iterations": 128_250, "batch": 32, "lr": 0.02}),
        ("pgnet", REAL, (1, 5), {**_CANET, "bn": "eval"}),
        ("pmms", REAL, (1, 5), _PMMS),
        ("pmms", SMALL, (1, 5), {"head_lr_factor": 10}),
        ("ppnet", REAL, (1, 5), _PPNET),
        ("ppnet-ud", REAL, (1, 5), _PPNET),
        ("repri", REAL, (1, 5), {"iterations": 0}),
        ("rpmms", REAL, (1, 5), _PMMS),
        ("rpmms", SMALL, (1, 5), {"head_lr_factor": 10}),
        ("sgone", REAL, (1, 5), {**_FCN, "bias_lr_factor": 2.0}),
        ("sgone", SMALL, (1,), _SMALL_FCN),
    ],
)
def test_recipes(name: str, protocols: tuple[str, ...], shots: tuple[int, ...], expected: dict[str, Any]) -> None:
    for protocol in protocols:
        for shot in shots:
            recipe = find_method(name).recipe(load_protocol(protocol), shot)
            for key, value in expected.items():
                close = pytest.approx(value) if isinstance(value, float) else value
                assert getattr(recipe, key) == close, (protocol, shot, key)


@pytest.mark.parametrize("name", method_names())
def test_recipes_are_in_range_and_give_the_sources_of_their_own_values(name: str) -> None:
    for protocol in (*REAL, *SMALL):
        recipe = find_method(name).recipe(load_protocol(protocol), 1).checked()
        assert recipe.sources
        assert set(recipe.sources) <= set(recipe.settings())


@pytest.mark.parametrize(
    ("backbone", "names"),
    [
        ("vgg16", {"cofcn", "oslsm", "panet", "sgone"}),
        ("resnet101", {"dan", "fwb"}),
        ("timm:vit_large_patch16_dinov3.lvd1689m", {"insid3"}),
        ("timm:vit_small_patch14_reg4_dinov2.lvd142m", {"dino-map"}),
        ("resnet50-deep", {"bam", "pfenet", "repri", "ssp"}),
        (
            "resnet50",
            {"baseline", "biopt", "canet", "hsnet", "inopt-dagger", "pgnet", "pmms", "ppnet", "ppnet-ud", "rpmms"},
        ),
    ],
)
def test_default_backbones(backbone: str, names: set[str]) -> None:
    assert {name for name in method_names() if find_method(name).default_backbone == backbone} == names


def test_methods_of_any_number_of_ways() -> None:
    several = {"baseline", "biopt", "dino-map", "inopt-dagger", "insid3", "panet", "ppnet", "ppnet-ud"}
    for name in method_names():
        assert find_method(name).max_ways == (None if name in several else 1), name
