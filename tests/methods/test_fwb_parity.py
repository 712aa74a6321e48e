"""FWB against outputs of the authors' code: taps, head, boosting with one and three shots, and a training step."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsseg_bench.method import Episode
from fsseg_bench.nn.backbones import build_backbone
from fsseg_bench.nn.bilinear import resize
from fsseg_methods._fwb.boosting import vote
from fsseg_methods._fwb.experts import (
    ClassVectors,
    Ensemble,
    class_means,
    experts,
    similarity,
    weighted_cells,
    weighted_vector,
)
from fsseg_methods.fwb import FWB
from tests.support import golden
from tests.support.golden import Golden
from tests.support.heads import make

pytestmark = pytest.mark.real_data

THRESHOLD = 0.8


class Image(NamedTuple):
    """Features of one image, and its labels (1, H, W) uint8."""

    low: Tensor
    top: Tensor
    labels: Tensor


class Case(NamedTuple):
    golden: Golden
    method: FWB
    parameters: dict[str, Tensor]
    """By their official names."""

    def check(self, name: str, actual: Tensor) -> None:
        self.golden.check(name, actual)

    def given(self, name: str) -> Tensor:
        return torch.from_numpy(self.golden.input(name))

    def check_bits(self, name: str, actual: Tensor) -> None:
        assert np.array_equal(np.packbits(actual.numpy().reshape(-1)), self.golden.stored[name])

    def vectors(self, supports: list[Image], *, relevance: bool = True) -> tuple[Tensor, Tensor, ClassVectors]:
        """f and b (1, C), summed over the shots, and what follows from them."""
        means = [class_means(one.top, one.labels == 1, one.labels == 0) for one in supports]
        f, b = torch.stack(means).sum(dim=0).unbind(dim=1)
        return f, b, weighted_vector(f, b, relevance=relevance)

    def head(self, low: Tensor, top: Tensor, known: ClassVectors, size: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """The similarity map, and the logits at image size."""
        alike = similarity(weighted_cells(top, known.relevance), known.vector, low.shape[2:])
        return alike, resize(self.method.exit(low * alike), size, align_corners=True)

    def ensemble(self, query: Image, supports: list[Image], known: ClassVectors, **switches: bool) -> Ensemble:
        shots = (tensor for one in supports for tensor in one)
        size = query.labels.shape[1:]
        return experts(
            known.vector,
            known.relevance,
            query.low,
            query.top,
            *shots,
            exit_layer=self.method.exit,
            size=size,
            steps=10,
            **switches,
        )


def _fill(data: Golden, tensors: dict[str, Tensor]) -> None:
    """Sets the tensors, by their official names, to the case's values."""
    entries = {e["name"]: e for e in data.info["parameters"] if not e["name"].endswith("num_batches_tracked")}
    assert set(entries) == set(tensors)
    for name, tensor in tensors.items():
        if entries[name]["kind"] == "given":
            tensor.data.copy_(torch.tensor(entries[name]["values"]))
        else:
            data.fill(entries[name], tensor)


def _case(name: str, backbone: str, test_data: Path) -> Case:
    data = golden.load(test_data / "golden", name)
    method = make(FWB, build_backbone(backbone, FWB.layout)).eval()
    tensors = {k: t for k, t in method.backbone.state_dict(keep_vars=True).items() if "num_batches" not in k}
    layers = {"exit_layer.0": method.exit.inner, "exit_layer.2": method.exit.outer}
    tensors |= {f"{prefix}.{k}": p for prefix, layer in layers.items() for k, p in layer.named_parameters()}
    _fill(data, tensors)
    return Case(data, method, tensors)


@pytest.fixture(scope="module")
def vgg(test_data: Path) -> Case:
    return _case("fwb-1", "vgg16", test_data)


@pytest.fixture(scope="module")
def resnet(test_data: Path) -> Case:
    return _case("fwb-2", "resnet101", test_data)


def _vgg_image(case: Case, name: str, mask: Tensor | None = None) -> Image:
    images = case.given(f"{name}.image")
    with torch.no_grad():
        low, top = case.method.encode(images)
    return Image(low, top, _labels(mask) if mask is not None else torch.zeros(1, *images.shape[2:], dtype=torch.uint8))


def _labels(mask: Tensor) -> Tensor:
    return mask.to(torch.uint8).view(-1, *mask.shape[-2:])


def _resnet_image(case: Case, name: str, size: list[int], mask: Tensor | None = None) -> Image:
    low = F.relu(case.given(f"{name}.low"))
    top = case.given(f"{name}.top") + case.given("top.channel_mean").view(1, -1, 1, 1)
    return Image(low, top, torch.zeros(1, *size, dtype=torch.uint8) if mask is None else _labels(mask))


@pytest.fixture(scope="module")
def vgg_pair(vgg: Case) -> tuple[Image, Image]:
    return _vgg_image(vgg, "query"), _vgg_image(vgg, "support0", vgg.given("support0.mask"))


@pytest.fixture(scope="module")
def resnet_images(resnet: Case) -> list[Image]:
    """The query and three supports, each of its own size."""
    sizes = resnet.golden.info["construction"]["image_sizes"]
    names = [f"support{k}" for k in range(3)]
    masks = [resnet.given(f"{name}.mask") for name in names]
    supports = [_resnet_image(resnet, *one) for one in zip(names, sizes["supports"], masks, strict=True)]
    return [_resnet_image(resnet, "query", sizes["query"]), *supports]


