"""BAM's base learner and meta learner against outputs of the authors' code."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from fsseg_bench.method import ClassLabels, Episode
from fsseg_bench.nn.backbones import build_backbone
from fsseg_bench.nn.bilinear import resize
from fsseg_bench.nn.losses import segmentation_loss
from fsseg_methods import _bam, _prior
from fsseg_methods.bam import BAM
from tests.support import golden
from tests.support import golden_trunks as trunks
from tests.support.golden import Golden
from tests.support.heads import make

pytestmark = pytest.mark.real_data

NAMES = {
    r"learner_base\.0\.features\.(\d)\.1\.": r"base.pool.bins.\1.0.",
    r"learner_base\.0\.features\.(\d)\.2\.": r"base.pool.bins.\1.1.",
    r"learner_base\.1\.([01])\.": r"base.bottleneck.\1.",
    r"learner_base\.1\.4\.": "base.classify.",
    r"down_query\.0\.": "embed_query.0.",
    r"down_supp\.0\.": "embed_support.0.",
    r"init_merge\.0\.": "meta.merge.joined.",
    r"ASPP_meta\.layer6_0\.": "meta.aspp.image.",
    r"ASPP_meta\.layer6_1\.": "meta.aspp.point.",
    r"ASPP_meta\.layer6_2\.": "meta.aspp.dilated.0.",
    r"ASPP_meta\.layer6_3\.": "meta.aspp.dilated.1.",
    r"ASPP_meta\.layer6_4\.": "meta.aspp.dilated.2.",
    r"res1_meta\.0\.": "meta.join.0.",
    r"res2_meta\.(\d)\.": r"meta.refine.pair.\1.",
    r"cls_meta\.(\d)\.": r"meta.classify.\1.",
    r"kshot_rw\.(\d)\.": r"meta.weigh.\1.",
    r"gram_merge\.": "ensemble.adjust.",
    r"cls_merge\.": "ensemble.merge.",
}


class Read(NamedTuple):
    """Levels of queries (B, ...) and supports (B, K, ...)."""

    low: Tensor
    middle: Tensor
    deep: Tensor


class Case(NamedTuple):
    golden: Golden
    network: BAM
    query_labels: Tensor
    support_labels: Tensor
    base_labels: Tensor
    own: Tensor
    query: Tensor
    support: Tensor

    def check(self, name: str, actual: Tensor) -> None:
        if name in self.golden.stored:
            self.golden.check(name, actual)

    def double(self) -> Case:
        return self._replace(
            network=copy.deepcopy(self.network).double(), query=self.query.double(), support=self.support.double()
        )

    def levels(self) -> tuple[Read, Read]:
        """Of query and supports."""
        if "query.f2.noise" in trunks.inputs(self.golden):
            given = [trunks.features(self.golden, role, self.query.dtype) for role in trunks.ROLES]
            (q2, q3, q4), (s2, s3, s4) = given
        else:
            backbone, masks = self.network.backbone, self.support_labels.flatten(0, 1)
            (q2, q3), q4 = _prior.read_levels(backbone, self.query)
            (s2, s3), s4 = _prior.read_levels(backbone, self.support.flatten(0, 1), masks)
        query = Read(q2, self.network.embed_query(_prior.joined((q2, q3))), q4)
        support = (s2, self.network.embed_support(_prior.joined((s2, s3))), s4)
        return query, Read(*(level.unflatten(0, self.support_labels.shape[:2]) for level in support))

    def episode(self) -> Episode:
        """A training episode of the levels."""
        query, support = self.levels()
        grams = _bam.gram(support.low.flatten(0, 1)).unflatten(0, self.support_labels.shape[:2])
        return Episode(
            tuple(level[:, None] for level in (support.middle, support.deep, grams)),
            self.support_labels[:, None],
            (query.middle, query.deep, _bam.gram(query.low), self.network.base(query.deep)),
            (self.query_labels.shape[1], self.query_labels.shape[2]),
            tuple(range(len(self.query_labels))),
            self.query_labels,
            ClassLabels(self.support_labels[:, None], self.base_labels),
        )


@pytest.fixture(scope="module", params=["bam-1", "bam-2", "bam-3"])
def case(request: pytest.FixtureRequest, test_data: Path) -> Case:
    return load(request.param, test_data)


def load(case: str, test_data: Path) -> Case:
    """The case with its network, filled."""
    data = golden.load(test_data / "golden", case)
    name, shots, classes = {
        "bam-1": ("resnet50-deep", 1, 15),
        "bam-2": ("resnet50", 5, 15),
        "bam-3": ("vgg16", 5, 60),
    }[case]
    network = make(BAM, build_backbone(name, BAM.layout), classes, shots=shots).eval()
    trunks.fill(network, data, NAMES, vgg=name == "vgg16")
    network.requires_grad_(False)
    for part in (network.embed_query, network.embed_support, network.meta, network.ensemble):
        part.requires_grad_(True)
    masks = {role: trunks.given(data, f"{role}_mask") for role in trunks.ROLES}
    b = torch.arange(len(masks["query"]))
    own = 1 + (3 + 4 * b) % classes
    other = (1 + (1 + b) % classes)[:, None, None] * trunks.given(data, "other_mask")
    base = torch.where(masks["query"] == 1, own[:, None, None].float(), other)
    labels = {role: trunks.with_void(mask) for role, mask in masks.items()}
    images = {role: trunks.images(data, role) for role in trunks.ROLES}
    return Case(data, network, labels["query"], labels["support"], trunks.with_void(base), own, *images.values())


@torch.no_grad()
@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_every_step_of_the_prediction(case: Case, precision: torch.dtype) -> None:
    if precision == torch.float64:
        case = case.double()
    network, (query, support) = case.network, case.levels()
    if case.golden.case != "bam-2":
        case.check("features.layer4.query", query.deep)
        case.check("features.layer4.support0", support.deep[:, 0])
    case.check("query_feature", query.middle)
    case.check("support_feature.shot0", support.middle[:, 0])
    grams = _bam.gram(query.low), _bam.gram(support.low.flatten(0, 1)).unflatten(0, support.low.shape[:2])
    case.check("gram.query", grams[0])
    case.check("gram.support0", grams[1][:, 0])
    differences = _bam.scene_differences(*grams)
    case.check("psi_per_shot", differences)
    weights = network.meta.shot_weights(differences)
    case.check("shot_weights", weights)
    if differences.shape[1] > 1:
        case.check("shot_scores_sorted", network.meta.weigh(differences.sort(dim=1)[0][..., None, None]).flatten(1))
    cells = _prior.cell_weights(case.support_labels, support.middle)
    vectors = _prior.support_vectors(support.middle, cells)
    priors = _prior.prior_masks(query.deep, support.deep, cells)
    case.check("support_vectors", vectors)
    case.check("support_vector", (weights[..., None] * vectors).sum(dim=1))
    case.check("priors", priors)
    case.check("prior", (weights[..., None, None] * priors).sum(dim=1, keepdim=True))
    meta = network.meta
    parts = {"merged": meta.merge, "aspp": meta.aspp, "fused": meta.join, "fused_residual": meta.refine}
    hooks = [
        part.register_forward_hook(lambda module, inputs, output, name=name: case.check(name, output))
        for name, part in parts.items()
    ]
    told = meta(query.middle, vectors, priors, differences)
    for hook in hooks:
        hook.remove()
    case.check("psi", told.difference)
    case.check("meta_logits_small", told.logits)
    base = network.base(query.deep)
    case.check("base_logits_small", base)
    foreground = _bam.base_foreground(base)
    case.check("base_foreground", foreground)
    background, adjusted = network.ensemble.adjusted(told)
    case.check("adjusted_background", background)
    case.check("adjusted_foreground", adjusted)
    scores = network.ensemble(told, foreground)
    case.check("merged_background", scores[:, :1])
    size = (case.query_labels.shape[1], case.query_labels.shape[2])
    for name, small in (("final", scores), ("meta_logits", told.logits), ("base_logits", base)):
        case.check(name, resize(small, size, align_corners=True))


def test_losses_and_gradients_of_meta_training(case: Case) -> None:
    """In float64; the trunk and the base learner are fixed, dropout off."""
    case = case.double()
    network, episode = case.network, case.episode()
    assert torch.equal(_bam.own_class(case.query_labels, case.base_labels), case.own)
    case.check("train.base_foreground", _bam.base_foreground(episode.query[3], case.own))
    losses = network.loss(episode)
    base = segmentation_loss(episode.query[3], case.base_labels, align_corners=True)
    for name, loss in (("final", losses["query"]), ("meta", losses["meta"]), ("base", base)):
        case.golden.check(f"train.{name}_loss", loss)
    total = sum(losses.values()) + base
    case.golden.check("train.total_loss", total)
    total.backward()
    parameters = dict(network.named_parameters())
    stored = [name for name in case.golden.gradients() if not name.startswith("stage1.")]
    case.golden.check_gradients({name: parameters[trunks.own_name(name, NAMES)] for name in stored}, len(stored))


@torch.no_grad()
def test_the_method_predicts_the_ensemble_s_scores(case: Case) -> None:
    episode = case.episode()
    case.golden.check("final", case.network.predict(episode))
    if case.golden.case != "bam-2":  # from images, the same way as a user
        masks = case.support_labels.flatten(0, 1)
        support = case.network.encode_support(case.support.flatten(0, 1), masks)
        for mine, given in zip(case.network.encode(case.query), episode.query, strict=True):
            torch.testing.assert_close(mine, given)
        for mine, given in zip(support, episode.support, strict=True):
            torch.testing.assert_close(mine, given.flatten(0, 2))
