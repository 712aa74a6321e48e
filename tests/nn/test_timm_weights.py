"""Files of timm's models: in timm's names, in those of Meta, and what does not fit."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fsseg_bench.errors import NotHereError, UserError
from fsseg_bench.nn.backbones import build_backbone
from fsseg_bench.nn.weights import load_weights

pytest.importorskip("timm", reason="timm is not installed (the extra timm)")

import huggingface_hub
from timm.models import eva, vision_transformer

from fsseg_bench.nn.families.timm_weights import own_names

NAME = "timm:test_vit"
BLOCK = ("norm1.weight", "norm1.bias", "attn.qkv.weight", "attn.qkv.bias", "attn.proj.weight", "attn.proj.bias")
BLOCK += ("ls1.gamma", "norm2.weight", "norm2.bias", "mlp.fc1.weight", "mlp.fc1.bias", "mlp.fc2.weight")
BLOCK += ("mlp.fc2.bias", "ls2.gamma")
SHAPES: dict[str, tuple[int, ...]] = {"patch_embed.proj.weight": (16, 3, 14, 14), "rope_embed.periods": (2,)}
SHAPES |= {"qkv.weight": (48, 16), "qkv.bias": (48,), "proj.weight": (16, 16), "fc1.weight": (64, 16)}
SHAPES |= {"fc1.bias": (64,), "fc2.weight": (16, 64), "mask_token": (1, 16), "cls_token": (1, 1, 16)}
SHAPES |= {"pos_embed": (1, 5, 16), "register_tokens": (1, 4, 16), "storage_tokens": (1, 4, 16)}


def meta_file(*more: str) -> dict[str, Tensor]:
    """A network of one block, 16 wide, on 2 x 2 patches, in Meta's names."""
    names = ["cls_token", "mask_token", "patch_embed.proj.weight", "patch_embed.proj.bias", "norm.weight", "norm.bias"]
    names += [*(f"blocks.0.{key}" for key in BLOCK), *more]
    generator = torch.Generator().manual_seed(0)
    shapes = {name: next((s for end, s in SHAPES.items() if name.endswith(end)), (16,)) for name in names}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def dinov2() -> Any:
    return vision_transformer.VisionTransformer(
        img_size=28, patch_size=14, embed_dim=16, depth=1, num_heads=2, num_classes=0, init_values=1.0, reg_tokens=4,
        no_embed_class=True,
    )  # fmt: skip


def dinov3() -> Any:
    return eva.Eva(
        img_size=28, patch_size=14, embed_dim=16, depth=1, num_heads=2, num_classes=0, init_values=1.0, qkv_bias=False,
        num_reg_tokens=4, use_abs_pos_emb=False, use_rot_pos_emb=True, rope_type="dinov3", dynamic_img_size=True,
        rope_rotate_half=True, no_embed_class=True, use_fc_norm=False,
    )  # fmt: skip


def test_dinov2_with_registers_in_metas_names() -> None:
    given, model = meta_file("pos_embed", "register_tokens"), dinov2()
    found = own_names(model, given, "x")
    assert found.keys() == model.state_dict().keys()
    model.load_state_dict(found)
    patches = torch.randn(1, 4, 16)
    tokens = model._pos_embed(patches)
    # Meta: positions are added to class token and patches, and the registers, which have none, come between
    expected = [given["cls_token"] + given["pos_embed"][:, :1], given["register_tokens"]]
    assert torch.equal(tokens, torch.cat([*expected, patches + given["pos_embed"][:, 1:]], dim=1))
    assert "mask_token" in given  # the caller's own


def test_dinov3_in_metas_names(capsys: pytest.CaptureFixture[str]) -> None:
    given, model = meta_file("storage_tokens", "rope_embed.periods"), dinov3()
    with pytest.raises(UserError, match=r"blocks\.0\.attn\.qkv\.bias is not zero.*ends in _qkvb"):
        own_names(model, given, "x")
    given["blocks.0.attn.qkv.bias"][:16] = given["blocks.0.attn.qkv.bias"][32:] = 0  # the key's has no effect
    found = own_names(model, given, "x")
    assert found.keys() == model.state_dict().keys()
    assert torch.equal(found["reg_token"], given["storage_tokens"])
    assert torch.equal(found["blocks.0.gamma_1"], given["blocks.0.ls1.gamma"])
    assert capsys.readouterr().out == ""


def test_positions_are_not_resized_in_silence() -> None:
    given = meta_file("pos_embed", "register_tokens")
    given["pos_embed"] = torch.zeros(1, 1 + 9, 16)
    with pytest.raises(UserError, match=r"pos_embed has shape \(1, 10, 16\) and would have to be resized"):
        own_names(dinov2(), given, "x")


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    import timm

    return dict(timm.create_model("test_vit").state_dict())


def test_a_file_of_timms_fits_whole_and_cut(state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(state, tmp_path / "own.pth")
    for name, blocks in ((NAME, 6), (f"{NAME}-blocks.1", 2)):
        backbone = build_backbone(name)
        details = load_weights(backbone, str(tmp_path / "own.pth")).details
        for key, tensor in backbone.state_dict().items():
            assert torch.equal(tensor, state[key.removeprefix("network.")])
        assert len({key.split(".")[2] for key in backbone.state_dict() if "blocks" in key}) == blocks
        assert {"network.head.weight", "network.head.bias"} <= set(details["unused"])
        assert details["missing"] == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"norm.weight": None}, r"do not fit timm:test_vit: network\.norm\.weight: missing"),
        ({"pos_embed": torch.zeros(1, 50, 64)}, r"pos_embed: shape \(1, 50, 64\), needed \(1, 101, 64\)"),
        ({"blocks.0.attn.q_norm.weight": torch.ones(16)}, "q_norm.weight: the backbone has no such layer"),
        ({"blocks.1.norm1.bias": torch.full((64,), torch.nan)}, "holds NaN"),
    ],
)
def test_a_file_that_does_not_fit(
    change: dict[str, Tensor | None], message: str, state: dict[str, Tensor], tmp_path: Path
) -> None:
    torch.save({k: v for k, v in (state | change).items() if v is not None}, tmp_path / "own.pth")
    with pytest.raises(UserError, match=message):
        load_weights(build_backbone(NAME), str(tmp_path / "own.pth"))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_needs_neither_network_nor_hub(
    suffix: str, state: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import safetensors.torch

    file = tmp_path / f"own{suffix}"
    torch.save(state, file) if suffix == ".pth" else safetensors.torch.save_file(state, file)

    def refused(*given: Any) -> None:
        raise AssertionError(f"a connection: {given[1:]}")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refused)
    backbone = build_backbone(NAME)
    load_weights(backbone, str(file))
    assert torch.equal(backbone.state_dict()["network.norm.bias"], state["norm.bias"])
    with pytest.raises(NotHereError, match="AssertionError: a connection"):  # the published one would ask for it
        load_weights(build_backbone(NAME), "imagenet")


def test_published_weights_are_found_in_a_folder(
    state: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import safetensors.torch

    monkeypatch.setenv("FSSEG_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(
        NotHereError, match=r"timm/test_vit\.r160_in1k(.|\n)*as test_vit\.r160_in1k\.safetensors(.|\n)*--weights FILE"
    ):
        load_weights(build_backbone(NAME), "imagenet")
    safetensors.torch.save_file(state, tmp_path / "test_vit.r160_in1k.safetensors")
    info = load_weights(build_backbone(NAME), "imagenet")
    assert (info.source, info.details["licence"]) == ("test_vit.r160_in1k", "apache-2.0")
