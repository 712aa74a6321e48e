"""SSP against outputs of the authors' code: features, prototypes, both steps, losses and gradients."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from fsseg_bench.engine.optimise import prepare
from fsseg_bench.method import Episode
from fsseg_bench.nn.backbones import build_backbone
from fsseg_bench.nn.bilinear import resize
from fsseg_bench.nn.prototypes import support_prototypes
from fsseg_bench.protocol.load import load_protocol
from fsseg_methods.ssp import SSP, Step, cosines, labelled_means, own_scores
from tests.support import golden
from tests.support.golden import Golden
from tests.support.heads import TinyBackbone, make

pytestmark = pytest.mark.real_data

STEM = {"0.0": "conv1", "0.1": "bn1", "0.3": "conv2", "0.4": "bn2", "0.6": "conv3", "1": "bn3"}
"""Of the authors' ``layer0``."""


class Case(NamedTuple):
    golden: Golden
    method: SSP
    episode: Episode
    """Its features carry gradients where the case gives them."""
    parameters: dict[str, Tensor]
    """By the authors' names; none where the case gives features."""

    def check(self, name: str, actual: Tensor) -> None:
        self.golden.check(name, actual)

    def upsampled(self, scores: Tensor) -> Tensor:
        return resize(scores, self.episode.size, align_corners=True)


@pytest.fixture(scope="module", params=["ssp-1", "ssp-2", "ssp-3"])
def data(request: pytest.FixtureRequest, test_data: Path) -> Golden:
    return golden.load(test_data / "golden", request.param)


@pytest.fixture(scope="module", params=[torch.float32, torch.float64], ids=["float32", "float64"])
def case(request: pytest.FixtureRequest, data: Golden) -> Case:
    return _case(data, request.param)


def _case(data: Golden, dtype: torch.dtype) -> Case:
    refine = data.case != "ssp-3"
    if "colour" not in [entry["name"] for entry in data.info["inputs"]]:
        method = make(SSP, TinyBackbone(), refine=refine)
        query, support = (_features(data, name).to(dtype) for name in ("query", "support"))
        return Case(data, method, _episode(data, query.requires_grad_(), support[:, None].requires_grad_()), {})
    method = make(SSP, build_backbone("resnet50-deep", SSP.layout), refine=refine)
    parameters = _fill(method, data)
    prepare(method, SSP.recipe(load_protocol("pascal5i"), 1))
    method.to(dtype).train()
    supports = _image(data, "support").flatten(0, 1).to(dtype)
    masks = torch.zeros(len(supports), *supports.shape[2:], dtype=torch.uint8)
    features = method.encode_training(supports, masks, _image(data, "query").to(dtype))
    support, query = (f for f in features if isinstance(f, Tensor))
    return Case(data, method, _episode(data, query, support[:, None, None]), parameters)


def _input(data: Golden, name: str) -> Tensor:
    return torch.from_numpy(data.input(name).astype(np.float32))


def _image(data: Golden, name: str) -> Tensor:
    mask, colour = _input(data, f"{name}_mask"), _input(data, "colour")
    painted = mask[..., None, :, :] * colour.reshape(len(colour), *[1] * (mask.ndim - 3), 3, 1, 1)
    return _input(data, f"{name}_noise") + 3 * painted


def _features(data: Golden, name: str) -> Tensor:
    """As the case constructs them, in float32."""
    built, noise = data.info["construction"], _input(data, f"{name}.noise")
    mask = _input(data, f"{name}_mask")[..., ::8, ::8].unsqueeze(-3)
    strength = torch.tensor(built["strength"], dtype=torch.float32)
    shape = (len(strength), *[1] * (noise.ndim - 4), -1, 1, 1)
    object_, behind = (_input(data, f"direction.{kind}").reshape(shape) for kind in ("foreground", "background"))
    offset = np.float32(built["offset_scale"]) * _input(data, "offset")[None, :, None, None]
    return noise + offset + strength.reshape(shape) * torch.where(mask == 1, object_, behind)


def _labels(data: Golden, name: str) -> Tensor:
    """Masks, void where the right or the lower neighbour differs."""
    mask = _input(data, f"{name}_mask")
    void = torch.zeros_like(mask, dtype=torch.bool)
    void[..., :-1] |= mask[..., :-1] != mask[..., 1:]
    void[..., :-1, :] |= mask[..., :-1, :] != mask[..., 1:, :]
    return mask.to(torch.uint8).masked_fill(void, 255)


