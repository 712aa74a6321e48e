"""CANet against outputs of the authors' code: features, comparison, every pass, losses, gradients, a training pass."""

from __future__ import annotations

import copy
import dataclasses
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fsseg_bench.engine.optimise import prepare
from fsseg_bench.method import Episode, History
from fsseg_bench.nn.backbones import build_backbone
from fsseg_bench.nn.bilinear import resize
from fsseg_bench.protocol.load import load_protocol
from fsseg_methods.canet import CANet, support_vectors
from tests.support import golden
from tests.support.golden import Golden
from tests.support.heads import make

pytestmark = pytest.mark.real_data

NAMES = {
    r"(conv1|bn1|layer[123])\.": r"backbone.\1.",
    r"layer5\.": "embed.embed.",
    r"layer55\.0": "compare.joined",
    r"layer6_0\.": "decode.aspp.image.",
    r"layer6_1\.": "decode.aspp.point.",
    r"layer6_2\.": "decode.aspp.dilated.0.",
    r"layer6_3\.": "decode.aspp.dilated.1.",
    r"layer6_4\.": "decode.aspp.dilated.2.",
    r"layer7\.": "decode.project.",
    r"layer9\.": "decode.classify.",
    r"residule1\.": "refine.blocks.0.",
    r"residule2\.": "refine.blocks.1.",
    r"residule3\.": "refine.blocks.2.",
}


class Case(NamedTuple):
    golden: Golden
    method: CANet
    query: Tensor
    support: Tensor
    masks: Tensor
    """(B, H, W) float of the supports."""
    history: Tensor
    labels: Tensor

    def check(self, name: str, actual: Tensor) -> None:
        self.golden.check(name, actual)

    def episode(self, query: Tensor, support: Tensor, *, given: bool = False, void: bool = False) -> Episode:
        """Features as a training episode, its history given or zeros."""
        labels = self.labels
        if void:
            labels = labels.masked_fill(_tensor(self.golden, "query_void")[:, 0] == 1, 255)
        past = tuple(self.history) if given else (None,) * len(labels)
        return Episode(
            support[:, None, None],
            self.masks[:, None, None].to(torch.uint8),
            query,
            (labels.shape[1], labels.shape[2]),
            tuple(range(len(labels))),
            labels,
            history=History(past),
        )


@pytest.fixture(scope="module", params=["canet-1", "canet-2"])
def case(request: pytest.FixtureRequest, test_data: Path) -> Case:
    return load(test_data, request.param)


def load(test_data: Path, name: str) -> Case:
    """The case with its method, filled."""
    data = golden.load(test_data / "golden", name)
    method = make(CANet, build_backbone("resnet50", CANet.layout), history_rate=1.0)
    _fill(method, data)
    return Case(
        data,
        method.eval(),
        _tensor(data, "query_rgb"),
        _tensor(data, "support_rgb"),
        _tensor(data, "support_mask")[:, 0],
        _tensor(data, "history_logits").softmax(dim=1),
        _tensor(data, "query_mask")[:, 0].to(torch.uint8),
    )


def _tensor(data: Golden, name: str) -> Tensor:
    return torch.from_numpy(data.input(name).astype(np.float32))


def _fill(method: CANet, data: Golden) -> None:
    """The case's parameters; the attention over shots, which the case has not, stays."""
    state = method.state_dict()
    filled = set()
    for entry in data.info["parameters"]:
        name = _own_name(entry["name"])
        data.fill(entry, state[name])
        filled.add(name)
    left = {name for name in set(state) - filled if not name.startswith("attention.")}
    assert all(name.endswith("num_batches_tracked") for name in left)


def _own_name(official: str) -> str:
    found = [re.sub(f"^{pattern}", own, official) for pattern, own in NAMES.items() if re.match(pattern, official)]
    assert len(found) == 1, official
    return found[0]


@pytest.fixture(scope="module")
def features(case: Case) -> tuple[Tensor, Tensor]:
    return encoded(case)


def encoded(case: Case) -> tuple[Tensor, Tensor]:
    """Query and support features."""
    with torch.no_grad():
        return case.method.encode(case.query), case.method.encode(case.support)


def test_features(case: Case, features: tuple[Tensor, Tensor]) -> None:
    with torch.no_grad():
        layer2, layer3 = case.method.backbone.levels(case.query, ("layer2", "layer3"))
    case.check("backbone.layer2", layer2)
    case.check("backbone.layer3", layer3.relu())
    case.check("query_feature", features[0])
    case.check("support_feature", features[1])


