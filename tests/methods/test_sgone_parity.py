"""SG-One against outputs of the authors' code: trunk, both branches, similarity, logits, labels, loss, gradients."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fsseg_bench.method import Episode
from fsseg_bench.nn.backbones import build_backbone
from fsseg_bench.nn.bilinear import resize
from fsseg_methods.sgone import SGOne, similarity, united
from tests.support import golden
from tests.support.golden import Golden
from tests.support.heads import make

pytestmark = pytest.mark.real_data


class Case(NamedTuple):
    golden: Golden
    method: SGOne
    query: Tensor
    query_labels: Tensor
    supports: Tensor
    support_masks: Tensor

    @property
    def scoring(self) -> tuple[int, int]:
        height, width = self.golden.info["constants"]["scoring_size"]
        return height, width

    def episode(self, method: SGOne, dtype: torch.dtype = torch.float32) -> Episode:
        """All supports and the query, encoded."""
        support = method.encode(self.supports.to(dtype))
        return Episode(
            support=tuple(level[None, None] for level in support),
            support_masks=self.support_masks[None, None],
            query=method.encode(self.query.to(dtype)),
            size=(self.query.shape[2], self.query.shape[3]),
            seeds=(0,),
            query_labels=self.query_labels,
        )

    def check(self, name: str, actual: Tensor) -> None:
        """Within 1e-4 of the output's largest magnitude, as these cases state."""
        (entry,) = (e for e in self.golden.info["outputs"] if e["name"] == name)
        entry["tolerance"] = 1e-4 * entry["max_abs"]
        self.golden.check(name, actual)

    def check_labels(self, name: str, probabilities: Tensor, actual: Tensor) -> None:
        """Equal, except where the two probabilities (2, H, W) are closer than 1e-4."""
        (entry,) = (e for e in self.golden.info["outputs"] if e["name"] == name)
        clear = ((probabilities[1] - probabilities[0]).abs() >= 1e-4).flatten()[:: entry["k"]].numpy()
        stored = self.golden.stored[name].reshape(-1)
        kept = actual.flatten()[:: entry["k"]].numpy()
        assert clear.mean() > 0.99
        np.testing.assert_array_equal(kept[clear], stored[clear])


@pytest.fixture(scope="module", params=["sgone-1", "sgone-2"])
def case(request: pytest.FixtureRequest, test_data: Path) -> Case:
    return load(test_data, request.param)


def load(test_data: Path, name: str) -> Case:
    """The case with its method, filled."""
    data = golden.load(test_data / "golden", name)
    method = make(SGOne, build_backbone("vgg16", SGOne.layout)).eval()
    data.fill_all(_tensors(method))
    return Case(
        data,
        method,
        torch.from_numpy(data.input("query_rgb")),
        torch.from_numpy(data.input("query_mask"))[0].to(torch.uint8),
        torch.from_numpy(data.input("support_rgb")),
        torch.from_numpy(data.input("support_mask"))[:, 0].to(torch.uint8),
    )


def _tensors(method: SGOne) -> list[Tensor]:
    """All parameters in the order of the case."""
    convolutions = [m for m in method.backbone.modules() if isinstance(m, nn.Conv2d)]
    layers = [*convolutions, method.guidance, *method.side, method.fuse, method.exit]
    tensors = [p for layer in layers for p in layer.parameters()]
    assert len(tensors) == len(list(method.parameters()))
    return tensors


def test_trunk_and_branches(case: Case) -> None:
    with torch.no_grad():
        levels = case.method.trunk(case.query)
        side = case.method.side_path(levels)
        encoded, guidance = case.method.encode(case.query)
        _, support = case.method.encode(case.supports)
    for stage, level, step in zip(("3", "4", "5"), levels, side, strict=True):
        case.check(f"query.pool{stage}", level)
        case.check(f"query.side{stage}", step)
    assert torch.equal(encoded, side[-1])
    case.check("query.guidance", guidance)
    case.check("support.guidance", support)


def test_head(case: Case) -> None:
    method = case.method
    with torch.no_grad():
        episode = case.episode(method)
        side, guidance = episode.query
        vector = method.vectors(episode).mean(dim=1)
        alike = similarity(guidance, vector)
        logits = method.predict(episode)
        full = resize(logits, case.scoring).softmax(dim=1)[0]
        case.check("support_vector", vector)
        case.check("similarity", alike[:, 0])
        case.check("fusion_input", side * alike)
        case.check("head_feature", method.fuse(side * alike).relu())
        case.check("logits", logits)
        case.check("pred_softmax", full)
        case.check_labels("pred_label", full, full.argmax(dim=0))
        if episode.shots == 1:
            case.check("loss", method.loss(episode)["query"][None])


def test_max_fusion(case: Case) -> None:
    if case.supports.shape[0] == 1:
        pytest.skip("one support")
    method = copy.deepcopy(case.method)
    method.switches = dataclasses.replace(method.switches, fusion="max")
    with torch.no_grad():
        episode = case.episode(method)
        side, guidance = episode.query
        shots = [method.head(side, similarity(guidance, v)) for v in method.vectors(episode).unbind(dim=1)]
        case.check("max.logits", torch.cat(shots))
        full = resize(torch.stack(shots, dim=1), case.scoring)
        case.check_labels("max.pred_label", united(full).softmax(dim=1)[0], united(full)[0].argmax(dim=0))
        assert torch.equal(method.predict(episode), united(resize(torch.stack(shots, dim=1), episode.size)))


def test_gradients_in_double_precision(case: Case) -> None:
    if not case.golden.gradients():
        pytest.skip("no gradients stored")
    method = copy.deepcopy(case.method).double()
    method.loss(case.episode(method, torch.float64))["query"].backward()
    for entry in case.golden.info["outputs"]:
        entry["tolerance"] = 1e-4 * entry["max_abs"]
    names = [entry["name"] for entry in case.golden.info["parameters"]]
    case.golden.check_gradients(dict(zip(names, _tensors(method), strict=True)), 6)
