"""SSP beside its formulas written out with loops over cells, and what its parts do at their limits."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fsseg_bench.method import Episode
from fsseg_bench.protocol.load import load_protocol
from fsseg_methods.ssp import SSP, confident, own_scores, self_support
from tests.support.heads import TinyBackbone, first, make, random_episode
from tests.support.networks import meta_backbone


def _chosen(probabilities: Tensor, threshold: float, fallback: int) -> list[int]:
    """Cells above the threshold, or the most probable ones."""
    above = [i for i, p in enumerate(probabilities.tolist()) if p > threshold]
    return above or sorted(range(len(probabilities)), key=lambda i: -probabilities[i].item())[:fallback]


def _step(cells: Tensor, scores: Tensor, foreground: float, fallback: int) -> tuple[Tensor, Tensor]:
    """(C,) SSFP and (C, n) of .3 SSBP + .7 ASBP, from cells (C, n) and scores (2, n)."""
    probabilities = scores.softmax(dim=0)
    object_ = _chosen(probabilities[1], foreground, fallback)
    behind = cells[:, _chosen(probabilities[0], 0.6, fallback)]
    columns = []
    for i in range(cells.shape[1]):
        likeness = F.cosine_similarity(behind, cells[:, i : i + 1], dim=0)
        columns.append(behind @ (2 * likeness).softmax(dim=0))
    return cells[:, object_].mean(dim=1), 0.3 * behind.mean(dim=1)[:, None] + 0.7 * torch.stack(columns, dim=1)


def _scores(cells: Tensor, foreground: Tensor, background: Tensor) -> Tensor:
    both = (background, foreground)
    maps = [prototype if prototype.ndim == 2 else prototype[:, None] for prototype in both]
    return 10 * torch.stack([F.cosine_similarity(cells, each, dim=0) for each in maps])


def _means(features: Tensor, masks: Tensor) -> list[Tensor]:
    """FP and BP (C,) of one episode: means over its shots."""
    found = []
    for value in (1, 0):
        shots = []
        for shot, mask in zip(features, masks, strict=True):
            soft = F.interpolate(
                (mask == value)[None, None].double(), shot.shape[-2:], mode="bilinear", align_corners=True
            )
            shots.append((shot * soft[0]).sum(dim=(1, 2)) / (soft.sum() + 1e-5))
        found.append(torch.stack(shots).mean(dim=0))
    return found


def _by_loops(episode: Episode, i: int, *, refine: bool, foreground: float, fallback: int) -> Tensor:
    """Scores (2, h, w) of one episode."""
    query = episode.query[i]
    cells = query.flatten(1)
    fp, bp = _means(episode.support[i, 0], episode.support_masks[i, 0])
    ssfp, bp1 = _step(cells, _scores(cells, fp, bp), foreground, fallback)
    fp1 = 0.5 * fp + 0.5 * ssfp
    out = _scores(cells, fp1, bp1)
    if refine:
        ssfp, again = _step(cells, out, foreground, fallback)
        fp2 = 0.5 * fp + 0.2 * fp1 + 0.3 * (0.5 * fp + 0.5 * ssfp)
        bp2 = 0.5 * bp[:, None] + 0.2 * bp1 + 0.3 * again
        out = 0.7 * _scores(cells, fp2, bp2) + 0.3 * out
    return out.unflatten(1, query.shape[1:])


@pytest.mark.parametrize("refine", [False, True])
@pytest.mark.parametrize(
    ("shots", "foreground", "fallback", "falling"),
    [(1, 0.7, 12, {False}), (3, 0.99, 2, {False, True}), (2, 0.9999999, 1000, {True})],
)
def test_predictions_by_loops(refine: bool, shots: int, foreground: float, fallback: int, falling: set[bool]) -> None:
    """Five episodes: of none, some or all, no cell is above the threshold, and the most probable ones are taken."""
    episode = random_episode(5, shots=shots, seed=shots, dtype=torch.float64)
    means = [_means(episode.support[i, 0], episode.support_masks[i, 0]) for i in range(5)]
    sure = [_scores(episode.query[i].flatten(1), *means[i]).softmax(dim=0)[1].max() > foreground for i in range(5)]
    assert {not bool(each) for each in sure} == falling
    method = make(SSP, TinyBackbone(), refine=refine, foreground=foreground, fallback=fallback)
    expected = torch.stack(
        [_by_loops(episode, i, refine=refine, foreground=foreground, fallback=fallback) for i in range(5)]
    )
    steps = method.steps(episode)
    torch.testing.assert_close(steps[-1].scores, expected, rtol=1e-9, atol=1e-9)
    full = F.interpolate(expected, episode.size, mode="bilinear", align_corners=True)
    torch.testing.assert_close(method.predict(episode), full, rtol=1e-9, atol=1e-9)


def test_a_batch_is_its_episodes() -> None:
    episode = random_episode(3, shots=2)
    method = make(SSP, TinyBackbone())
    assert torch.equal(method.predict(episode)[:1], method.predict(first(episode, 1)))


@pytest.mark.parametrize(
    ("probabilities", "expected"),
    [
        ([0.1, 0.8, 0.7, 0.71], [False, True, False, True]),  # above, not at, the threshold
        ([0.1, 0.3, 0.7, 0.6], [False, False, True, True]),  # none above: the two highest
        ([0.5, 0.5, 0.5, 0.5], [True, True, False, False]),  # alike: the first ones
    ],
)
def test_confident_cells(probabilities: list[float], expected: list[bool]) -> None:
    assert confident(torch.tensor([probabilities], dtype=torch.float64), 0.7, 2).tolist() == [expected]


def test_fewer_cells_than_the_fallback_takes() -> None:
    assert confident(torch.full((1, 4), 0.5), 0.7, 12).all()


def test_no_gradient_through_the_choice() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 6, 3, 4, generator=generator, requires_grad=True)
    scores = torch.randn(2, 2, 3, 4, generator=generator, requires_grad=True)
    sum(part.square().sum() for part in self_support(features, scores)).backward()
    assert features.grad is not None and features.grad.any()
    assert scores.grad is None


def test_features_of_zero_stay_finite() -> None:
    episode = random_episode(1)
    zero = dataclasses.replace(episode, query=torch.zeros_like(episode.query).requires_grad_())
    method = make(SSP, TinyBackbone())
    losses = method.loss(zero)
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())
    assert zero.query.grad.isfinite().all()


def test_losses_count_labelled_pixels_alone() -> None:
    """One mean over all supports of the batch, void left out; query prototypes come from its labels."""
    episode = random_episode(2, shots=3, dtype=torch.float64)
    method = make(SSP, TinyBackbone())
    losses = method.loss(episode)
    assert list(losses) == ["step1", "step2", "query_self", "support_self"]
    masks = episode.support_masks.flatten(0, 2)
    total, count = 0.0, 0
    for features, mask in zip(episode.support.flatten(0, 2), masks, strict=True):
        cells = features.flatten(1)
        scores = _scores(cells, *_means(features[None], mask[None])).unflatten(1, features.shape[1:])
        full = F.interpolate(scores[None], mask.shape, mode="bilinear", align_corners=True)[0].log_softmax(dim=0)
        for value in (0, 1):
            total -= full[value][mask == value].sum().item()
            count += int((mask == value).sum())
    assert losses["support_self"].item() == pytest.approx(0.2 * total / count, rel=1e-9)
    own = own_scores(episode.query, episode.query_labels)
    full = F.interpolate(own, episode.size, mode="bilinear", align_corners=True)
    expected = F.cross_entropy(full, episode.query_labels.long(), ignore_index=255)
    assert losses["query_self"].item() == pytest.approx(expected.item(), rel=1e-9)
    assert "step2" not in make(SSP, TinyBackbone(), refine=False).loss(episode)


@pytest.mark.parametrize(("name", "millions"), [("resnet50-deep", 8.67), ("resnet101-deep", 27.66)])
def test_its_parameters_are_the_backbones(name: str, millions: float) -> None:
    """The numbers of the authors' networks, which end with layer3."""
    backbone = meta_backbone(name, SSP.layout)
    count = sum(p.numel() for p in make(SSP, backbone).parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.005)
    assert (backbone.out_channels, backbone.stride) == (1024, 8)


def test_the_recipe_is_the_authors() -> None:
    recipe = SSP.recipe(load_protocol("pascal5i"), 5)
    assert recipe.iterations * recipe.batch == 24_000
    assert recipe.milestones == (recipe.iterations // 3, 2 * recipe.iterations // 3)
    assert (recipe.freeze, recipe.bn, recipe.train_shots) == ("layer1", "eval", 0)