@torch.no_grad()
def test_comparison(case: Case, features: tuple[Tensor, Tensor]) -> None:
    query, support = features
    vectors = support_vectors(support[:, None], case.masks[:, None])
    case.check("support_vector", vectors[:, 0])
    case.check("comparison", case.method.comparison(query, vectors))
    faint = support_vectors(support[:, None], 1e-5 * case.masks[:, None])
    case.check("support_vector.faint", faint[:, 0])
    case.check("logits.faint", case.method.head(case.method.comparison(query, faint)))


@torch.no_grad()
def test_every_pass(case: Case, features: tuple[Tensor, Tensor]) -> None:
    method = case.method
    compared = method.comparison(features[0], support_vectors(features[1][:, None], case.masks[:, None]))
    seen: dict[str, Tensor] = {}
    parts = {
        "r1": method.refine.blocks[0],
        "refined": method.refine,
        "aspp": method.decode.aspp,
        "head_feature": method.decode.project,
    }
    hooks = [part.register_forward_hook(_keep(seen, name)) for name, part in parts.items()]
    history = None
    try:
        for step in ("pass0", "pass1", "pass2", "given"):
            logits = method.head(compared, case.history if step == "given" else history)
            history = logits.softmax(dim=1)
            for name, output in seen.items():
                case.check(f"{name}.{step}", output)
            case.check(f"logits.{step}", logits)
            case.check(f"softmax.{step}", history)
            _check_labels(case, f"pred_label.{step}", logits)
    finally:
        for hook in hooks:
            hook.remove()


def _keep(seen: dict[str, Tensor], name: str):
    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen[name] = output

    return hook


def _check_labels(case: Case, name: str, logits: Tensor) -> None:
    """Equal labels, except where the two probabilities differ by less than 1e-4."""
    full = resize(logits, (case.labels.shape[1], case.labels.shape[2]), align_corners=True)
    entry = next(e for e in case.golden.info["outputs"] if e["name"] == name)
    step = entry.get("k", 1)
    probabilities = full.softmax(dim=1)
    clear = ((probabilities[:, 0] - probabilities[:, 1]).abs() >= 1e-4).flatten()[::step]
    stored = torch.from_numpy(case.golden.stored[name]).flatten().long()
    assert torch.equal(full.argmax(dim=1).flatten()[::step][clear], stored[clear])


@torch.no_grad()
def test_predict_is_the_last_pass_at_image_size(case: Case, features: tuple[Tensor, Tensor]) -> None:
    method = copy.copy(case.method)
    method.switches = dataclasses.replace(method.switches, refinements=2)
    logits = method.predict(case.episode(*features))
    stored = torch.from_numpy(case.golden.stored["logits.pass2"]).view(len(case.labels), 2, *features[0].shape[2:])
    size = (case.labels.shape[1], case.labels.shape[2])
    expected = nn.functional.interpolate(stored, size=size, mode="bilinear", align_corners=True)
    torch.testing.assert_close(logits, expected, atol=1e-4 * float(expected.abs().max()), rtol=0)


@torch.no_grad()
def test_losses_and_what_is_remembered(case: Case, features: tuple[Tensor, Tensor]) -> None:
    for name, given, void in (("zero", False, False), ("given", True, False), ("void", True, True)):
        episode = case.episode(*features, given=given, void=void)
        case.check(f"loss.{name}", case.method.loss(episode)["query"][None])
        assert episode.history is not None
        assert episode.history.kept is not None
        case.check("softmax.given" if given else "softmax.pass0", episode.history.kept)


def test_gradients(case: Case) -> None:
    """In float64: one ReLU decision near zero can flip in float32."""
    method = copy.deepcopy(case.method).double()
    episode = case.episode(method.encode(case.query.double()), method.encode(case.support.double()), given=True)
    method.loss(episode)["query"].backward()
    parameters = dict(method.named_parameters())
    case.golden.check_gradients({name: parameters[_own_name(name)] for name in case.golden.gradients()}, 5)


def test_a_training_pass(case: Case) -> None:
    """Batch statistics under the recipe's modes, the query's pass before the support's; dropout off."""
    if case.golden.case != "canet-1":
        pytest.skip("this case stores no training pass")
    method = copy.deepcopy(case.method)
    prepare(method, CANet.recipe(load_protocol("pascal5i"), 1))
    for module in method.modules():
        if isinstance(module, nn.Dropout2d):
            module.eval()
    support, query = method.encode_training(case.support, case.masks.to(torch.uint8), case.query)
    assert isinstance(support, Tensor)
    assert isinstance(query, Tensor)
    episode = case.episode(query, support)
    compared = method.compared_features(episode)
    case.check("train.logits", method.head(compared))
    case.check("train.loss", method.loss(episode)["query"][None])
    for name, buffer in method.backbone.named_buffers():
        if name in {"bn1.running_mean", "bn1.running_var", "layer3.5.bn2.running_mean", "layer3.5.bn2.running_var"}:
            case.check(f"train.{name}", buffer)
