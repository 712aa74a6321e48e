"""HSNet against outputs of the authors' code: block outputs, correlations, every block, logits, votes, gradients."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from fsseg_bench.method import Episode
from fsseg_bench.nn.backbones import build_backbone
from fsseg_bench.nn.bilinear import resize
from fsseg_methods._hsnet import correlation, units
from fsseg_methods.hsnet import HSNet
from tests.support import golden
from tests.support.golden import Golden
from tests.support.heads import make

pytestmark = pytest.mark.real_data

LEVELS = (2, 3, 4)
COUNTS = {"resnet50": (4, 6, 3), "vgg16": (3, 3, 1)}
_LEVEL = {"2": "0", "3": "1", "4": "2", "3to2": "0", "4to3": "1"}
_STEP = ("first", "second", "third")


class Case(NamedTuple):
    golden: Golden
    method: HSNet
    counts: tuple[int, ...]

    def check(self, name: str, actual: Tensor) -> None:
        self.golden.check(name, actual)

    def input(self, name: str) -> Tensor:
        return torch.from_numpy(self.golden.input(name).astype(np.float32))

    def given(self, side: str) -> tuple[Tensor, ...]:
        """The case's features of the query or of a support, by level."""
        return tuple(
            torch.stack([self.input(f"{side}.L{level}.{i}") for i in range(count)], dim=1)
            for level, count in zip(LEVELS, self.counts, strict=True)
        )

    def shots(self) -> int:
        return sum(re.fullmatch(r"support\d\.mask", entry["name"]) is not None for entry in self.golden.info["inputs"])

    def episode(self, query: tuple[Tensor, ...], supports: list[tuple[Tensor, ...]], masks: Tensor) -> Episode:
        """Features of a query and of each support, and masks (B, K, H, W), as an episode."""
        size = (masks.shape[2], masks.shape[3])
        stacked = tuple(torch.stack(shots, dim=1)[:, None] for shots in zip(*supports, strict=True))
        seeds = tuple(range(len(masks)))
        name = "query_mask" if self.golden.case == "hsnet-3" else "query.mask"
        return Episode(stacked, masks[:, None].to(torch.uint8), query, size, seeds, self.input(name).to(torch.uint8))


@pytest.fixture(scope="module", params=["hsnet-1", "hsnet-2", "hsnet-3"])
def case(request: pytest.FixtureRequest, test_data: Path) -> Case:
    return load(request.param, test_data)


def load(name: str, test_data: Path) -> Case:
    data = golden.load(test_data / "golden", name)
    backbone = "vgg16" if name == "hsnet-2" else "resnet50"
    method = make(HSNet, build_backbone(backbone, HSNet.layout)).eval()
    state = method.state_dict()
    filled = set()
    for entry in data.info["parameters"]:
        own = own_name(entry["name"])
        data.fill(entry, state[own])
        filled.add(own)
    assert all(left.endswith("num_batches_tracked") for left in set(state) - filled)
    return Case(data, method, COUNTS[backbone])


def own_name(official: str) -> str:
    """The own name of a parameter of the authors' code."""
    encoder = re.fullmatch(r"hpn_learner\.encoder_layer(\w+)\.(\d)\.(?:(conv\d)\.)?(\w+)", official)
    if encoder is None:
        return re.sub(r"hpn_learner\.decoder(\d)", lambda m: ("head.decode", "head.classify")[int(m[1]) - 1], official)
    level, place, which, kind = encoder.groups()
    step = int(place) // 3
    part = {"conv1": "query", "conv2": "support", None: "norm"}[which]
    if "to" in level:
        return f"head.mix.{_LEVEL[level]}.{step}.{part}.{kind}"
    return f"head.squeeze.{_LEVEL[level]}.{_STEP[step]}.{part}.{kind}"


def _official_axes(pairs: Tensor) -> Tensor:
    """(B, C, s, t, h, w) as (B, C, h, w, s, t)."""
    return pairs.permute(0, 1, 4, 5, 2, 3)


def _check_taps(case: Case, prefix: str, levels: tuple[Tensor, ...]) -> None:
    taps = [tap for level in levels for tap in level.unbind(dim=1)]
    assert len(taps) == sum(case.counts)
    for i, tap in enumerate(taps):
        case.check(f"{prefix}.tap{i}", tap)


def _images(case: Case) -> tuple[Tensor, Tensor, Tensor]:
    """Query and support images of hsnet-3, (2, 3, H, W) each, and the support masks (2, 1, H, W)."""
    colour, masks = case.input("colour"), case.input("support_mask")
    query = case.input("query_noise") + 2 * case.input("query_mask")[:, None] * colour[:, :, None, None]
    support = case.input("support_noise")[:, 0] + 2 * masks * colour[:, :, None, None]
    return query, support, masks


@torch.no_grad()
def _episode(case: Case) -> Episode:
    if case.golden.case == "hsnet-3":
        query, support, masks = _images(case)
        return case.episode(case.method.encode(query), [case.method.encode(support)], masks)
    count = case.shots()
    masks = torch.stack([case.input(f"support{k}.mask") for k in range(count)], dim=1)
    return case.episode(case.given("query"), [case.given(f"support{k}") for k in range(count)], masks)