def _episode(data: Golden, query: Tensor, support: Tensor) -> Episode:
    labels = _labels(data, "query")
    size = (labels.shape[1], labels.shape[2])
    return Episode(support, _labels(data, "support")[:, None], query, size, tuple(range(len(labels))), labels)


def _fill(method: SSP, data: Golden) -> dict[str, Tensor]:
    state = method.state_dict(keep_vars=True)
    named = {entry["name"]: state[_own_name(entry["name"])] for entry in data.info["parameters"]}
    for entry in data.info["parameters"]:
        data.fill(entry, named[entry["name"]])
    left = set(state) - {_own_name(name) for name in named}
    assert all(name.endswith("num_batches_tracked") for name in left)
    return named


def _own_name(official: str) -> str:
    found = re.fullmatch(r"layer0\.(\d(?:\.\d)?)\.(\w+)", official)
    return f"backbone.{STEM[found[1]]}.{found[2]}" if found else f"backbone.{official}"


@pytest.mark.parametrize("data", ["ssp-1"], indirect=True)
def test_features(case: Case) -> None:
    case.check("features.query", case.episode.query)
    case.check("features.support", case.episode.support[:, 0])
    images = _image(case.golden, "query").to(case.episode.query.dtype)
    with torch.no_grad():
        case.check("features.layer2.query", case.method.backbone.levels(images, ("layer2",))[0])


@torch.no_grad()
def test_prototypes_of_the_support(case: Case) -> None:
    support, masks = case.episode.support, case.episode.support_masks
    shots = labelled_means(support.flatten(0, 2), masks.flatten(0, 2)).unflatten(0, masks[:, 0].shape[:2])
    case.check("support_bg_prototypes", shots[:, :, 0])
    case.check("support_fg_prototypes", shots[:, :, 1])
    background, foreground = support_prototypes(support, masks, map_res="bilinear", align_corners=True).unbind(1)
    case.check("BP", background)
    case.check("FP", foreground)
    case.check("out0", cosines(case.episode.query, foreground, background))


@torch.no_grad()
def test_steps(case: Case) -> None:
    steps = case.method.steps(case.episode)
    assert len(steps) == (1 if case.golden.case == "ssp-3" else 2)
    for place, step in enumerate(steps, start=1):
        case.check(f"step{place}.SSFP", step.own.foreground)
        case.check(f"step{place}.SSBP", step.own.background)
        case.check(f"step{place}.ASBP", step.own.adaptive)
        case.check(f"FP{place}", step.foreground)
        case.check(f"BP{place}", step.background)
        case.check(f"step{place}.score", _unmixed(steps, place))
        case.check(f"out{place}.logits", case.upsampled(step.scores))
    prediction = case.method.predict(case.episode)
    case.check(f"out{len(steps)}.logits", prediction)


def _unmixed(steps: list[Step], place: int) -> Tensor:
    """The scores with a step's prototypes alone."""
    return steps[0].scores if place == 1 else (steps[1].scores - 0.3 * steps[0].scores) / 0.7


@torch.no_grad()
def test_scores_with_own_labels(case: Case) -> None:
    episode, masks = case.episode, case.episode.support_masks
    assert episode.query_labels is not None
    case.check("query_self.logits", case.upsampled(own_scores(episode.query, episode.query_labels)))
    supports = own_scores(episode.support.flatten(0, 2), masks.flatten(0, 2))
    case.check("support_self.logits", case.upsampled(supports).unflatten(0, masks[:, 0].shape[:2]))


def test_losses_and_gradients(case: Case) -> None:
    """Gradients in float64 alone: in float32 they depend on how a processor rounds."""
    for parameter in case.parameters.values():
        parameter.grad = None
    losses = case.method.loss(case.episode)
    weights = {"step1": "out1", "step2": "out2", "query_self": "query_self", "support_self": "support_self"}
    for own, official in weights.items():
        if own in losses:
            case.check(f"loss.{official}", losses[own] / (0.2 if own == "support_self" else 1))
    total = sum(losses.values(), torch.tensor(0.0))
    case.check("loss.total", total)
    if case.episode.query.dtype != torch.float64:
        return
    total.backward()
    trained = {f"layer{i}." for i in (2, 3)}
    if case.parameters:
        case.golden.check_gradients(case.parameters, 6)
        assert {name[:7] for name, p in case.parameters.items() if p.grad is not None} == trained
        return
    assert len(case.golden.gradients()) == 2
    case.check("grad.query_feature", case.episode.query.grad)
    case.check("grad.support_feature", case.episode.support.grad[:, 0])
