"""co-FCN against outputs of the authors' code: annotations, both branches, head, loss, gradients."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from fsseg_bench.method import Episode
from fsseg_bench.nn.backbones import Backbone, build_backbone
from fsseg_bench.nn.losses import segmentation_loss
from fsseg_methods.cofcn import CoFCN, support_vector, widen
from tests.support import golden
from tests.support.golden import Golden
from tests.support.heads import make

pytestmark = pytest.mark.real_data


class Case(NamedTuple):
    golden: Golden
    method: CoFCN
    parameters: dict[str, Tensor]
    """By their names in the case."""
    query: Tensor
    query_labels: Tensor
    supports: list[tuple[Tensor, Tensor]]
    """Images (1, 3, H, W) and labels (1, H, W), each of its own size."""

    def episode(self) -> Episode:
        """All supports and the query, encoded; supports of several sizes have no common mask tensor."""
        encoded = [self.method.encode_support(image, labels) for image, labels in self.supports]
        return Episode(
            support=tuple(torch.stack(parts, dim=1)[None] for parts in zip(*encoded, strict=True)),
            support_masks=self.supports[0][1][None, None],
            query=self.method.encode(self.query),
            size=(self.query.shape[2], self.query.shape[3]),
            seeds=(0,),
            query_labels=self.query_labels,
        )

    def check(self, name: str, actual: Tensor) -> None:
        self.golden.check(name, actual)


@pytest.fixture(scope="module", params=["cofcn-1", "cofcn-2"])
def case(request: pytest.FixtureRequest, test_data: Path) -> Case:
    data = golden.load(test_data / "golden", request.param)
    method = make(CoFCN, build_backbone("vgg16", CoFCN.layout), annotation_value=128).eval()
    layers = [
        *_convolutions(method.conditioning),
        method.support_fc6,
        *_convolutions(method.backbone),
        *(method.query_fc6, method.fc7, method.score),
    ]
    tensors = [p for layer in layers for p in layer.parameters()]
    assert len(tensors) == len(list(method.parameters()))
    count = sum(entry["name"].endswith("image") for entry in data.info["inputs"]) - 1
    return Case(
        data,
        method,
        data.fill_all(tensors),
        torch.from_numpy(data.input("query.image")),
        _labels(data, "query"),
        [(torch.from_numpy(data.input(f"support{i}.image")), _labels(data, f"support{i}")) for i in range(count)],
    )


def _labels(data: Golden, name: str) -> Tensor:
    foreground, void = (torch.from_numpy(data.input(f"{name}.{part}")) for part in ("foreground", "void"))
    return foreground.to(torch.uint8).masked_fill(void == 1, 255)[None]


def _convolutions(trunk: Backbone) -> list[nn.Conv2d]:
    return [module for module in trunk.modules() if isinstance(module, nn.Conv2d)]


def test_widened_first_layer(case: Case) -> None:
    (entry,) = (e for e in case.golden.info["inputs"] if e["name"].startswith("init."))
    layer = nn.Conv2d(3, 64, 3)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(case.golden.input(entry["name"])))
    widen(layer, 2)
    case.check("init.support_conv1_1", layer.weight)
    assert case.method.conditioning.first_convolution.weight.shape == layer.weight.shape


def test_annotations(case: Case) -> None:
    for i, (_, labels) in enumerate(case.supports):
        case.check(f"support{i}.annotation", case.method.annotations(labels)[0])


def test_branches(case: Case) -> None:
    method = case.method
    with torch.no_grad():
        pool1, pool5 = method.backbone.levels(case.query, ("pool1", "pool5"))
        case.check("query.pool1", pool1)
        case.check("query.pool5", pool5.relu())
        case.check("query.feature", method.encode(case.query))
        for i, (image, labels) in enumerate(case.supports):
            case.check(f"support{i}.feature", method.support_features(image, labels))


def test_head_loss_and_gradients(case: Case) -> None:
    method = case.method
    method.zero_grad()
    episode = case.episode()
    vector = support_vector(episode)
    assert isinstance(episode.query, Tensor)
    hidden = method.fused(vector, episode.query)
    case.check("z", vector[0])
    case.check("head.fc7", hidden)
    case.check("head.score", method.score(hidden))
    logits = method.predict(episode)
    case.check("logits", logits)
    loss = method.loss(episode)["query"]
    case.check("loss", loss[None])
    torch.testing.assert_close(loss, segmentation_loss(logits, case.query_labels))
    loss.backward()
    case.golden.check_gradients(case.parameters, 5)


def test_the_larger_support_weighs_more(case: Case) -> None:
    if len(case.supports) == 1:
        pytest.skip("one support")
    episode = case.episode()
    means, cells = episode.support
    assert cells.flatten().tolist() == [4, 12]
    plain = dataclasses.replace(episode, support=(means, torch.ones_like(cells)))
    with pytest.raises(AssertionError, match="z: off"):
        case.check("z", support_vector(plain)[0])