@pytest.fixture(scope="module")
def episode(case: Case) -> Episode:
    return _episode(case)


@torch.no_grad()
def test_block_outputs(case: Case, episode: Episode) -> None:
    assert sum(p.numel() for p in case.method.head.parameters()) == case.golden.info["constants"].get(
        "learnable_parameters", 2_573_794
    )
    if case.golden.case == "hsnet-3":
        assert isinstance(episode.query, tuple)
        _check_taps(case, "query", episode.query)
    else:
        _check_taps(case, "backbone", case.method.encode(case.input("backbone.image")))


@torch.no_grad()
def test_every_step_of_the_first_support(case: Case, episode: Episode) -> None:
    head = case.method.head
    mask = episode.support_masks[:, 0, 0] == 1
    query = [units(level) for level in episode.query]
    support = [units(level[:, 0, 0], mask) for level in episode.support]
    squeezed = []
    for level, q, s, block in zip(LEVELS, query, support, head.squeeze, strict=True):
        whole = correlation(q.flatten(3), s.flatten(3)).view(*q.shape[:2], *q.shape[3:], *s.shape[3:])
        case.check(f"correlation.p{level}", whole)
        squeezed.append(block(q, s))
        case.check(f"squeeze.p{level}", _official_axes(squeezed[-1]))
    finest, middle, _ = head.mixed(squeezed)
    case.check("mix.43", _official_axes(middle))
    case.check("mix.432", _official_axes(finest))
    maps = head.decode(finest.mean(dim=(2, 3)))
    case.check("decoder1", maps)
    logits = head(query, support)
    case.check("decoder2", logits)
    full = resize(logits, episode.size, align_corners=True)
    case.check("logits.shot0" if case.golden.case == "hsnet-3" else "logits", full)


@pytest.mark.slow
def test_loss_and_gradients(case: Case, episode: Episode) -> None:
    """Of the first support; gradients in float64, since one ReLU decision near zero can flip in float32."""
    assert isinstance(episode.query, tuple)
    first = case.episode(
        episode.query, [tuple(level[:, 0, 0] for level in episode.support)], episode.support_masks[:, 0, :1].float()
    )
    shape = next(entry["shape"] for entry in case.golden.info["outputs"] if entry["name"] == "loss")
    with torch.no_grad():
        case.check("loss", case.method.loss(first)["query"].view(shape))
    method = copy.deepcopy(case.method).double()
    if case.golden.case == "hsnet-3":
        query, support, masks = (tensor.double() for tensor in _images(case))
        with torch.no_grad():
            wide = case.episode(method.encode(query), [method.encode(support)], masks)
    else:
        wide = case.episode(
            tuple(level.double() for level in episode.query),
            [tuple(level[:, 0, 0].double() for level in episode.support)],
            episode.support_masks[:, 0, :1],
        )
    method.loss(wide)["query"].backward()
    parameters = dict(method.named_parameters())
    names = case.golden.gradients()
    assert len(names) == {"hsnet-1": 5, "hsnet-2": 5, "hsnet-3": 25}[case.golden.case]
    case.golden.check_gradients({name: parameters[own_name(name)] for name in names}, len(names))


def _bits(case: Case, name: str, shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(np.unpackbits(case.golden.stored[name])[: np.prod(shape)].reshape(shape))


def _labels(logits: Tensor) -> Tensor:
    return (logits[:, 1] > logits[:, 0]).to(torch.uint8)


@pytest.mark.slow
@torch.no_grad()
def test_votes(test_data: Path) -> None:
    """Of three supports; hard masks may differ where two logits are within 1e-4 of their largest."""
    case = load("hsnet-2", test_data)
    episode = _episode(case)
    shots = [resize(logits, episode.size, align_corners=True) for logits in case.method.shots(episode)]
    unclear = torch.zeros(1, 400, 400, dtype=torch.bool)
    stored = _bits(case, "vote.masks", (1, 3, 400, 400))
    for k, logits in enumerate(shots):
        close = (logits[:, 1] - logits[:, 0]).abs() < 1e-4 * max(0.1, float(logits.abs().max()))
        assert torch.equal(_labels(logits)[~close], stored[:, k][~close])
        unclear |= close
    assert unclear.float().mean() < 5e-3
    voted = _labels(case.method.predict(episode))
    assert torch.equal(voted[~unclear], _bits(case, "vote.mask", (1, 400, 400))[~unclear])


def test_rule_of_the_vote(test_data: Path) -> None:
    """Five supports: one that sees something alone, none that sees anything, and clear majorities."""
    case = load("hsnet-2", test_data)
    masks = case.input("rule.votes").to(torch.int64)
    masks[1, 2:] = 0
    masks[2] = 0
    masks[3, 1:] = 0
    assert torch.equal(_labels(case.method.voted(masks)), _bits(case, "rule.mask", (4, 40, 48)))
