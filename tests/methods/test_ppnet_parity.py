"""PPNet against outputs of the authors' code: heads on given features, and whole models with their backbone."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fsseg_bench.method import ClassLabels, Episode
from fsseg_bench.nn.backbones import build_backbone
from fsseg_bench.nn.bilinear import resize
from fsseg_bench.nn.prototypes import support_prototypes
from fsseg_methods._ppnet import method as _parts
from fsseg_methods._ppnet.method import _PartMethod, part_scores, predicted_rows
from fsseg_methods._ppnet.parts import row_counts
from fsseg_methods._ppnet.unlabelled import superpixel_means
from fsseg_methods.panet import PANet, query_prototypes, support_scores
from fsseg_methods.ppnet import PPNet
from fsseg_methods.ppnet_ud import PPNetUD
from tests.support import golden
from tests.support.golden import Golden
from tests.support.heads import TinyBackbone, make

pytestmark = pytest.mark.real_data

BASE_CLASSES = 15
BLOCK = 16
"""Side of a block of one semantic label, and of a superpixel."""


# the inputs of a case


def labels_of_masks(masks: np.ndarray) -> np.ndarray:
    """(N, H, W) of 0 and 1 as labels 0..N; a later way overwrites."""
    labels = np.zeros(masks.shape[1:], np.uint8)
    for way, shown in enumerate(masks):
        labels[shown == 1] = way + 1
    return labels


def at_cells(masks: np.ndarray, cells: tuple[int, int]) -> np.ndarray:
    """Masks (..., H, W) at (h, w) cells: pixel floor(i H / h), floor(j W / w)."""
    rows, columns = (np.arange(n) * side // n for n, side in zip(cells, masks.shape[-2:], strict=True))
    return masks[..., rows[:, None], columns]


def painted(noise: np.ndarray, labels: np.ndarray, vectors: np.ndarray, strength: float) -> np.ndarray:
    """noise (C, h, w) + strength * the vector of each cell's label."""
    return noise + strength * vectors[at_cells(labels, noise.shape[-2:])].transpose(2, 0, 1)


def head_inputs(case: Golden) -> tuple[Tensor, Tensor, Tensor]:
    """Features (N*K+1, C, h, w), support masks (N, K, H, W), query labels (H, W)."""
    strength = float(re.search(r"([0-9.]+) \* class_vector", case.info["construction"]["support features"]).group(1))
    vectors, masks = case.input("class_vector"), case.input("support_mask")
    ways, shots = masks.shape[:2]
    supports = [
        painted(noise, (mask * (1 + way)).astype(np.uint8), vectors, strength)
        for way, several in enumerate(zip(case.input("support_noise"), masks, strict=True))
        for noise, mask in zip(*several, strict=True)
    ]
    if case.case == "ppnet-5":
        masks = masks.copy()
        masks[0] = 0
        masks[0, :, 60, 40:43] = 1
        labels = np.zeros(masks.shape[-2:], np.uint8)
        labels[40:48, 32:40] = 2
    else:
        labels = labels_of_masks(case.input("query_mask"))
    assert len(supports) == ways * shots
    query = painted(case.input("query_noise"), labels, vectors, strength)
    features = torch.from_numpy(np.stack([*supports, query]).astype(np.float32))
    return features, torch.from_numpy(masks.astype(np.uint8)), torch.from_numpy(labels)


def semantic_labels(case: Golden, size: tuple[int, int]) -> Tensor | None:
    """(N*K+1, H, W) uint8, or None where the case has none."""
    if not any(entry["name"] == "base_noise" for entry in case.info["inputs"]):
        return None
    blocks = np.floor(8 * np.abs(case.input("base_noise"))).astype(int) % 17
    labels = np.where(blocks == 16, 255, blocks).astype(np.uint8)
    full = labels.repeat(BLOCK, axis=1).repeat(BLOCK, axis=2)[:, : size[0], : size[1]]
    assert full.shape[1:] == size
    return torch.from_numpy(full)


def episode_of(features: Tensor, masks: Tensor, labels: Tensor, semantic: Tensor | None = None) -> Episode:
    """One episode from features (N*K+1, C, h, w)."""
    N, K, H, W = masks.shape
    told = None if semantic is None else ClassLabels(semantic[:-1].view(1, N, K, H, W), semantic[-1:])
    return Episode(
        features[:-1].unflatten(0, (1, N, K)), masks[None], features[-1:], (H, W), (0,), labels[None], class_labels=told
    )


