"""INSID3 against outputs of the authors' code: the basis, candidates, clusters, scores and masks, edge episodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fsseg_bench.method import Episode
from fsseg_bench.nn.backbones import Backbone, Facts, Stage
from fsseg_bench.nn.bilinear import resize
from fsseg_methods._clusters import average_linkage, cosine_distances
from fsseg_methods._insid3 import object_cells
from fsseg_methods._positional import Basis, Positions, positional_basis, unit_cells, without_place
from fsseg_methods.insid3 import INSID3, Segmented
from tests.support import golden
from tests.support.golden import Golden
from tests.support.heads import TinyBackbone, make

pytestmark = pytest.mark.real_data


class Case:
    """Features and masks as a case constructs them, in what stands after the backbone."""

    def __init__(self, golden: Golden) -> None:
        self.golden = golden
        self.constants: dict[str, Any] = golden.info["constants"]
        self.grid: tuple[int, int] = tuple(self.constants["grid"])
        self.images = [f"support{i}" for i in range(self.constants["shots"])]
        self.query = self.features("query")
        self.supports = [self.features(name) for name in self.images]
        self.masks = [self.mask(name) for name in self.images]

    def features(self, name: str, *, rough: bool = True) -> Tensor:
        """(C, h, w) float32."""
        c, (h, w) = self.constants, self.grid
        types = torch.from_numpy(self._types(name)[8::16, 8::16])
        vectors = self.golden.input("part_vector").astype(np.float64)
        of_type = np.asarray(c["mix"], np.float64) @ vectors
        amplitude = np.full((h, w), float(c["noise"]))
        if name == "query" and rough:
            top, bottom, left, right = c["rough"]
            amplitude[top:bottom, left:right] *= 2.5
        place = {"query": 0, "query_e": 0, "support_e": 1}.get(name)
        place = 1 + int(name.removeprefix("support")) if place is None else place
        made = amplitude * self.golden.input(f"{name}.noise").astype(np.float64)
        made += of_type[types].transpose(2, 0, 1)
        made += c["image_shift"] * self.golden.input("image_vector").astype(np.float64)[place][:, None, None]
        made += c["pos"] * self._position(h, w)
        return torch.from_numpy(made.astype(np.float32))

    def empty(self) -> Tensor:
        """What stands for the features of the image of zeros, (C, h, w)."""
        h, w = self.constants["zero_grid"]
        made = self._position(h, w) + self.constants["basis_noise"] * self.golden.input("zero.noise")
        made = made + self.golden.input("zero_vector").astype(np.float64)[:, None, None]
        return torch.from_numpy(made.astype(np.float32))

    def mask(self, name: str) -> Tensor:
        """(H, W) uint8."""
        region = self.golden.info["regions"][name]
        if "small" in region:
            return self.box(*region["small"])
        mask = torch.from_numpy(np.isin(self._types(name), self.constants["foreground_types"])).to(torch.uint8)
        if "hole" in region:
            mask[self.box(*region["hole"]) == 1] = 0
        return mask

    def box(self, rows: list[int], columns: list[int]) -> Tensor:
        mask = torch.zeros(16 * self.grid[0], 16 * self.grid[1], dtype=torch.uint8)
        mask[slice(*rows), slice(*columns)] = 1
        return mask

    def _types(self, name: str) -> np.ndarray:
        region = self.golden.info["regions"][name]
        y, x = np.mgrid[: 16 * self.grid[0], : 16 * self.grid[1]]
        far = [(y - cy) ** 2 + (x - cx) ** 2 for cy, cx in region["centres"]]
        return np.asarray(region["types"])[np.argmin(far, axis=0)]

    def _position(self, h: int, w: int) -> np.ndarray:
        u, v = ((2 * np.arange(n) + 1) / n - 1 for n in (h, w))
        u, v = np.meshgrid(u, v, indexing="ij")
        waves = [u, v, u * v, u**2 - 1 / 3, v**2 - 1 / 3, u**2 * v, u * v**2, u**3 - 0.6 * u]
        vectors = self.golden.input("position_vector").astype(np.float64)
        return sum(vectors[k][:, None, None] * waves[k] for k in range(self.constants["rank"]))

    def basis(self) -> Basis:
        return positional_basis(unit_cells(self.empty()), self.constants["svd_components"])

    def method(self) -> INSID3:
        method = make(INSID3, TinyBackbone(), tau=self.constants["tau"], threshold=self.constants["merge_threshold"])
        basis = self.basis()
        method._basis = lambda size: basis  # type: ignore[method-assign]
        return method

    def episode(self, query: Tensor, supports: list[Tensor], masks: list[Tensor]) -> Episode:
        size = (16 * self.grid[0], 16 * self.grid[1])
        support = torch.stack([unit_cells(one) for one in supports])[None, None]
        return Episode(support, torch.stack(masks)[None, None], unit_cells(query)[None], size, (0,))


@pytest.fixture(scope="module", params=["insid3-1", "insid3-2", "insid3-3"])
def case(request: pytest.FixtureRequest, test_data: Path) -> Case:
    return Case(golden.load(test_data / "golden", request.param))


def _equal(case: Case, name: str, actual: Tensor) -> None:
    assert np.array_equal(case.golden.stored[name], actual.reshape(case.golden.stored[name].shape).numpy()), name


def test_features_without_place(case: Case) -> None:
    basis = case.basis()
    case.golden.check("basis.projection", basis.directions @ basis.directions.mT)
    case.golden.check("query.normalised", unit_cells(case.query))
    images = {"query": case.query, **dict(zip(case.images, case.supports, strict=True))}
    for name, features in images.items():
        cells = without_place(unit_cells(features).flatten(1), basis)
        case.golden.check(f"{name}.debiased", cells.unflatten(1, case.grid))


def test_everything_after_the_backbone(case: Case) -> None:
    found = check(case, "", case.query, case.supports, case.masks)
    logits = case.method().predict(case.episode(case.query, case.supports, case.masks)).logits
    if case.constants.get("original_size"):
        again = resize(_mask(logits, (16 * case.grid[0], 16 * case.grid[1])).float(), case.constants["original_size"])
        _equal(case, "mask_original_size", again > 0.5)
    assert found.kept.any()


@pytest.mark.parametrize("edge", ["edge1", "edge2", "edge3"])
def test_edge_episodes(edge: str, test_data: Path) -> None:
    """A quantile in place of 0 and no cluster kept; no candidate; the likest cluster without a candidate."""
    case = Case(golden.load(test_data / "golden", "insid3-3"))
    query, support = case.query, case.supports[0]
    if edge == "edge1":
        vector = torch.from_numpy(case.golden.input("part_vector").astype(np.float64))[0]
        query, mask = (query - 2.5 * vector[:, None, None]).float(), torch.ones_like(case.masks[0])
    elif edge == "edge2":
        mask = case.box([196, 200], [20, 24])
    else:
        query, support, mask = case.features("query_e"), case.features("support_e"), case.mask("support_e")
    found = check(case, f"{edge}.", query, [support], [mask])
    chosen = found.candidates[0].chosen
    assert bool(chosen.any()) is (edge != "edge2")
    assert bool(found.kept.any()) is (edge == "edge3")
    if edge == "edge1":
        assert not (found.candidates[0].forward > 0).any()
    if edge == "edge3":
        assert found.scores[0].seed != found.scores[0].similarity.argmax()


def check(case: Case, prefix: str, query: Tensor, supports: list[Tensor], masks: list[Tensor]) -> Segmented:
    """Compares every stored output of one episode."""
    method, basis, entries = case.method(), case.basis(), {e["name"] for e in case.golden.info["outputs"]}
    episode = case.episode(query, supports, masks)
    assert isinstance(episode.query, Tensor)
    assert isinstance(episode.support, Tensor)
    found = method.segment(episode.query[0], basis, episode.support[0], basis, episode.support_masks[0])
    candidates, scores = found.candidates[0], found.scores[0]
    case.golden.check(f"{prefix}prototype", candidates.prototype)
    case.golden.check(f"{prefix}forward", candidates.forward.unflatten(0, case.grid))
    for name, value in (
        *((f"support{i}.cells", object_cells(mask == 1, case.grid)) for i, mask in enumerate(masks)),
        ("forward_mask", candidates.forward_mask),
        ("votes", candidates.votes),
        ("candidates", candidates.chosen),
        ("mask_cells", found.kept[0][found.labels]),
        ("mask", _mask(method.predict(episode).logits, episode.size)),
    ):
        _equal(case, prefix + name, value)
    if f"{prefix}clusters" not in entries:
        return found
    _equal(case, f"{prefix}clusters", found.labels)
    _equal(case, f"{prefix}seed", scores.seed)
    tree = average_linkage(cosine_distances(episode.query[0].flatten(1)), np.inf)
    case.golden.assert_close(f"{prefix}merge_distances", tree.heights.astype(np.float32))
    for name, value in (
        ("debiased_prototypes", scores.debiased),
        ("prototypes", scores.prototypes),
        ("cross", scores.cross),
        ("intra", scores.intra),
        ("area", scores.area),
        ("score", scores.score),
        ("seed_similarity", scores.similarity),
    ):
        case.golden.check(f"{prefix}cluster.{name}", value)
    return found


def _mask(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """As the engine decides: bilinear to image size, the larger logit, ties to background."""
    return resize(logits, size).argmax(dim=1)[0].to(torch.uint8)


STORAGE = {"storage_tokens": "reg_token", "ls1.gamma": "gamma_1", "ls2.gamma": "gamma_2"}
"""Of the authors' transformer, what has another name in timm."""


