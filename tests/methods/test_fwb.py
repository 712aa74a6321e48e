"""FWB's head, boosting, training passes, taps and starts against plain PyTorch, and by hand."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsseg_bench.method import Episode
from fsseg_bench.nn.backbones import build_backbone
from fsseg_methods._fwb.experts import (
    ClassVectors,
    ExitLayer,
    class_means,
    experts,
    similarity,
    weighted_cells,
    weighted_vector,
)
from fsseg_methods.fwb import FWB
from tests.support.heads import TinyBackbone, make, random_masks
from tests.support.networks import changed_keys, copied_state, noise_images, random_backbone

D, C = 5, 7


def _method(**switches: object) -> FWB:
    """With an exit layer whose experts are neither all foreground nor all background."""
    torch.manual_seed(3)
    method = make(FWB, TinyBackbone(C), **switches).eval()
    method.exit = ExitLayer(D)
    with torch.no_grad():
        method.exit.inner.weight *= 5
        method.exit.outer.weight *= 5
    return method


def _episode(batch: int = 2, shots: int = 1, *, void: float = 0.1, seed: int = 0) -> Episode:
    """Low-level features (5, 9, 7) and top features (7, 5, 4) of images of 35 x 27 pixels."""
    generator = torch.Generator().manual_seed(seed)

    def image(*leading: int) -> tuple[Tensor, Tensor]:
        low, top = (
            torch.randn(*leading, D, 9, 7, generator=generator),
            torch.randn(*leading, C, 5, 4, generator=generator),
        )
        return low.relu(), top + 0.5

    return Episode(
        support=image(batch, 1, shots),
        support_masks=random_masks((batch, 1, shots, 35, 27), seed + 1, void=void),
        query=image(batch),
        size=(35, 27),
        seeds=tuple(range(batch)),
        query_labels=random_masks((batch, 35, 27), seed + 2, void=void),
    )


def _means(top: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """f and b of one support, cell by cell."""
    height, width = top.shape[1:]
    cells = [
        (top[:, i, j], int(mask[i * mask.shape[0] // height, j * mask.shape[1] // width]))
        for i in range(height)
        for j in range(width)
    ]
    shown = [torch.stack([cell for cell, label in cells if label == value]).mean(dim=0) for value in (1, 0)]
    return shown[0], shown[1]


def _forward(exit_layer: ExitLayer, low: Tensor, top: Tensor, r: Tensor, v: Tensor, size: tuple[int, ...]) -> Tensor:
    """Logits (2, *size) of one image with plain PyTorch."""
    alike = F.cosine_similarity(top * r[:, None, None], v[:, None, None], dim=0).relu()[None, None]
    alike = F.interpolate(alike, size=low.shape[1:], mode="bilinear", align_corners=True)
    hidden = F.conv2d(low[None] * alike / alike.max(), exit_layer.inner.weight, exit_layer.inner.bias, padding=1)
    logits = F.conv2d(hidden.relu(), exit_layer.outer.weight, exit_layer.outer.bias)
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=True)[0]


def _score(exit_layer: ExitLayer, episode: Episode, *, steps: int, relevance: bool = True) -> tuple[Tensor, Tensor]:
    """The experts' score (H, W) and weights of the only episode, one support and one expert after the other."""
    (lows, tops), masks = episode.support, episode.support_masks[0, 0]
    supports = [(lows[0, 0, k], tops[0, 0, k], masks[k]) for k in range(episode.shots)]
    means = [_means(top, mask) for _, top, mask in supports]
    f, b = sum(pair[0] for pair in means), sum(pair[1] for pair in means)
    r = (f - b) / (f - b).norm() if relevance else torch.ones_like(f)
    vector = (f * r).clone().requires_grad_()
    adam = torch.optim.Adam([vector], lr=1e-2)
    score, weights = torch.zeros(episode.size), []
    for _ in range(steps + 1):
        loss, ious = torch.zeros(()), []
        for low, top, mask in supports:
            logits = _forward(exit_layer, low, top, r, vector, mask.shape)
            loss = loss + F.cross_entropy(logits[None], mask[None].long(), ignore_index=255)
            shown, true = logits.argmax(dim=0)[mask != 255], mask[mask != 255]
            ious.append(float((shown * true).sum() / ((shown + true) > 0).sum()))
        weights.append(sum(ious) / len(ious))
        with torch.no_grad():
            query = _forward(exit_layer, episode.query[0][0], episode.query[1][0], r, vector, episode.size)
            score += weights[-1] * query.argmax(dim=0)
        adam.zero_grad()
        loss.backward(inputs=[vector])
        adam.step()
    return score, torch.tensor(weights)


