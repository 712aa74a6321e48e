"""PFENet against outputs of the authors' code: features, prior, every map of the pyramid, losses, gradients."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from fsseg_bench.engine.optimise import prepare
from fsseg_bench.method import Episode
from fsseg_bench.nn.backbones import build_backbone
from fsseg_bench.protocol.load import load_protocol
from fsseg_methods._prior import cell_weights, joined, read_levels, support_vectors
from fsseg_methods.pfenet import PFENet
from tests.support import golden
from tests.support import golden_trunks as trunks
from tests.support.golden import Golden
from tests.support.heads import make

pytestmark = pytest.mark.real_data

_BINS = (60.0, 30.0, 15.0, 8.0)
NAMES = {
    r"down_query\.0\.": "embed_query.0.",
    r"down_supp\.0\.": "embed_support.0.",
    r"init_merge\.(\d)\.0\.": r"pyramid.merge.\1.joined.",
    r"alpha_conv\.(\d)\.0\.": r"pyramid.enrich.\1.0.",
    r"beta_conv\.(\d)\.(\d)\.": r"pyramid.refine.\1.pair.\2.",
    r"inner_cls\.(\d)\.(\d)\.": r"pyramid.inner.\1.\2.",
    r"res1\.0\.": "pyramid.join.0.",
    r"res2\.(\d)\.": r"pyramid.refine_joined.pair.\1.",
    r"cls\.(\d)\.": r"pyramid.classify.\1.",
}


class Case(NamedTuple):
    golden: Golden
    method: PFENet
    query_labels: Tensor
    """(B, H, W) uint8 with void."""
    support_labels: Tensor
    """(B, K, H, W) uint8 with void."""
    query: Tensor
    """(B, 3, H, W) images; empty where the case gives features."""
    support: Tensor
    """(B, K, 3, H, W)."""

    def check(self, name: str, actual: Tensor) -> None:
        self.golden.check(name, actual)

    def double(self) -> Case:
        """The same in float64: deep gradients depend on ReLUs that fall either way in float32."""
        return self._replace(
            method=copy.deepcopy(self.method).double(), query=self.query.double(), support=self.support.double()
        )

    def episode(self, *, training: bool = False) -> Episode:
        """A training episode of the case's images or features."""
        method = self.method
        if "query.f2.noise" in trunks.inputs(self.golden):
            (f2, f3, deep), (g2, g3, support_deep) = (
                trunks.features(self.golden, role, self.query.dtype) for role in trunks.ROLES
            )
            query = method.embed_query(joined((f2, f3))), deep
            support = method.embed_support(joined((g2, g3))), support_deep
        elif training:
            masks = self.support_labels.flatten(0, 1)
            support, query = method.encode_training(self.support.flatten(0, 1), masks, self.query)
        else:
            query = method.encode(self.query)
            support = method.encode_support(self.support.flatten(0, 1), self.support_labels.flatten(0, 1))
        shape = self.support_labels.shape
        return Episode(
            tuple(level.view(shape[0], 1, shape[1], *level.shape[1:]) for level in support),
            self.support_labels[:, None],
            tuple(query),
            (shape[2], shape[3]),
            tuple(range(shape[0])),
            self.query_labels,
        )


@pytest.fixture(scope="module", params=["pfenet-1", "pfenet-2", "pfenet-3"])
def case(request: pytest.FixtureRequest, test_data: Path) -> Case:
    return load(request.param, test_data)


def load(name: str, test_data: Path) -> Case:
    """The case with its method, filled."""
    data = golden.load(test_data / "golden", name)
    vgg = name == "pfenet-3"
    bins = PFENet.Switches.bins if name == "pfenet-2" else _BINS
    backbone = {"pfenet-1": "resnet50-deep", "pfenet-2": "resnet50", "pfenet-3": "vgg16"}[name]
    method = make(PFENet, build_backbone(backbone, PFENet.layout), bins=bins).eval()
    trunks.fill(method, data, NAMES, vgg=vgg)
    labels = {role: trunks.with_void(trunks.given(data, f"{role}_mask")) for role in trunks.ROLES}
    images = {role: trunks.images(data, role) for role in trunks.ROLES}
    if name == "pfenet-3":
        labels["support"][:, 3] = 0
    return Case(data, method, labels["query"], labels["support"], images["query"], images["support"])