class _Transformer(Backbone):
    """A plain transformer of timm, whose patches' tokens are normed."""

    def __init__(self, network: Any) -> None:
        super().__init__(Facts((Stage("blocks", network.embed_dim, 16),)))
        self.network = network

    def stage_modules(self, stage: str) -> tuple[nn.Module, ...]:
        return (self.network,)

    def forward(self, images: Tensor) -> Tensor:
        assert not self.network.training
        (maps,) = self.network.forward_intermediates(images, indices=1, norm=True, intermediates_only=True)
        return maps  # type: ignore[no-any-return]


@torch.no_grad()
def test_a_tiny_dinov3_and_its_positions(test_data: Path) -> None:
    """Tokens of an image, and the basis that the method finds for images of 128 x 128 pixels by itself."""
    timm = pytest.importorskip("timm")
    data = golden.load(test_data / "golden", "insid3-3")
    settings = data.info["constants"]["backbone"]
    network = timm.create_model("vit_small_patch16_dinov3_qkvb", embed_dim=64, depth=2, num_heads=2)
    state = network.state_dict()
    for entry in data.info["parameters"]:
        name = entry["name"].removeprefix("backbone.")
        for theirs, ours in STORAGE.items():
            name = name.replace(theirs, ours)
        if not name.endswith("attn.qkv.bias"):
            data.fill(entry, state[name])
            continue
        value = torch.from_numpy(data.value(entry["name"], tuple(entry["shape"]), entry["kind"]))
        for third, part in zip(value.chunk(3), ("q_bias", None, "v_bias"), strict=True):
            if part is not None:
                state[name.replace("qkv.bias", part)].copy_(third)
    network.load_state_dict(state)
    backbone = _Transformer(network)
    basis = Positions().of(backbone, (128, 128), settings["s"])
    data.check("backbone.projection", basis.directions @ basis.directions.mT)
    assert backbone.training, "as it was"
    data.check("backbone.tokens", backbone.eval()(torch.from_numpy(data.input("backbone.image"))))
