"""HSNet: 4D convolutions against a kernel written out, memory, votes by hand, levels, void and sizes."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from fsseg_bench.errors import UserError
from fsseg_bench.method import Episode
from fsseg_bench.nn.backbones import build_backbone
from fsseg_methods import _hsnet
from fsseg_methods._hsnet import SQUEEZES, PairConvolution, PairHead, SqueezeBlock, correlation, units
from fsseg_methods.hsnet import HSNet, levels_of
from tests.support.heads import TinyBackbone, make, random_masks
from tests.support.networks import meta_backbone


def _drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _by_hand(step: PairConvolution, pairs: Tensor) -> Tensor:
    """The sum of the two planes at every pair, cell by cell, before the norm."""
    b, _, s, t, h, w = pairs.shape
    query_bias, support_bias = step.query.bias, step.support.bias
    assert query_bias is not None
    assert support_bias is not None
    reach = step.query.kernel_size[0] // 2
    rows = [*range(0, s, step.stride)], [*range(0, t, step.stride)]
    result = torch.zeros(b, step.query.out_channels, len(rows[0]), len(rows[1]), h, w, dtype=pairs.dtype)
    offsets = list(itertools.product(range(-reach, reach + 1), repeat=2))
    for (i, y), (j, x), u, v in itertools.product(enumerate(rows[0]), enumerate(rows[1]), range(h), range(w)):
        value = query_bias + support_bias
        for a, c in offsets:
            if 0 <= u + a < h and 0 <= v + c < w:
                value = value + pairs[:, :, y, x, u + a, v + c] @ step.query.weight[:, :, a + reach, c + reach].T
            if 0 <= y + a < s and 0 <= x + c < t:
                value = value + pairs[:, :, y + a, x + c, u, v] @ step.support.weight[:, :, a + reach, c + reach].T
        result[:, :, i, j, u, v] = value
    return result


@pytest.mark.parametrize(
    ("kernel", "stride", "support"), [(3, 1, (2, 2)), (3, 2, (4, 3)), (5, 4, (5, 6)), (3, 1, (1, 1))]
)
def test_a_pair_convolution_is_two_planes_of_a_4d_kernel(kernel: int, stride: int, support: tuple[int, int]) -> None:
    """With few support cells (a matrix) and many (a convolution); the norm's statistics are over all four axes."""
    torch.manual_seed(0)
    step = PairConvolution(3, 8, kernel, stride).double()
    pairs = _drawn(2, 3, *support, 3, 4)
    with torch.no_grad():
        step.norm.weight.uniform_(0.5, 1.5)
        step.norm.bias.normal_()
        total = _by_hand(step, pairs)
        groups = total.reshape(2, 4, -1)
        centred = groups - groups.mean(2, keepdim=True)
        normed = (centred / (groups.var(2, correction=0, keepdim=True) + 1e-5).sqrt()).view(total.shape)
        affine = normed * step.norm.weight.view(-1, 1, 1, 1, 1) + step.norm.bias.view(-1, 1, 1, 1, 1)
        torch.testing.assert_close(step(pairs), affine.relu())


def _features(seed: int, side: tuple[int, int]) -> Tensor:
    return units(_drawn(2, 3, 7, *side, seed=seed))


def test_correlation_in_chunks_is_that_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also the gradients; chunks that do not divide the query's cells."""
    torch.manual_seed(0)
    step = PairConvolution(3, 8, 5, 4).double()
    query, support = _features(1, (5, 4)), _features(2, (6, 7))
    whole = correlation(support.flatten(3), query.flatten(3)).view(2, 3, 6, 7, 5, 4)
    cosines = torch.einsum("blcst,blchw->blsthw", support, query).clamp_min(0)
    torch.testing.assert_close(whole, cosines)
    expected = step(whole)
    gradients = torch.autograd.grad(expected.square().sum(), list(step.parameters()))
    monkeypatch.setattr(_hsnet, "_CHUNK", 3 * 2 * 3 * 6 * 7)  # three query cells
    result = step.of_correlation(query, support)
    torch.testing.assert_close(result, expected)
    for one, other in zip(torch.autograd.grad(result.square().sum(), list(step.parameters())), gradients, strict=True):
        torch.testing.assert_close(one, other)


class _Largest(TorchDispatchMode):
    """Sees how many numbers the largest tensor has that is made within it."""

    seen = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, Tensor):
                self.seen = max(self.seen, tensor.numel())
        return result


