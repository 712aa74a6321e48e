"""Methods that count void pixels in one way or another are found, each with a sentence that says how."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F

from fsseg_bench.engine.check_void import check_loss, check_supports
from fsseg_bench.engine.checks import ContractError
from fsseg_bench.method import VOID, Episode, Method, Prediction, feature_map
from fsseg_bench.nn.backbones import build_backbone
from fsseg_bench.nn.losses import segmentation_loss
from fsseg_bench.nn.prototypes import masked_average
from tests.engine.test_check import Good


class Found(NamedTuple):
    passed: bool
    detail: str


def found_by(check: Callable[[Method], str], cls: type[Method]) -> Found:
    torch.manual_seed(0)
    try:
        return Found(True, check(cls(build_backbone("resnet18-layer2"))))
    except ContractError as error:
        return Found(False, str(error))


def with_loss(parts) -> type[Method]:
    return type("Changed", (Good,), {"loss": lambda self, e: parts(self.predict(e), e.query_labels)})


def over(change) -> type[Method]:
    return with_loss(lambda scores, labels: {"query": segmentation_loss(scores, change(labels))})


def logistic(scores, labels):
    """255 as the target of a logistic loss: neither class, and large."""
    margin = F.interpolate(scores, labels.shape[1:]).diff(dim=1)[:, 0]
    return {"query": F.binary_cross_entropy_with_logits(margin, labels.float())}


def doubtful(scores, labels):
    """Void as half of each class."""
    return {"query": sum(segmentation_loss(scores, labels.masked_fill(labels == VOID, value)) for value in (0, 1)) / 2}


def beside_a_sum(scores, labels):
    """The second part counts void; the first does not."""
    filled = labels.masked_fill(labels == VOID, 1)
    return {"query": segmentation_loss(scores, labels), "again": segmentation_loss(scores, filled)}


def unsupervised(scores, labels):
    """A part that needs no labels may have a gradient anywhere."""
    entropy = -(scores.softmax(1) * scores.log_softmax(1)).sum(1).mean()
    return {"query": segmentation_loss(scores, labels), "entropy": entropy}


@pytest.mark.parametrize(
    ("cls", "part", "word"),
    [
        (over(lambda labels: labels.clamp(max=1)), "query", "foreground"),
        (over(lambda labels: (labels != 0).to(torch.uint8)), "query", "foreground"),
        (over(lambda labels: labels.masked_fill(labels == VOID, 0)), "query", "background"),
        (over(lambda labels: (labels == 1).to(torch.uint8)), "query", "background"),
        (with_loss(logistic), "query", "something"),
        (with_loss(doubtful), "query", "something"),
        (with_loss(beside_a_sum), "again", "foreground"),
    ],
)
def test_a_loss_that_counts_void(cls: type[Method], part: str, word: str) -> None:
    found = found_by(check_loss, cls)
    assert not found.passed
    assert found.detail.startswith(f"loss '{part}' counts void pixels as {word}: ")
    assert found_by(check_supports, cls).passed


@pytest.mark.parametrize("cls", [Good, with_loss(unsupervised)])
def test_a_loss_that_leaves_void_out(cls: type[Method]) -> None:
    found = found_by(check_loss, cls)
    assert found.passed
    assert found.detail == "query: no gradient when all is void"


def with_supports_of(foreground, background):
    """A method whose prototypes are means under weights made from the masks; ``background`` None: a constant."""

    class Changed(Good):
        def predict(self, episode: Episode):
            masks, features = episode.support_masks.flatten(0, 2), feature_map(episode.support).flatten(0, 2)
            shape = (episode.batch, episode.ways, episode.shots, -1)
            weights = torch.stack([foreground(masks), (background or foreground)(masks)], dim=1).float()
            means = masked_average(features, weights)
            fore, back = means[:, 0].view(shape).mean(2), means[:, 1].view(shape).mean((1, 2))
            back = torch.ones_like(back) if background is None else back
            prototypes = torch.cat((back[:, None], fore), dim=1)
            query = feature_map(episode.query)
            return 20 * F.cosine_similarity(query[:, None], prototypes[..., None, None], dim=2)

    return Changed


def one(masks):
    return masks == 1


def zero(masks):
    return masks == 0


@pytest.mark.parametrize(
    ("foreground", "background", "word"),
    [
        (lambda masks: masks != 0, zero, "foreground"),
        (lambda masks: masks != 0, None, "foreground"),
        (lambda masks: masks.clamp(max=1), zero, "foreground"),
        (one, lambda masks: masks != 1, "background"),
        (one, lambda masks: 1 - one(masks).float(), "background"),
        (lambda masks: masks.float(), zero, "labelled pixels"),
        (lambda masks: masks.float() / 255, zero, "labelled pixels"),
        (lambda masks: one(masks) + 0.5 * (masks == VOID), zero, "labelled pixels"),
    ],
)
def test_prototypes_that_count_void(foreground, background, word: str) -> None:
    """The loss leaves void out, so that only the supports show it."""
    cls = with_supports_of(foreground, background)
    found = found_by(check_supports, cls)
    assert not found.passed
    assert found.detail.startswith(f"void pixels of supports act as {word}; ")
    assert found_by(check_loss, cls).passed


@pytest.mark.parametrize("background", [zero, None])
def test_prototypes_that_leave_void_out(background) -> None:
    """A method without a background prototype takes void and background alike, and is right to."""
    found = found_by(check_supports, with_supports_of(one, background))
    assert found == (True, "what stands there changes nothing")


class Context(Good):
    """Two convolutions over the support before its mask is applied: some cells see void ones."""

    def __init__(self, backbone):
        super().__init__(backbone)
        channels = backbone.out_channels
        self.mix = torch.nn.Sequential(*(torch.nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2)))

    def predict(self, episode: Episode):
        features = feature_map(episode.support)
        mixed = self.mix(features.flatten(0, 2)).view_as(features)
        return super().predict(dataclasses.replace(episode, support=mixed, query=self.mix(feature_map(episode.query))))


class InTheEncoder(Good):
    """The mask is a weight of the image: of its pixels that are not background."""

    def encode_support(self, images, masks):
        return self.backbone(images * (masks != 0)[:, None])


def test_context_is_no_evidence() -> None:
    assert found_by(check_supports, Context).passed


def test_a_mask_in_the_encoder() -> None:
    class AllOfIt(InTheEncoder):
        def predict(self, episode: Episode):
            vector = feature_map(episode.support).mean(dim=(1, 2, 4, 5))
            scores = F.cosine_similarity(feature_map(episode.query), vector[:, :, None, None])
            return torch.stack([-scores, scores], dim=1)

    AllOfIt.max_ways = 1
    assert found_by(check_supports, AllOfIt).detail.startswith("void pixels of supports act as foreground")


def test_logits_and_losses_of_other_kinds_have_a_sentence() -> None:
    class NoTensor(Good):
        def predict(self, episode: Episode):
            return [super().predict(episode)]

    class NoMapping(Good):
        def loss(self, episode: Episode):
            return segmentation_loss(self.predict(episode), episode.query_labels)

    class OneDiagnostic(Good):
        def predict(self, episode: Episode):
            return Prediction(super().predict(episode), {"steps": torch.tensor(3.0)})

    assert "predict gave list; it must give logits" in found_by(check_supports, NoTensor).detail
    assert "loss gave Tensor; it must give named scalars" in found_by(check_loss, NoMapping).detail
    assert "diagnostic 'steps' must have one row an episode" in found_by(check_supports, OneDiagnostic).detail
