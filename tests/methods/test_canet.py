"""CANet: its stages and start, comparison, attention over shots, refinement, and what training remembers."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fsseg_bench.engine.build import assemble
from fsseg_bench.method import Episode, History
from fsseg_methods.canet import CANet, support_vectors
from tests.support.heads import TinyBackbone, make, random_episode


def test_stages_at_the_authors_size() -> None:
    built = assemble(CANet, "resnet50", "none", {}, 0)[0].eval()
    seen = {}
    for name in ("conv1", "maxpool", "layer1", "layer2", "layer3"):
        built.backbone.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, name=name: seen.update({name: tuple(output.shape[1:])})
        )
    with torch.no_grad():
        features = built.encode(torch.randn(1, 3, 321, 321))
    assert seen == {
        "conv1": (64, 161, 161),
        "maxpool": (64, 81, 81),
        "layer1": (256, 81, 81),
        "layer2": (512, 41, 41),
        "layer3": (1024, 41, 41),
    }
    assert features.shape == (1, 256, 41, 41)
    assert float(features.min()) == 0
    dilations = [m.dilation for m in built.backbone.layer3.modules() if getattr(m, "kernel_size", None) == (3, 3)]
    assert dilations == [(2, 2)] * 6
    assert [m.stride for m in built.backbone.layer2[0].modules() if hasattr(m, "kernel_size")] == [
        (2, 2),
        (1, 1),
        (1, 1),
        (2, 2),
    ]


@pytest.mark.parametrize(
    ("backbone", "width"),
    [("resnet101", 256), ("vgg16", 256), ("resnet18", 256), ("resnet18-layer3", 256), ("resnet18-layer2", 128)],
)
def test_other_backbones(backbone: str, width: int) -> None:
    built = assemble(CANet, backbone, "none", {}, 0)[0].eval()
    with torch.no_grad():
        assert built.encode(torch.randn(1, 3, 40, 33)).shape[1] == width


def test_the_light_form_starts_larger_and_drops_nothing() -> None:
    def rates(built: CANet) -> set[float]:
        return {module.p for module in built.modules() if isinstance(module, torch.nn.Dropout2d)}

    full = assemble(CANet, "resnet18-layer3", "none", {}, 0)[0]
    light = assemble(CANet, "resnet18-layer2", "none", {}, 0)[0]
    assert isinstance(full, CANet)
    assert isinstance(light, CANet)
    assert (rates(full), rates(light)) == ({0.5}, {0.0})
    assert abs(float(full.compare.joined.weight.detach().std()) - 0.01) < 1e-4
    assert abs(float(light.compare.joined.weight.detach().std()) - (2 / (256 * 9)) ** 0.5) < 1e-3
    chosen = assemble(CANet, "resnet18-layer2", "none", {"dropout": 0.25, "small_start": True}, 0)[0]
    assert isinstance(chosen, CANet)
    assert rates(chosen) == {0.25}
    assert abs(float(chosen.compare.joined.weight.detach().std()) - 0.01) < 1e-4


def method(**switches: Any) -> CANet:
    """A head of 6 channels with weights large enough to matter, in evaluation mode."""
    torch.manual_seed(0)
    built = make(CANet, TinyBackbone(), **switches).eval()
    with torch.no_grad():
        for name, parameter in built.named_parameters():
            if not name.startswith("backbone."):
                parameter.copy_(torch.randn_like(parameter) / max(1, parameter[0].numel()) ** 0.5)
    return built


def episode_of(batch: int = 2, shots: int = 1, **options: Any) -> Episode:
    """Features after a ReLU, as ``encode`` gives them."""
    made = random_episode(batch, 1, shots, **options)
    assert isinstance(made.support, Tensor)
    assert isinstance(made.query, Tensor)
    return dataclasses.replace(made, support=made.support.relu(), query=made.query.relu())


def test_support_vector_by_hand() -> None:
    features = torch.tensor([[1.0, 2.0], [4.0, 8.0]]).view(1, 1, 1, 2, 2)
    mask = torch.zeros(1, 1, 5, 5)
    mask[..., :3, :] = 1  # corners aligned: rows 0 and 4 of the mask, so the upper cells alone
    expected = torch.tensor([[[3 / (2 + 0.0005)]]])
    torch.testing.assert_close(support_vectors(features, mask), expected)
    soft = torch.full((1, 1, 2, 2), 0.25)
    torch.testing.assert_close(support_vectors(features, soft), torch.tensor([[[15 * 0.25 / (1 + 0.0005)]]]))
    assert support_vectors(features, torch.zeros(1, 1, 5, 5)).item() == 0


def _comparisons(built: CANet, query: Tensor, vectors: Tensor) -> list[Tensor]:
    """[query; vector tiled] for each shot, the literal input of both branches."""
    return [
        torch.cat((query, vectors[:, k, :, None, None].expand(-1, -1, *query.shape[2:])), dim=1)
        for k in range(vectors.shape[1])
    ]


@pytest.mark.parametrize("shots", [1, 2, 3, 4, 5])
def test_attention_against_its_definition(shots: int) -> None:
    built = method()
    assert built.attention is not None
    query, vectors = torch.rand(2, 6, 9, 7), torch.rand(2, shots, 6)
    compare, first, last = built.compare.joined, built.attention.first.joined, built.attention.last
    maps, scores = [], []
    for both in _comparisons(built, query, vectors):
        maps.append(F.conv2d(both, compare.weight, compare.bias, padding=2, dilation=2).relu())
        inner = F.conv2d(both, first.weight, first.bias, padding=1).relu()
        pooled = F.max_pool2d(inner, 3, stride=2, padding=1)
        scores.append(F.conv2d(pooled, last.weight, last.bias, padding=1).mean(dim=(1, 2, 3)))
    weights = torch.stack(scores).softmax(dim=0)
    expected = sum(w[:, None, None, None] * one for w, one in zip(weights, maps, strict=True))
    torch.testing.assert_close(built.comparison(query, vectors), expected, atol=1e-5, rtol=1e-5)
    if shots > 1:
        torch.testing.assert_close(built.attention(query, vectors), weights.T)
        assert float(weights.detach().std(dim=0).max()) > 1e-3
        average = method(fusion="average")
        average.load_state_dict(built.state_dict(), strict=False)
        torch.testing.assert_close(
            average.comparison(query, vectors), torch.stack(maps).mean(dim=0), atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize("refinements", [0, 1, 4])
def test_refinements_against_passes_written_out(refinements: int) -> None:
    built, episode = method(refinements=refinements), episode_of()
    assert isinstance(episode.query, Tensor)
    vectors = support_vectors(episode.support[:, 0], episode.support_masks[:, 0] == 1)
    compared = built.comparison(episode.query, vectors)
    told = torch.zeros(2, 2, *compared.shape[2:])
    for _ in range(1 + refinements):
        logits = built.decode(built.refine(compared, told))
        told = logits.exp() / logits.exp().sum(dim=1, keepdim=True)
    expected = F.interpolate(logits, size=episode.size, mode="bilinear", align_corners=True)
    torch.testing.assert_close(built.predict(episode), expected, atol=1e-5, rtol=1e-5)
    assert built.predict(episode).shape == (2, 2, 37, 30)


def test_training_tells_the_remembered_map_or_zeros() -> None:
    episode, past = episode_of(3), torch.rand(2, 4, 3)
    for rate, used in ((1.0, past), (0.0, torch.zeros(2, 1, 1))):
        built = method(history_rate=rate)
        history = History((past, None, past.double()))
        losses = built.loss(dataclasses.replace(episode, history=history))
        compared = built.compared_features(episode)
        zeros = torch.zeros(2, 5, 4)
        resized = F.interpolate(used[None], size=(5, 4), mode="bilinear", align_corners=True)[0]
        told = torch.stack((resized, zeros, resized))
        logits = built.head(compared, told)
        full = F.interpolate(logits, size=episode.size, mode="bilinear", align_corners=True)
        labels = episode.query_labels
        assert labels is not None
        expected = F.cross_entropy(full, labels.long(), ignore_index=255)
        torch.testing.assert_close(losses["query"], expected)
        assert history.kept is not None
        torch.testing.assert_close(history.kept, logits.softmax(dim=1))


def test_the_rate_is_drawn_for_each_sample_from_the_global_generator() -> None:
    built, episode = method(), episode_of(1)
    marked = dataclasses.replace(
        episode,
        support_masks=episode.support_masks.expand(500, -1, -1, -1, -1),
        history=History((torch.ones(2, 1, 1),) * 500),
    )

    def draw(seed: int) -> Tensor:
        torch.manual_seed(seed)
        told = built.remembered(marked, (1, 1))
        assert told is not None
        return told[:, 0, 0, 0]

    assert 0.24 < float(draw(0).mean()) < 0.36
    assert torch.equal(draw(0), draw(0))
    assert not torch.equal(draw(0), draw(1))


def test_without_a_history_the_loss_is_that_of_the_first_pass() -> None:
    episode = episode_of()
    first_visit = dataclasses.replace(episode, history=History((None, None)))
    assert torch.equal(method().loss(episode)["query"], method(history_rate=1.0).loss(first_visit)["query"])


def test_queries_pass_before_supports() -> None:
    built = method()
    sizes = []
    built.backbone.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    built.backbone.levels = lambda images, names: sizes.append(len(images)) or (built.backbone.conv(images),)
    support, query = built.encode_training(torch.randn(6, 3, 16, 16), torch.ones(6, 16, 16), torch.randn(2, 3, 16, 16))
    assert sizes == [2, 6]
    assert isinstance(support, Tensor)
    assert isinstance(query, Tensor)
    assert (len(support), len(query)) == (6, 2)


def test_one_shot_leaves_attention_alone() -> None:
    built = method()
    built.loss(episode_of(2, 1))["query"].backward()
    idle = {name.split(".")[0] for name, parameter in built.named_parameters() if parameter.grad is None}
    assert idle == {"attention", "backbone", "embed"}  # the episode's features are given
    twin = method(fusion="average")
    twin.load_state_dict(built.state_dict(), strict=False)
    assert torch.equal(twin.predict(episode_of(2, 1)), built.predict(episode_of(2, 1)))