@pytest.mark.parametrize("shots", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("relevance", [True, False])
def test_prediction_against_plain_pytorch(shots: int, relevance: bool) -> None:
    method = _method(steps=4, relevance=relevance, threshold=0.4)
    episode = _episode(shots=shots)
    with torch.no_grad():
        logits, diagnostics = method.predict(dataclasses.replace(episode, query_labels=None))
    for i in range(episode.batch):
        score, weights = _score(method.exit, episode.item(i), steps=4, relevance=relevance)
        torch.testing.assert_close(logits[i, 1], score, atol=1e-5, rtol=0)
        torch.testing.assert_close(diagnostics["support_iou"][i], weights)
    assert logits[:, 0].unique().tolist() == pytest.approx([0.4])
    foreground = float((logits.argmax(dim=1) == 1).float().mean())
    assert 0.01 < foreground < 0.99  # the case says something


def test_released_shots_loop_segments_the_last_support() -> None:
    method, episode = _method(steps=3), _episode(batch=1, shots=3)
    swapped = dataclasses.replace(episode, query=(episode.support[0][:, 0, -1], episode.query[1]))
    released = _method(steps=3, last_support_low=True)
    assert torch.equal(released.predict(episode).logits, method.predict(swapped).logits)
    assert not torch.equal(released.predict(episode).logits, method.predict(episode).logits)


def test_the_same_bits_in_every_batch() -> None:
    method, episode = _method(steps=3), _episode(batch=5, shots=2)
    together = method.predict(episode)
    for i in range(5):
        own = method.predict(episode.item(i))
        assert torch.equal(own.logits, together.logits[i : i + 1])
        assert torch.equal(own.diagnostics["support_loss"], together.diagnostics["support_loss"][i : i + 1])


def test_a_batch_run_as_one_follows_the_same_paths() -> None:
    """As on a GPU, where the items of a batch go together."""
    method, episode = _method(steps=5), _episode(batch=3, shots=2)
    known = method.class_vectors(episode)
    (low, top), labels = episode.support, episode.support_masks[:, 0]
    shots = [tensor for k in range(2) for tensor in (low[:, 0, k], top[:, 0, k], labels[:, k])]
    settings = {"exit_layer": method.exit, "size": episode.size, "steps": 5}
    alone = experts(*known, *episode.query, *shots, **settings)
    together = experts.__wrapped__(*known, *episode.query, *shots, **settings)
    torch.testing.assert_close(together.vectors, alone.vectors, atol=1e-5, rtol=0)
    torch.testing.assert_close(together.losses, alone.losses)
    assert (together.masks != alone.masks).float().mean() < 1e-3


def test_normalised_score_is_a_majority_of_weights() -> None:
    episode = _episode(shots=2)
    plain, share = _method(steps=3).predict(episode), _method(steps=3, normalise_score=True).predict(episode)
    total = plain.diagnostics["support_iou"].sum(dim=1)[:, None, None]
    torch.testing.assert_close(share.logits[:, 1], plain.logits[:, 1] / total)
    assert share.logits[:, 0].unique().tolist() == [0.5]
    assert share.logits[:, 1].max() <= 1 + 1e-6


def test_without_boosting_and_loss_against_plain_pytorch() -> None:
    method, episode = _method(boosting=False), _episode()
    logits = method.predict(episode)
    known = method.class_vectors(episode)
    for i in range(2):
        low, top = episode.query
        expected = _forward(method.exit, low[i], top[i], known.relevance[i], known.vector[i], episode.size)
        torch.testing.assert_close(logits[i], expected, atol=1e-5, rtol=0)
    wanted = F.cross_entropy(logits, episode.query_labels.long(), ignore_index=255)
    torch.testing.assert_close(method.loss(episode)["query"], wanted)


def test_relevance_by_hand() -> None:
    f, b = torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([[0.0, 5.0, 2.0]])
    known = weighted_vector(f, b)
    torch.testing.assert_close(known.relevance, torch.tensor([[0.6, -0.8, 0.0]]))
    torch.testing.assert_close(known.vector, torch.tensor([[1.8, -0.8, 0.0]]))
    plain = weighted_vector(f, b, relevance=False)
    assert torch.equal(plain.vector, f)
    assert plain.relevance.tolist() == [[1, 1, 1]]
    assert weighted_vector(f, f).relevance.tolist() == [[0, 0, 0]]


def test_class_means_by_hand() -> None:
    """A mask of 4 x 4 over 2 x 2 cells: nearest takes its pixels (0, 0), (0, 2), (2, 0) and (2, 2)."""
    top = torch.tensor([1.0, 2.0, 4.0, 8.0]).view(1, 1, 2, 2)
    mask = torch.zeros(1, 4, 4, dtype=torch.uint8)
    mask[0, 0, 0] = mask[0, 2, 2] = 1
    mask[0, 1, :] = 1  # falls between
    mask[0, 0, 2] = 255
    assert class_means(top, mask == 1, mask == 0).flatten().tolist() == [4.5, 4.0]
    assert class_means(top, mask == 9, mask == 1).flatten().tolist() == [0.0, 4.5]


def test_similarity_by_hand() -> None:
    """Cosines 1, 0.6 and -1 in a row, twice as fine: the negative becomes 0 before it is resized."""
    cells = torch.tensor([[1.0, 0.6, -1.0], [0.0, 0.8, 0.0]]).view(1, 2, 1, 3)
    alike = similarity(cells, torch.tensor([[5.0, 0.0]]), (1, 5))
    torch.testing.assert_close(alike.flatten(), torch.tensor([1.0, 0.8, 0.6, 0.3, 0.0]))
    torch.testing.assert_close(similarity(0.1 * cells, torch.tensor([[0.3, 0.0]]), (1, 5)), alike)
    assert similarity(cells, torch.tensor([[0.0, -1.0]]), (1, 5)).flatten().tolist() == [0] * 5


def test_gradient_of_the_similarity_flows_through_its_peak() -> None:
    generator = torch.Generator().manual_seed(0)
    cells = F.normalize(torch.rand(1, 3, 4, 5, generator=generator, dtype=torch.float64), dim=1)
    vector = torch.rand(1, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: similarity(cells, v, (7, 9)), vector)


def test_gradients_reach_the_trunk_through_the_query_alone() -> None:
    method, episode = _method(), _episode()
    support, query = (
        tuple(level.clone().requires_grad_() for level in levels) for levels in (episode.support, episode.query)
    )
    method.loss(dataclasses.replace(episode, support=support, query=query))["query"].backward()
    assert all(level.grad is not None and level.grad.any() for level in query)
    assert all(level.grad is None for level in support)
    assert all(parameter.grad.any() for parameter in method.exit.parameters())


@pytest.mark.parametrize("label", [0, 1, 255])
def test_masks_that_lack_a_part_stay_finite(label: int) -> None:
    episode = _episode(shots=2)
    masks = episode.support_masks.clone()
    masks[0] = label
    masks[1, 0, 0] = label
    episode = dataclasses.replace(episode, support_masks=masks)
    for normalise in (False, True):
        logits, diagnostics = _method(steps=3, normalise_score=normalise).predict(episode)
        assert logits.isfinite().all()
        assert all(values.isfinite().all() for values in diagnostics.values())
    method = _method()
    method.loss(episode)["query"].backward()
    assert all(parameter.grad.isfinite().all() for parameter in method.exit.parameters())


def test_void_in_bg() -> None:
    episode = _episode(void=0.3)
    filled = dataclasses.replace(
        episode,
        support_masks=episode.support_masks.masked_fill(episode.support_masks == 255, 0),
        query_labels=episode.query_labels.masked_fill(episode.query_labels == 255, 0),
    )
    pooled, usual = _method(steps=2, void_in_bg=True), _method(steps=2)
    assert torch.equal(pooled.predict(episode).logits, usual.predict(filled).logits)
    assert torch.equal(pooled.loss(episode)["query"], usual.loss(filled)["query"])
    assert not torch.equal(usual.loss(episode)["query"], usual.loss(filled)["query"])


def test_query_of_another_size_than_the_supports() -> None:
    known = ClassVectors(torch.rand(1, C), torch.rand(1, C))
    shots: list[Tensor] = []
    for k in range(2):
        mask = random_masks((1, 30 + 9 * k, 40), k)
        shots += [torch.rand(1, D, 8 + k, 10), torch.rand(1, C, 4, 5 + k), mask]
    result = experts(
        *known, torch.rand(1, D, 6, 6), torch.rand(1, C, 3, 3), *shots, exit_layer=ExitLayer(D), size=(21, 22), steps=1
    )
    assert result.masks.shape == (1, 2, 21, 22)
    assert result.losses.shape == (1, 2, 2)


def test_top_features_are_weighted_before_they_are_normalised() -> None:
    top = torch.tensor([3.0, 4.0]).view(1, 2, 1, 1)
    cells = weighted_cells(top, torch.tensor([[1.0, 0.0]]))
    assert cells.flatten().tolist() == [1.0, 0.0]
    assert weighted_cells(top, torch.zeros(1, 2)).flatten().tolist() == [0.0, 0.0]


def test_training_passes() -> None:
    """The query moves the batch-norm statistics once; the supports read them, without gradient."""
    method = make(FWB, random_backbone("resnet18-layer2")).train()
    twin = make(FWB, random_backbone("resnet18-layer2")).train()
    supports, queries = noise_images(3, (33, 33), seed=1), noise_images(2, (33, 33), seed=2)
    before = copied_state(method.backbone)
    support, query = method.encode_training(supports, torch.zeros(3, 33, 33, dtype=torch.uint8), queries)
    wanted_query = twin.encode(queries)
    with torch.no_grad():
        wanted_support = twin.eval().encode(supports)
    for actual, wanted in zip((*support, *query), (*wanted_support, *wanted_query), strict=True):
        assert torch.equal(actual, wanted)
    assert all(level.requires_grad for level in query)
    assert not any(level.requires_grad for level in support)
    moved = changed_keys(before, method.backbone)
    assert moved
    assert all("running" in key or "num_batches" in key for key in moved)
    assert {int(t) for key, t in method.backbone.state_dict().items() if "num_batches" in key} == {1}
    assert method.backbone.training
    method.backbone.set_batch_norm("eval")
    method.encode_training(supports, torch.zeros(3, 33, 33, dtype=torch.uint8), queries)
    assert not any(m.training for m in method.backbone.modules() if isinstance(m, nn.BatchNorm2d))


@pytest.mark.parametrize(
    ("name", "levels", "low", "top", "head"),
    [
        ("vgg16", ("pool2", "pool5"), (128, 17, 21), (512, 9, 11), 147_842),
        ("resnet50", ("layer1", "layer4"), (256, 17, 21), (2048, 9, 11), 295_298),
        ("resnet18", ("layer1", "layer4"), (64, 17, 21), (512, 9, 11), 74_114),
        ("resnet18-layer3", ("layer1", "layer3"), (64, 17, 21), (256, 9, 11), 74_114),
        ("resnet18-layer2", ("layer1", "layer2"), (64, 17, 21), (128, 9, 11), 74_114),
    ],
)
def test_taps_and_parameters(
    name: str, levels: tuple[str, str], low: tuple[int, ...], top: tuple[int, ...], head: int
) -> None:
    method = make(FWB, build_backbone(name, FWB.layout)).eval()
    with torch.no_grad():
        features = method.encode(noise_images(1, (65, 81)))
    assert method.levels == levels
    assert [tuple(level.shape) for level in features] == [(1, *low), (1, *top)]
    assert features[0].min() >= 0
    assert features[1].min() < 0
    assert sum(p.numel() for p in method.exit.parameters()) == head


def test_start_and_momentum_of_the_released_models() -> None:
    torch.manual_seed(0)
    vgg, resnet = (make(FWB, build_backbone(name, FWB.layout)) for name in ("vgg16", "resnet18"))
    norms = [[m for m in method.backbone.modules() if isinstance(m, nn.BatchNorm2d)] for method in (vgg, resnet)]
    assert len(norms[0]) == 13
    assert {norm.momentum for norm in norms[0]} == {0.1}
    assert {norm.momentum for norm in norms[1]} == {0.05}
    assert float(resnet.exit.inner.weight.detach().std()) == pytest.approx((2 / (9 * 128)) ** 0.5, rel=0.02)
    assert float(resnet.exit.outer.weight.detach().std()) == pytest.approx(1.0, rel=0.2)
    assert float(vgg.exit.inner.weight.detach().abs().max()) <= (128 * 9) ** -0.5
