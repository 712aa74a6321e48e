"""Weight files: good, wrong, hostile, and fetched from a server on this machine."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from fsseg_bench.nn.backbones import build_backbone
from fsseg_bench.nn.weights import load_weights
from tests.support.weights import SMALL, assert_filled, published_resnet18, refusal, small_trunk


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    return published_resnet18()


@pytest.fixture(scope="module")
def trunk() -> dict[str, Tensor]:
    return small_trunk()


# --- files that fit ---


def test_none_keeps_the_random_numbers() -> None:
    backbone = build_backbone(SMALL)
    before = {key: tensor.clone() for key, tensor in backbone.state_dict().items()}
    assert load_weights(backbone, "none").as_dict() == {"source": "none", "digest": "none", "details": {}}
    assert_filled(backbone, before)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
def test_kinds_of_files(suffix: str, trunk: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / f"mine{suffix}"
    if suffix == ".safetensors":
        safetensors.torch.save_file(trunk, path)
    else:
        torch.save(trunk, path)
    backbone = build_backbone(SMALL)
    info = load_weights(backbone, str(path))
    assert_filled(backbone, trunk)
    assert json.loads(json.dumps(info.as_dict())) == {
        "source": str(path),
        "digest": hashlib.sha256(path.read_bytes()).hexdigest(),
        "details": {"file": path.name, "tensors": len(trunk), "unused": [], "missing": []},
    }


@pytest.mark.parametrize("nested", [(), ("state_dict",), ("model",), ("model_state_dict",), ("model", "state_dict")])
@pytest.mark.parametrize("prefix", ["", "module.", "module.module."])
def test_wrapped_files(nested: tuple[str, ...], prefix: str, trunk: dict[str, Tensor], tmp_path: Path) -> None:
    content: dict[str, Any] = {prefix + key: tensor for key, tensor in trunk.items()}
    for key in nested:
        content = {"epoch": 3, key: content, "optimizer": {"lr": 0.1}}
    torch.save(content, tmp_path / "wrapped.pth")
    backbone = build_backbone(SMALL)
    load_weights(backbone, str(tmp_path / "wrapped.pth"))
    assert_filled(backbone, trunk)


def test_old_torch_files(trunk: dict[str, Tensor], tmp_path: Path) -> None:
    """Some published weights are still in the format before zip."""
    torch.save(trunk, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    backbone = build_backbone(SMALL)
    load_weights(backbone, str(tmp_path / "old.pth"))
    assert_filled(backbone, trunk)


def test_half_precision_becomes_float32(trunk: dict[str, Tensor], tmp_path: Path) -> None:
    halves = {key: tensor.half() if tensor.is_floating_point() else tensor for key, tensor in trunk.items()}
    torch.save(halves, tmp_path / "half.pth")
    backbone = build_backbone(SMALL)
    load_weights(backbone, str(tmp_path / "half.pth"))
    assert_filled(backbone, {key: tensor.to(trunk[key].dtype) for key, tensor in halves.items()})
    assert backbone.conv1.weight.dtype == torch.float32


def test_classifier_and_later_stages_are_left_out(published: dict[str, Tensor], tmp_path: Path) -> None:
    counters = [key for key in published if key.endswith("num_batches_tracked")]
    torch.save({key: t for key, t in published.items() if key not in counters}, tmp_path / "whole.pth")
    backbone = build_backbone(SMALL)
    details = load_weights(backbone, str(tmp_path / "whole.pth")).details
    own = backbone.state_dict()
    for key, tensor in own.items():
        if key not in counters:
            assert torch.equal(tensor, published[key])
    assert details["unused"] == sorted(published.keys() - own.keys() - set(counters))
    assert {"fc.weight", "fc.bias", "layer3.0.conv1.weight"} < set(details["unused"])
    assert details["missing"] == sorted(key for key in counters if key in own)


# --- files that do not fit ---


@pytest.mark.filterwarnings("ignore:Validating sparse")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer1.0.conv1.weight": None}, r"layer1.0.conv1.weight: missing"),
        ({"bn1.running_var": None}, r"bn1.running_var: missing"),
        ({"conv1.weight": torch.ones(64, 1, 7, 7)}, r"conv1.weight: shape (64, 1, 7, 7), needed (64, 3, 7, 7)"),
        ({"bn1.bias": torch.full((64,), torch.nan)}, r"bn1.bias: holds NaN or infinity"),
        ({"bn1.bias": torch.ones(64, dtype=torch.int8)}, r"bn1.bias: torch.int8"),
        ({"bn1.bias": torch.ones(64).to_sparse()}, r"needed dense"),
        ({"conv1.bias": torch.ones(64)}, r"conv1.bias: the backbone has no such layer"),
        ({"layer2.2.conv1.weight": torch.ones(3)}, r"layer2.2.conv1.weight: the backbone has no such layer"),
    ],
)
def test_a_mismatch_that_matters_isrefusal(
    change: dict[str, Tensor | None], message: str, trunk: dict[str, Tensor], tmp_path: Path
) -> None:
    changed = {key: tensor for key, tensor in {**trunk, **change}.items() if tensor is not None}
    torch.save(changed, tmp_path / "changed.pth")
    text = refusal(tmp_path / "changed.pth")
    assert message in text
    assert SMALL in text


def test_deeper_networks_do_not_pass_for_shallower_ones(tmp_path: Path) -> None:
    """Every shape of ResNet-50's trunk occurs in ResNet-101 under the same name."""
    torch.save(build_backbone("resnet101-layer3").state_dict(), tmp_path / "deep.pth")
    text = refusal(tmp_path / "deep.pth", "resnet50-layer3")
    assert "layer3.6.conv1.weight: the backbone has no such layer" in text
    assert "--backbone" not in text


def test_a_common_prefix_is_named(trunk: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save({f"backbone.{key}": tensor for key, tensor in trunk.items()}, tmp_path / "inner.pth")
    assert "all names in it begin with 'backbone.', as in backbone.bn1.bias; save" in refusal(tmp_path / "inner.pth")


def test_the_fitting_cut_is_named(trunk: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(trunk, tmp_path / "short.pth")
    for name in ("resnet18", "resnet18-layer3"):
        text = refusal(tmp_path / "short.pth", name)
        assert "layer3.0.conv1.weight: missing" in text
        assert "--backbone resnet18-layer2" in text
    torch.save({"conv1.weight": torch.ones(1)}, tmp_path / "nothing.pth")
    assert "--backbone" not in refusal(tmp_path / "nothing.pth")


# --- the real file ---


@pytest.mark.real_data
def test_the_real_resnet18(test_data: Path) -> None:
    path = test_data / "weights" / "resnet18_imagenet_layer1-3.pth"
    backbone = build_backbone("resnet18-layer3")
    info = load_weights(backbone, str(path))
    content = torch.load(path, weights_only=True)
    assert_filled(backbone, content)
    assert info.details["missing"] == []
    assert {key.partition(".")[0] for key in info.details["unused"]} == {"fc", "layer4"}
    text = refusal(path, "resnet18")
    assert "layer4.0.conv1.weight: missing" in text
    assert "--backbone resnet18-layer3" in text