@torch.no_grad()
def test_features(case: Case) -> None:
    if case.golden.case == "pfenet-2":
        pytest.skip("this case gives features")
    backbone = case.method.backbone
    stages = backbone.stages
    wanted = ("layer2", "layer3") if "layer2" in stages else ("pool3", "pool4")
    for name, level in zip(("layer2", "layer3"), backbone.levels(case.query, wanted), strict=True):
        case.check(f"features.{name}.query", level)
    case.check("features.layer4.query", read_levels(backbone, case.query).deep)
    case.check("features.layer3.support0", backbone.levels(case.support[:, 0], wanted[1:])[0])
    case.check("features.layer4.support0", read_levels(backbone, case.support[:, 0], case.support_labels[:, 0]).deep)


@torch.no_grad()
@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_guidance_and_logits(case: Case, precision: torch.dtype) -> None:
    if precision == torch.float64:
        case = case.double()
    method, episode = case.method, case.episode()
    case.check("query_feature", episode.query[0])
    case.check("support_feature.shot0", episode.support[0][:, 0, 0])
    vectors, priors = method.guidance(episode)
    case.check("support_vectors", vectors)
    case.check("support_vector", vectors.mean(dim=1))
    case.check("priors", priors)
    case.check("prior", priors.mean(dim=1, keepdim=True))
    weights = cell_weights(case.support_labels, episode.support[0])
    case.check("support_vectors", support_vectors(episode.support[0][:, 0], weights))
    with _watched(method) as seen:
        small = method.pyramid.fuse(method.branches(episode), tuple(episode.query[0].shape[2:]))
    for name, output in seen.items():
        case.check(name, output)
    assert len(seen) == 4 * 4 + 3 + 2
    for place, own in enumerate(method.pyramid.classified([seen[f"branch{i}.feature"] for i in range(4)])):
        case.check(f"branch{place}.inner_logits", own)
    case.check("logits_small", small)
    logits = method.predict(episode)
    assert isinstance(logits, Tensor)
    case.check("logits", logits)


@contextmanager
def _watched(method: PFENet) -> Iterator[dict[str, Tensor]]:
    """What the modules of the pyramid read and give, by its name in the case."""
    pyramid, seen = method.pyramid, {}
    parts = {"fused": pyramid.join, "fused_residual": pyramid.refine_joined}
    parts |= {f"branch{i}.merged": part for i, part in enumerate(pyramid.merge)}
    parts |= {f"branch{i + 1}.topdown": part for i, part in enumerate(pyramid.enrich)}
    parts |= {f"branch{i}.feature": part for i, part in enumerate(pyramid.refine)}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            seen[name] = output
            if name.endswith("merged"):
                branch = name.partition(".")[0]
                seen[f"{branch}.pooled_query"], _, seen[f"{branch}.prior"] = inputs

        return hook

    hooks = [part.register_forward_hook(keep(name)) for name, part in parts.items()]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def test_a_training_step(case: Case) -> None:
    """Losses and gradients, and the averages that drift: batch statistics of each pass; dropout off; in float64."""
    if case.golden.case == "pfenet-3":
        pytest.skip("this case stores no training step")
    case = case.double()
    method = case.method
    prepare(method, PFENet.recipe(load_protocol("pascal5i"), 1))
    for module in method.modules():
        if isinstance(module, nn.Dropout2d):
            module.eval()
    episode = case.episode(training=True)
    losses = method.loss(episode)
    case.check("train.main_loss", losses["query"])
    case.check("train.aux_loss", losses["inner"])
    case.check("train.total_loss", losses["query"] + losses["inner"])
    (losses["query"] + losses["inner"]).backward()
    parameters = dict(method.named_parameters())
    case.golden.check_gradients(
        {name: parameters[trunks.own_name(name, NAMES)] for name in case.golden.gradients()}, 16
    )
    assert all(p.grad is None for name, p in parameters.items() if name.startswith("backbone."))
    averages = [entry["name"] for entry in case.golden.info["outputs"] if entry["name"].startswith("train.after.")]
    assert len(averages) == (4 if case.golden.case == "pfenet-1" else 0)
    for name in averages:
        case.check(name, dict(method.named_buffers())[trunks.own_name(name.removeprefix("train.after."), NAMES)])


@torch.no_grad()
def test_the_pyramids_own_losses(case: Case) -> None:
    if case.golden.case != "pfenet-2":
        pytest.skip("without batch statistics: the case that gives features")
    case = case.double()
    episode = case.episode()
    stored = torch.from_numpy(case.golden.stored["train.inner_losses"])
    whole = case.method.loss(episode)["inner"]
    torch.testing.assert_close(whole, stored.double().mean(), atol=2e-6, rtol=0)
    half = copy.copy(case.method)
    half.switches = dataclasses.replace(half.switches, inner_weight=0.5)
    torch.testing.assert_close(half.loss(episode)["inner"], whole / 2)