def test_inference_never_holds_the_whole_correlation(monkeypatch: pytest.MonkeyPatch) -> None:
    block = SqueezeBlock(3, SQUEEZES[8])
    query, support = (units(_drawn(2, 3, 4, 24, 24, seed=seed).float()) for seed in (1, 2))
    whole = 2 * 3 * 24**4
    monkeypatch.setattr(_hsnet, "_CHUNK", whole // 20)
    with torch.no_grad(), _Largest() as largest:
        block(query, support)
    assert largest.seen < whole / 2, "the first step's own outputs are 16 * 36 / (3 * 576) of the correlation"
    monkeypatch.setattr(_hsnet, "_CHUNK", whole)
    with torch.no_grad(), _Largest() as largest:
        block(query, support)
    assert largest.seen == whole


def test_an_empty_mask_correlates_with_nothing() -> None:
    features = _drawn(1, 2, 3, 4, 4)
    cleared = units(features, torch.zeros(1, 9, 9, dtype=torch.bool))
    assert not cleared.any()
    assert not correlation(units(features).flatten(3), cleared.flatten(3)).any()


# --- the method ---


def _method(**switches: Any) -> HSNet:
    torch.manual_seed(0)
    return make(HSNet, TinyBackbone(), **switches).eval()


def _episode(method: HSNet, shots: int, batch: int = 2, size: tuple[int, int] = (72, 56)) -> Episode:
    masks = random_masks((batch, 1, shots, *size), seed=1)
    with torch.no_grad():
        (query,) = method.encode(_drawn(batch, 3, *size).float())
        (support,) = method.encode(_drawn(batch * shots, 3, *size, seed=5).float())
    return Episode(
        (support.unflatten(0, (batch, 1, shots)),),
        masks,
        (query,),
        size,
        tuple(range(batch)),
        random_masks((batch, *size), seed=3),
    )


def _one_shot(episode: Episode, k: int) -> Episode:
    support = tuple(level[:, :, k : k + 1] for level in episode.support)
    return dataclasses.replace(episode, support=support, support_masks=episode.support_masks[:, :, k : k + 1])


def _labels(logits: Tensor) -> Tensor:
    return (logits[:, 1] > logits[:, 0]).long()


def test_votes_by_hand() -> None:
    """Columns are pixels, rows supports: votes 4, 2, 1, 0; then a best of 2, 1 and 0 votes of four supports."""
    masks = torch.tensor(
        [
            [[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]],
            [[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]],
            [[1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]],
            [[0, 0, 0, 0]] * 4,
        ]
    )[:, :, None]
    expected = {
        ("best", 0.5): [[1, 1, 0, 0], [1, 1, 0, 0], [1, 0, 0, 1], [0, 0, 0, 0]],
        ("best", 0.75): [[1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 1], [0, 0, 0, 0]],
        ("shots", 0.5): [[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]],
        ("shots", 1.0): [[1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]],
    }
    for (vote_of, share), wanted in expected.items():
        voted = _labels(_method(vote_of=vote_of, vote_share=share).voted(masks))
        assert voted[:, 0].tolist() == wanted, (vote_of, share)


@torch.no_grad()
def test_several_supports_are_votes_of_predictions_of_one() -> None:
    method = _method()
    episode = _episode(method, 3)
    alone = torch.stack([_labels(method.predict(_one_shot(episode, k))) for k in range(3)], dim=1)
    assert 0 < alone.float().mean() < 1, "neither class wins everywhere"
    logits = method.predict(episode)
    assert logits.shape == (2, 2, 72, 56)
    votes = alone.sum(dim=1)
    best = votes.amax(dim=(1, 2), keepdim=True).clamp_min(1)
    assert torch.equal(_labels(logits), (2 * votes >= best).long())


def test_the_loss_is_the_mean_over_supports_and_void_can_be_background() -> None:
    method = _method()
    episode = _episode(method, 2)
    alone = [method.loss(_one_shot(episode, k))["query"] for k in range(2)]
    torch.testing.assert_close(method.loss(episode)["query"], torch.stack(alone).mean())
    labels = episode.query_labels
    assert labels is not None
    filled = dataclasses.replace(episode, query_labels=labels.masked_fill(labels == 255, 0))
    with_void = _method(void_in_bg=True).loss(episode)["query"]
    torch.testing.assert_close(with_void, method.loss(filled)["query"])
    assert not torch.isclose(with_void, method.loss(episode)["query"])


@pytest.mark.parametrize(
    ("name", "levels", "maps"),
    [
        ("resnet50", {8: "layer2", 16: "layer3", 32: "layer4"}, [4, 6, 3]),
        ("resnet101", {8: "layer2", 16: "layer3", 32: "layer4"}, [4, 23, 3]),
        ("vgg16", {8: "conv4", 16: "conv5", 32: "pool5"}, [3, 3, 1]),
        ("resnet18-layer3", {8: "layer2", 16: "layer3"}, [2, 2]),
        ("resnet18-layer1", {8: "layer1"}, [2]),
    ],
)
def test_levels(name: str, levels: dict[int, str], maps: list[int]) -> None:
    """Against the list of the paper's backbones, and the counted parameters of their heads."""
    backbone = meta_backbone(name, HSNet.layout)
    assert levels_of(backbone) == levels
    assert [backbone.blocks_of(stage) for stage in levels.values()] == maps
    counted = {"resnet50": 2_573_794, "resnet101": 2_587_394, "vgg16": 2_570_018}
    head = PairHead(dict(zip(levels, maps, strict=True)))
    assert sum(p.numel() for p in head.parameters()) == counted.get(name, sum(p.numel() for p in head.parameters()))


@torch.no_grad()
def test_levels_that_cannot_be_added_are_refused() -> None:
    """33, 16 and 8 cells (VGG at 270 pixels) would leave 2, 1 and 1: PyTorch would add them without a word."""
    head = PairHead({8: 1, 16: 1, 32: 1})
    levels = [units(_drawn(1, 1, 2, side, side).float()) for side in (33, 16, 8)]
    with pytest.raises(UserError, match=r"33 x 33, 16 x 16, 8 x 8 cells.*2 x 2, 1 x 1, 1 x 1.*multiple of 32"):
        head(levels, levels)


@torch.no_grad()
def test_images_of_any_shape() -> None:
    """The query has cells of its own; the logits have twice as many on each side."""
    torch.manual_seed(0)
    method = make(HSNet, build_backbone("resnet18-layer3", HSNet.layout)).eval()
    query = method.encode(_drawn(1, 3, 96, 65).float())
    support = tuple(level[:, None, None] for level in method.encode(_drawn(1, 3, 65, 129).float()))
    episode = Episode(support, random_masks((1, 1, 1, 65, 129), seed=1), query, (96, 65), (0,))
    assert method.shots(episode)[0].shape == (1, 2, 24, 18)
    assert method.predict(episode).shape == (1, 2, 96, 65)