def _check_experts(case: Case, query: Image, supports: list[Image], known: ClassVectors) -> None:
    ensemble = case.ensemble(query, supports, known)
    case.check("boost.start", known.vector[0])
    case.check("boost.vectors", ensemble.vectors[0])
    case.check("boost.support_loss", ensemble.losses[0])
    case.check("boost.support_iou", ensemble.ious[0].mean(dim=1))
    for place, expert in (("first", 0), ("last", 10)):
        of_expert = known._replace(vector=ensemble.vectors[:, expert])
        one = supports[0]
        with torch.no_grad():
            case.check(f"boost.support_logits_{place}", case.head(one.low, one.top, of_expert, one.labels.shape[1:])[1])
    case.check_bits("boost.query_masks", ensemble.masks)
    score = vote(ensemble.masks, ensemble.ious.mean(dim=2))
    case.check("boost.query_map", score)
    case.check_bits("boost.query_mask", score > THRESHOLD)


def test_vgg_taps_and_head(vgg: Case, vgg_pair: tuple[Image, Image]) -> None:
    query, support = vgg_pair
    vgg.check("query.low", query.low)
    vgg.check("query.top", query.top)
    vgg.check("support0.top", support.top)
    size = query.labels.shape[1:]
    f, b, known = vgg.vectors([support])
    vgg.check("f", f[0])
    vgg.check("b", b[0])
    vgg.check("r", known.relevance[0])
    for name, relevance in (("relevance", True), ("baseline", False)):
        _, _, known = vgg.vectors([support], relevance=relevance)
        alike, logits = vgg.head(query.low, query.top, known, size)
        vgg.check(f"{name}.similarity", alike)
        vgg.check(f"{name}.logits", logits)


def test_vgg_boosting(vgg: Case, vgg_pair: tuple[Image, Image]) -> None:
    query, support = vgg_pair
    _check_experts(vgg, query, [support], vgg.vectors([support])[2])
    ensemble = vgg.ensemble(query, [support], vgg.vectors([support], relevance=False)[2])
    vgg.check("boost_without_relevance.vectors", ensemble.vectors[0])
    vgg.check("boost_without_relevance.support_iou", ensemble.ious[0].mean(dim=1))
    vgg.check("boost_without_relevance.query_map", vote(ensemble.masks, ensemble.ious.mean(dim=2)))


def test_vgg_through_the_contract(vgg: Case) -> None:
    """The support's image has another size than the query's, which an episode allows: it is in the features alone."""
    query = _vgg_image(vgg, "query")
    support = _vgg_image(vgg, "support0", vgg.given("support0.mask"))
    episode = Episode(
        support=(support.low[:, None, None], support.top[:, None, None]),
        support_masks=support.labels[:, None, None],
        query=(query.low, query.top),
        size=(65, 81),
        seeds=(0,),
    )
    with torch.no_grad():
        logits, diagnostics = vgg.method.predict(episode)
        vgg.check("relevance.logits", vgg.method.logits(episode))
    vgg.check("boost.query_map", logits[:, 1])
    assert (logits[:, 0] == torch.tensor(THRESHOLD)).all()
    vgg.check("boost.support_iou", diagnostics["support_iou"][0])
    vgg.check("boost.support_loss", diagnostics["support_loss"].T)


def test_resnet_taps(resnet: Case) -> None:
    with torch.no_grad():
        levels = resnet.method.backbone.levels(resnet.given("backbone.image"), ("layer1", "layer3", "layer4"))
    assert resnet.method.levels == ("layer1", "layer4")
    for name, level in zip(("low", "layer3", "top"), levels, strict=True):
        resnet.check(f"backbone.{name}", level)


def test_resnet_three_shots(resnet: Case, resnet_images: list[Image]) -> None:
    query, *supports = resnet_images
    f, b, known = resnet.vectors(supports)
    resnet.check("f", f[0])
    resnet.check("b", b[0])
    resnet.check("r", known.relevance[0])
    alike, logits = resnet.head(query.low, query.top, known, query.labels.shape[1:])
    resnet.check("relevance.similarity", alike)
    resnet.check("relevance.logits", logits)
    _check_experts(resnet, query, supports, known)


def test_resnet_three_shots_as_released(resnet: Case, resnet_images: list[Image]) -> None:
    query, *supports = resnet_images
    ensemble = resnet.ensemble(query, supports, resnet.vectors(supports)[2], last_support_low=True)
    resnet.check("boost.query_map_as_released", vote(ensemble.masks, ensemble.ious.mean(dim=2)))


def test_training_step(test_data: Path) -> None:
    case = _case("fwb-1", "vgg16", test_data)
    method = case.method.train()
    masks = _labels(case.given("train.support.mask"))
    support, query = method.encode_training(case.given("train.support.image"), masks, case.given("train.query.image"))
    low, top = support
    episode = Episode(
        support=(low[:, None, None], top[:, None, None]),
        support_masks=masks[:, None, None],
        query=query,
        size=(73, 65),
        seeds=(0, 1),
        query_labels=_labels(case.given("train.query.mask")),
    )
    known = method.class_vectors(episode)
    f = class_means(top, masks == 1, masks == 0)[:, 0]
    case.check("train.f", f)
    case.check("train.r", known.relevance)
    case.check("train.similarity", case.head(*query, known, (73, 65))[0])
    case.check("train.logits", method.logits(episode))
    losses = method.loss(episode)
    case.check("train.loss", losses["query"].view(1))
    losses["query"].backward()
    for entry in case.golden.info["outputs"]:
        kind, _, name = entry["name"].removeprefix("train.").partition(".")
        if kind == "grad":
            gradient = case.parameters[name].grad
            assert isinstance(case.parameters[name], nn.Parameter)
            assert gradient is not None
            case.check(entry["name"], gradient)
        elif kind == "after":
            case.check(entry["name"], case.parameters[name])
