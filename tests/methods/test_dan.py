"""DAN's reconstruction: stages, what the attention reads, several shots, what learns."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from fsseg_bench.engine.build import assemble
from fsseg_bench.engine.optimise import build_optimizer, prepare
from fsseg_bench.method import Episode
from fsseg_bench.nn.backbones import build_backbone
from fsseg_bench.protocol.load import load_protocol
from fsseg_bench.registry import cards
from fsseg_methods.dan import DAN, SignRule, attention_stages, rank_factors, skip_stage, without_sign
from tests.support.heads import TinyBackbone, make, random_masks
from tests.support.networks import noise_images, random_backbone

SIDE = 65


def _method(name: str = "resnet18-layer3", **switches: object) -> DAN:
    return assemble(DAN, name, "none", switches, 0)[0].eval()


@torch.no_grad()
def _episode(method: DAN, batch: int = 2, shots: int = 1, seed: int = 0) -> Episode:
    size = (SIDE, SIDE)
    support = method.encode(noise_images(batch * shots, size, seed))
    masks = random_masks((batch, 1, shots, *size), seed, void=0.2)
    return Episode(
        support=tuple(level.unflatten(0, (batch, 1, shots)) for level in support),
        support_masks=masks,
        query=method.encode(noise_images(batch, size, seed + 1)),
        size=size,
        seeds=tuple(range(batch)),
        query_labels=random_masks((batch, *size), seed + 2),
    )


@pytest.mark.parametrize(
    ("name", "stages", "skip"),
    [
        ("resnet101", {"layer2": (512, 8), "layer3": (1024, 16), "layer4": (2048, 32)}, "layer1"),
        ("resnet18-layer3", {"layer2": (128, 8), "layer3": (256, 16)}, "layer1"),
        ("resnet18-layer2", {"layer2": (128, 8)}, "layer1"),
        ("vgg16", {"conv4": (512, 8), "conv5": (512, 16)}, "conv3"),
    ],
)
def test_stages(name: str, stages: dict[str, tuple[int, int]], skip: str) -> None:
    with torch.device("meta"):
        backbone = build_backbone(name, DAN.layout)
    assert attention_stages(backbone) == tuple(stages)
    assert {s: (backbone.channels[s], backbone.strides[s]) for s in stages} == stages
    assert skip_stage(backbone) == (skip,)
    assert backbone.strides[skip] == 4


def test_shapes_on_resnet101_at_417_pixels() -> None:
    with torch.device("meta"):
        method = make(DAN, build_backbone("resnet101", DAN.layout))
        levels = method.encode(torch.empty(2, 3, 417, 417))
        reads = [torch.empty(2, 2 * (c // 2), s, s) for c, s in ((2048, 14), (1024, 27), (512, 53))]
        logits = method.decoder([*reads, levels[-1]])
    assert [tuple(level.shape) for level in levels] == [
        (2, 64 + 256, 53, 53),
        (2, 128 + 512, 27, 27),
        (2, 256 + 1024, 14, 14),
        (2, 64, 105, 105),
    ]
    assert logits.shape == (2, 2, 105, 105)


def test_sizes_of_the_head_on_resnet101() -> None:
    with torch.device("meta"):
        method = make(DAN, build_backbone("resnet101", DAN.layout))
    embed = [sum(p.numel() for p in layer.parameters()) for layer in method.embed]
    assert embed == [(9 * c + 1) * (c // 8 + c // 2) for c in (512, 1024, 2048)]

    def conv(inputs: int, outputs: int) -> int:
        return (9 * inputs + 1) * outputs

    fusions = [conv(c, 256) + conv(512, 256) + 2 * conv(256, 256) for c in (1024, 512)]
    last = conv(64, 64) + conv(320, 64) + 2 * conv(64, 64) + (64 + 1) * 2
    assert sum(p.numel() for p in method.decoder.parameters()) == conv(2048, 256) + sum(fusions) + last


@pytest.mark.parametrize("scores", ["relu", "shift", "signed"])
def test_attention_reads_the_foreground_of_all_supports(scores: SignRule) -> None:
    method = _method(scores=scores)
    episode = _episode(method, shots=3)
    maps = method.attended(episode)
    assert [tuple(m.shape) for m in maps] == [(2, 128, 9, 9), (2, 256, 5, 5)]
    for keys, support, query, actual in zip(method.keys, episode.support, episode.query, maps, strict=False):
        cells = F.interpolate((episode.support_masks[:, 0] == 1).float(), size=actual.shape[2:], mode="nearest") > 0
        for b in range(2):
            nodes = support[b, 0].permute(0, 2, 3, 1)[cells[b]]
            table = query[b, :keys].flatten(1).T @ nodes[:, :keys].T / keys**0.5
            real = torch.ones(1, len(nodes), dtype=torch.bool)
            table = without_sign(table[None], real, scores)[0]
            table = table * rank_factors(table.mean(dim=0)[None], real)
            read = table.softmax(dim=1) @ nodes[:, keys:]
            expected = torch.cat((read.T.reshape(-1, *actual.shape[2:]), query[b, keys:]))
            torch.testing.assert_close(actual[b], expected, atol=1e-5, rtol=1e-5)


def test_keys_and_values_are_of_rectified_stages() -> None:
    method = _method()
    images = noise_images(2, (SIDE, SIDE))
    with torch.no_grad():
        layer2, layer3, layer1 = method.backbone.levels(images, ("layer2", "layer3", "layer1"))
        levels = method.encode(images)
    for actual, layer, level in zip(levels, (*method.embed, *method.skip), (layer2, layer3, layer1), strict=True):
        pad = layer.kernel_size[0] // 2
        torch.testing.assert_close(actual, F.conv2d(level.clamp_min(0), layer.weight, layer.bias, padding=pad))


@torch.no_grad()
def test_one_support_several_times_is_one_support_without_ranks() -> None:
    for rerank in (False, True):
        method = _method(rerank=rerank)
        once = _episode(method)
        masks = once.support_masks.repeat(1, 1, 4, 1, 1)
        support = tuple(level.repeat(1, 1, 4, 1, 1, 1) for level in once.support)
        often = dataclasses.replace(once, support=support, support_masks=masks)
        pairs = zip(method.attended(often), method.attended(once), strict=True)
        moved = max(float((several - one).abs().max() / one.abs().max()) for several, one in pairs)
        assert moved > 1e-3 if rerank else moved < 1e-5, moved


@torch.no_grad()
def test_a_tiny_object_is_still_seen_and_void_never() -> None:
    method = _method()
    episode = _episode(method, batch=1)
    masks = torch.zeros_like(episode.support_masks)
    empty = dataclasses.replace(episode, support_masks=masks)
    tiny = masks.clone()
    tiny[0, 0, 0, 30, 31] = 1
    nothing = method.attended(empty)
    assert not any(read[:, : read.shape[1] // 2].any() for read in nothing)
    for read in method.attended(dataclasses.replace(episode, support_masks=tiny)):
        assert read[:, : read.shape[1] // 2].any()
    void = dataclasses.replace(episode, support_masks=masks + 255)
    assert torch.equal(method.predict(void), method.predict(empty))


@torch.no_grad()
def test_switches_change_the_logits() -> None:
    usual = _method()
    episode = _episode(usual)
    logits = usual.predict(episode)
    for switch in ({"rerank": False}, {"scores": "shift"}, {"scores": "signed"}):
        assert not torch.allclose(_method(**switch).predict(episode), logits, atol=1e-6), switch
    assert _method(width=32).decoder.start[0].out_channels == 32


def test_a_backbone_of_one_stage() -> None:
    method = make(DAN, TinyBackbone(16))
    assert method.skip_stages == ()
    assert method.predict(_episode(method)).shape == (2, 2, 8, 8)


@pytest.mark.parametrize("freeze", ["all", "none"])
def test_what_learns(freeze: str) -> None:
    method = make(DAN, random_backbone("resnet18-layer3"))
    recipe = dataclasses.replace(DAN.recipe(load_protocol("pascal5i"), 1), freeze=freeze)
    prepare(method, recipe)
    rates = {id(p): group["lr"] for group in build_optimizer(method, recipe).param_groups for p in group["params"]}
    images = noise_images(2, (SIDE, SIDE))
    levels = method.encode(images)
    masks = random_masks((1, 1, 1, SIDE, SIDE), 0)
    support = tuple(level[:1, None, None] for level in levels)
    query = tuple(level[1:] for level in levels)
    episode = Episode(support, masks, query, (SIDE, SIDE), (0,), random_masks((1, SIDE, SIDE), 1))
    sum(method.loss(episode).values()).backward()
    for name, parameter in method.named_parameters():
        if not name.startswith("backbone."):
            assert rates[id(parameter)] == pytest.approx(2.5e-3), name
            assert parameter.grad is not None and parameter.grad.any(), name
        elif freeze == "all":
            assert id(parameter) not in rates and parameter.grad is None, name
    trained = [p for p in method.backbone.parameters() if id(p) in rates]
    assert bool(trained) is (freeze == "none")
    assert all(rates[id(p)] == pytest.approx(2.5e-4) for p in trained)


def test_the_card_says_reconstruction() -> None:
    (card,) = (card for card in cards() if card.name == "dan")
    assert card.fidelity == "reconstruction"
    assert "reconstruction" in card.summary