def blocks_of(size: tuple[int, int]) -> Tensor:
    """(H, W) int64 superpixels: squares of ``BLOCK`` pixels, in rows."""
    rows, columns = np.arange(size[0]) // BLOCK, np.arange(size[1]) // BLOCK
    return torch.from_numpy(rows[:, None] * -(-size[1] // BLOCK) + columns)


def unlabelled_of(case: Golden, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Superpixel features (U, S, C) and their flags (U, S)."""
    masks = case.input("unlabelled_mask").copy()
    masks[-1] = 0
    masks[-1, 48:64, 48:64] = 1
    noise, vectors = case.input("unlabelled_noise"), case.input("class_vector")
    maps = [painted(n, m.astype(np.uint8), vectors, 0.5) for n, m in zip(noise, masks, strict=True)]
    features = torch.from_numpy(np.stack(maps).astype(np.float32))
    labels = blocks_of(size).expand(len(maps), -1, -1)
    return tuple(superpixel_means(features, labels, places=int(labels.max()) + 1))


# what is compared


class Checked:
    """One variant of a case: its names begin with ``prefix``."""

    def __init__(self, case: Golden, prefix: str) -> None:
        self.case, self.prefix = case, prefix

    def __call__(self, name: str, actual: Tensor) -> None:
        self.case.check(self.prefix + name, actual)

    def starts(self, name: str) -> np.ndarray:
        return self.case.stored[f"{self.prefix}start.{name}"]

    def rows(self, name: str) -> int:
        """How long the authors' list is."""
        entry = next(e for e in self.case.info["injected"] if e["name"] == f"{self.prefix}start.{name}")
        return int(re.search(r"list of (\d+) ", entry["meaning"]).group(1))


def uniform_of(check: Checked, ways: int, present: list[bool]) -> Tensor:
    """Numbers (1, 2, N+1, P) that choose the rows at which the authors' k-means started."""
    supports = ["support_bg", *(f"support_fg_way{way}" for way in range(ways))]
    queries = ["query_bg", *(f"query_fg_way{way}" if present[way] else "" for way in range(ways))]
    every = [[chosen(check, name) for name in names] for names in (supports, queries)]
    return torch.from_numpy(np.array([every]))


def chosen(check: Checked, name: str) -> np.ndarray:
    return (check.starts(name) + 0.5) / check.rows(name) if name else np.zeros(5)


def pair_scores(scores: Tensor, present: list[bool]) -> Tensor:
    """Scores (1, N, K, 2, h, w) of the ways that the query shows, (N, K, 2, h, w)."""
    return scores[0][torch.tensor(present)]


def shown(case: Golden, prefix: str) -> list[bool]:
    """For each way whether a cell of the query is predicted as it."""
    shares = case.info["conditioning"][f"{prefix}: share of each predicted class"]
    return [share > 0 for share in shares[1:]]


def check_parts(method: _PartMethod, episode: Episode, check: Checked, uniform: Tensor, present: list[bool]) -> None:
    """Every step of a part model up to its losses."""
    parts = method.support_parts(episode, uniform)
    check("whole_prototypes", parts.whole[0])
    check("centres", parts.centres[0])
    check("part_prototypes", parts.prototypes[0])
    scores = part_scores(episode.query, method.query_parts(episode, parts), method.switches.alpha)
    check("query_scores", scores)
    check("logits", resize(scores, episode.size, align_corners=True))
    own, seen = method.predicted_parts(episode, scores, uniform)
    assert seen[0, 1:].tolist() == present
    check("query_part_prototypes", own.prototypes[0][torch.tensor([True, *present])])
    check("support_scores", pair_scores(method.support_scores(episode, own.prototypes), present))
    if method.semantic is not None:
        full = resize(method.semantic_logits(method.semantic, episode), episode.size, align_corners=True)
        check("semantic_logits", full)


def check_losses(method: _PartMethod, episode: Episode, check: Checked) -> None:
    losses = method.loss(episode)
    check("query_loss", losses["query"])
    check("align_loss", losses["align"])
    if method.semantic is not None:
        check("semantic_loss", losses["semantic"] / 0.1)
    check("total_loss", sum(losses.values()))


def check_rows(method: _PartMethod, episode: Episode, check: Checked, uniform: Tensor, present: list[bool]) -> None:
    """The lists are as long as the authors'."""
    counts = row_counts(method.support_rows(episode))[0].tolist()
    assert counts == [check.rows("support_bg"), *(check.rows(f"support_fg_way{w}") for w in range(episode.ways))]
    scores = part_scores(episode.query, method.query_parts(episode, method.support_parts(episode, uniform)), 20.0)
    hot = torch.nn.functional.one_hot(scores.argmax(dim=1), episode.ways + 1).permute(0, 3, 1, 2).float()
    counts = row_counts(predicted_rows(hot, episode.size))[0].tolist()
    expected = [check.rows(f"query_fg_way{w}") if present[w] else 1 for w in range(episode.ways)]
    assert counts == [check.rows("query_bg"), *expected]


@pytest.fixture
def injected(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A function that makes every k-means start where the given numbers say."""
    yield injecting(monkeypatch)


def injecting(monkeypatch: pytest.MonkeyPatch) -> Callable[[Tensor], None]:
    """As :func:`injected`."""

    def inject(uniform: Tensor) -> None:
        monkeypatch.setattr(_parts, "drawn_numbers", lambda *_: uniform)

    return inject


# heads on given features


def whole_episode(heads: Golden) -> tuple[Tensor, Episode]:
    features, masks, labels = head_inputs(heads)
    features.requires_grad_()
    return features, episode_of(features, masks, labels, semantic_labels(heads, masks.shape[-2:]))


def test_star_head(test_data: Path) -> None:
    for name in ("ppnet-2", "ppnet-5"):
        case = golden.load(test_data / "golden", name)
        features, episode = whole_episode(case)
        method, check, present = (
            make(PANet, TinyBackbone(features.shape[1])),
            Checked(case, "star."),
            shown(case, "star"),
        )
        check_star(method, episode, check, present)
        sum(method.loss(episode).values()).backward()
        check("grad.features", features.grad)


def check_star(method: PANet, episode: Episode, check: Checked, present: list[bool]) -> None:
    scores = method.predict(episode)
    own, seen = query_prototypes(episode.query, scores)
    assert seen[0, 1:].tolist() == present
    losses = method.loss(episode)
    check("prototypes", support_prototypes(episode.support, episode.support_masks)[0])
    check("query_scores", scores)
    check("logits", resize(scores, episode.size))
    check("query_prototypes", own[0][torch.tensor([True, *present])])
    check("support_scores", pair_scores(support_scores(episode.support, own, 20.0), present))
    check("query_loss", losses["query"])
    check("align_loss", losses["align"])
    check("total_loss", losses["query"] + losses["align"])


@pytest.mark.parametrize(("name", "variant"), [("ppnet-2", "pap"), ("ppnet-2", "sem"), ("ppnet-5", "pap")])
def test_part_heads(name: str, variant: str, test_data: Path, injected: Any) -> None:
    case = golden.load(test_data / "golden", name)
    features, episode = whole_episode(case)
    options = {"part_weight": 0.8, "semantic_weight": 0.0} if variant == "pap" else {}
    method = make(PPNet, TinyBackbone(features.shape[1]), BASE_CLASSES, **options)
    if method.semantic is not None:
        fill_semantic(method.semantic, case)
    check, present = Checked(case, f"{variant}."), shown(case, variant)
    uniform = uniform_of(check, episode.ways, present)
    injected(uniform)
    check_rows(method, episode, check, uniform, present)
    check_parts(method, episode, check, uniform, present)
    check_losses(method, episode, check)
    sum(method.loss(episode).values()).backward()
    check("grad.features", features.grad)


def fill_semantic(head: nn.Module, case: Golden) -> dict[str, nn.Parameter]:
    """Fills the semantic branch; its parameters by the authors' names."""
    named = {f"aspp.c{i}.{kind}": getattr(b, kind) for i, b in enumerate(head.branches) for kind in ("weight", "bias")}
    return fill(named, case)


def fill(named: dict[str, Any], case: Golden) -> dict[str, Any]:
    for name, tensor in named.items():
        case.fill(next(e for e in case.info["parameters"] if e["name"] == name), tensor)
    return named


def test_graph_head(test_data: Path, injected: Any) -> None:
    case = golden.load(test_data / "golden", "ppnet-4")
    features, episode = whole_episode(case)
    method = make(PPNetUD, TinyBackbone(features.shape[1]), BASE_CLASSES, unlabelled=4, width=32)
    fill_semantic(method.semantic, case)
    graph = method.graph
    fill(
        {
            "latentGraph.inner_w1.weight": graph.within.weight,
            "latentGraph.inner_trans.weight": graph.transform.weight,
            "latentGraph.inter_w1.weight": graph.nodes.weight,
            "latentGraph.inter_w2.weight": graph.parts.weight,
        },
        case,
    )
    check, present = Checked(case, "graph."), shown(case, "graph")
    nodes, valid = unlabelled_of(case, episode.size)
    check("superpixel_counts", valid.sum(dim=1))
    check("superpixel_features", nodes[valid > 0])
    episode = dataclasses.replace(episode, unlabelled=(nodes[None, None], valid[None, None]))
    uniform = uniform_of(check, 1, present)
    injected(uniform)
    check_rows(method, episode, check, uniform, present)
    check_graph(method, episode, check, uniform)
    check_parts(method, episode, check, uniform, present)
    check_losses(method, episode, check)
    sum(method.loss(episode).values()).backward()
    check("grad.features", features.grad)
    assert all(p.grad is None for p in graph.parameters())


def check_graph(method: PPNetUD, episode: Episode, check: Checked, uniform: Tensor) -> None:
    parts = method.support_parts(episode, uniform)
    nodes, mask = method.nodes(episode, parts.whole)
    kept = mask.sum(dim=3)[0]
    check("kept", kept.unflatten(1, (2, 2)).transpose(0, 1).float())
    current, steps = parts.prototypes, []
    contextual = method.graph.inside(nodes, mask)
    for start in (0, 2):
        group = slice(start, start + 2)
        steps.append(method.graph.attend(current, contextual[:, :, group], mask[:, :, group]))
        current = 0.8 * current + 0.2 * steps[-1]
    check("graph_prototypes", torch.cat(steps))
    check("final_prototypes", current[0])
    torch.testing.assert_close(method.query_parts(episode, parts), current)


# whole models


def fill_backbone(method: nn.Module, case: Golden, prefix: str) -> dict[str, Tensor]:
    """Fills the trunk; its state by the authors' names."""
    state = {
        prefix + name: tensor
        for name, tensor in [*method.backbone.named_parameters(), *method.backbone.named_buffers()]
        if not name.endswith("num_batches_tracked")
    }
    listed = {e["name"] for e in case.info["parameters"] if e["name"].startswith("encoder.")}
    assert set(state) == listed
    return fill(state, case)


def images_of(case: Golden) -> tuple[Tensor, Tensor, Tensor]:
    """Support and query image (2, 3, H, W), support masks (1, 1, H, W), query labels (H, W)."""
    colour = 2 * case.input("colour")[:, None, None]
    support_mask, query_mask = case.input("support_mask").squeeze((0, 1, 2)), case.input("query_mask")[0]
    support = case.input("support_noise").squeeze((0, 1, 2)) + support_mask * colour
    query = case.input("query_noise")[0] + query_mask * colour
    images = torch.from_numpy(np.stack((support, query)).astype(np.float32))
    return images, torch.from_numpy(support_mask).byte()[None, None], torch.from_numpy(query_mask).byte()


def check_stages(method: nn.Module, images: Tensor, check: Checked) -> None:
    """Features stage by stage, and after the first block of the dilated stages; in the mode of ``method``."""
    seen: dict[str, Tensor] = {}
    for stage in ("layer3", "layer4"):
        getattr(method.backbone, stage)[0].register_forward_hook(
            lambda _m, _i, output, stage=stage: seen.__setitem__(f"features.{stage}.block0", output)
        )
    levels = method.backbone.levels(images, method.backbone.stages)
    names = ["maxpool", "layer1", "layer2", "layer3", "layer4"]
    for name, level in [*zip([f"features.{n}" for n in names], levels, strict=True), *seen.items()]:
        check(name, level)


def test_star_model(test_data: Path) -> None:
    case = golden.load(test_data / "golden", "ppnet-1")
    method = make(PANet, build_backbone("resnet50"))
    parameters = fill_backbone(method, case, "encoder.backbone.")
    method.eval()
    images, masks, labels = images_of(case)
    check = Checked(case, "")
    with torch.no_grad():
        check_stages(method, images, check)
    episode = episode_of(method.encode(images), masks, labels)
    check_star(method, episode, check, [True])
    sum(method.loss(episode).values()).backward()
    case.check_gradients(parameters, len(case.gradients()))


def test_semantic_model_in_training(test_data: Path, injected: Any) -> None:
    case = golden.load(test_data / "golden", "ppnet-3")
    method = make(PPNet, build_backbone("resnet50"), BASE_CLASSES)
    state = fill_backbone(method, case, "encoder.") | fill_semantic(method.semantic, case)
    episode = check_semantic_model(method, case, injected)
    sum(method.loss(episode).values()).backward()
    case.check_gradients(state, len(case.gradients()))
    check = Checked(case, "")
    for name in [e["name"] for e in case.info["outputs"] if e["name"].startswith("after.")]:
        check(name, state[f"encoder.{name.removeprefix('after.')}"])


def check_semantic_model(method: PPNet, case: Golden, injected: Callable[[Tensor], None]) -> Episode:
    """Every step of a whole model in training mode, up to its losses; gives its episode."""
    method.train()
    method.backbone.freeze("layer2")
    images, masks, labels = images_of(case)
    check, present = Checked(case, ""), shown(case, "sem")
    before = {name: tensor.clone() for name, tensor in method.backbone.named_buffers() if "running" in name}
    with torch.no_grad():
        check_stages(method, images, check)
        for name, tensor in method.backbone.named_buffers():
            if name in before:
                tensor.copy_(before[name])
    support, query = method.encode_training(images[:1], masks[0], images[1:])
    features = torch.cat((support, query))
    episode = episode_of(features, masks, labels, semantic_labels(case, masks.shape[-2:]))
    uniform = uniform_of(check, 1, present)
    injected(uniform)
    check_rows(method, episode, check, uniform, present)
    check_parts(method, episode, check, uniform, present)
    check_losses(method, episode, check)
    return episode
