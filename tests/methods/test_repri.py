"""RePRI's fit against autograd, and against outputs of the authors' code."""

from __future__ import annotations

import copy
import re
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fsseg_bench.method import Episode
from fsseg_bench.nn.backbones import build_backbone
from fsseg_bench.nn.bilinear import resize
from fsseg_bench.nn.prototypes import unit_cells
from fsseg_bench.protocol.load import load_protocol
from fsseg_bench.recipe.steps import rate
from fsseg_methods._pspnet import SmoothedPSPNet
from fsseg_methods._repri import Fit, FitSwitches, cell_labels, fit, scores
from fsseg_methods.repri import RePRI
from tests.support import golden
from tests.support import golden_trunks as trunks
from tests.support.golden import Golden
from tests.support.heads import TinyBackbone, make, random_episode

NAMES = {
    r"ppm\.features\.(\d)\.1\.": r"base.pool.bins.\1.0.",
    r"ppm\.features\.(\d)\.2\.": r"base.pool.bins.\1.1.",
    r"bottleneck\.([01])\.": r"base.bottleneck.\1.",
    r"classifier\.": "base.classify.",
}
LISTED = {"repri-1": (9,), "repri-2": (9,), "repri-3": (9, 29)}


class Given(NamedTuple):
    """Unit cells, labels at the cells and valid cells of the query, as :func:`fit` takes them."""

    query: Tensor
    support: Tensor
    labels: Tensor
    valid: Tensor


def by_autograd(given: Given, switches: FitSwitches, share: float | None = None) -> tuple[Tensor, Tensor, list[Tensor]]:
    """The last classifier of one episode and its loss before each step and after the last, by the formulas."""
    eps = 1e-10
    (query, support), shots = (
        (given.query[0].flatten(1), given.support[0].transpose(0, 1).flatten(1)),
        len(given.labels[0]),
    )
    labels, valid = given.labels[0].flatten(), given.valid[0].flatten()

    def likelihood(cells: Tensor) -> Tensor:
        cosines = w @ cells / (w.norm() * cells.norm(dim=0) + eps)
        foreground = torch.sigmoid(switches.alpha * cosines - b)
        return torch.stack((1 - foreground, foreground))

    w = support[:, labels == 1].sum(dim=1) / ((labels == 1).sum() + eps)
    b = torch.zeros((), dtype=w.dtype)
    b = switches.alpha * (w @ query / (w.norm() * query.norm(dim=0) + eps)).mean()
    weight = 1 / shots if switches.kl_weight is None else switches.kl_weight
    other = 1 / shots if switches.entropy_weight is None else switches.entropy_weight
    pi, losses = likelihood(query)[:, valid].mean(dim=1), []
    if share is not None:
        pi = torch.tensor((1 - share, share), dtype=w.dtype)
    for step in range(switches.steps + 1):
        w, b = w.detach().requires_grad_(), b.detach().requires_grad_()
        inside, shown = likelihood(query)[:, valid], labels != 255
        mean = inside.mean(dim=1)
        if step in switches.estimate_after and share is None:
            pi, weight = mean.detach(), weight + 1
        wanted = torch.stack((labels == 0, labels == 1))[:, shown].to(w.dtype)
        cross_entropy = -(wanted * (likelihood(support)[:, shown] + eps).log()).sum(dim=0).mean()
        entropy = -(inside * (inside + eps).log()).sum(dim=0).mean()
        losses.append(cross_entropy + weight * (mean * (mean / (pi + eps)).log()).sum() + other * entropy)
        if step < switches.steps:
            moves = torch.autograd.grad(losses[-1], (w, b))
            w, b = (old - switches.eta * move for old, move in zip((w, b), moves, strict=True))
    return w, b, losses


def random_given(shots: int) -> Given:
    episode = random_episode(batch=1, shots=shots, channels=7, cells=(6, 5), dtype=torch.float64)
    support, query = episode.support[:, 0], episode.query
    labels = cell_labels(episode.support_masks[:, 0], (6, 5))
    valid = torch.rand(1, 6, 5, generator=torch.Generator().manual_seed(3)) < 0.8
    return Given(F.normalize(query, dim=1), F.normalize(support, dim=2), labels, valid)


@pytest.mark.parametrize(
    ("shots", "switches", "share"),
    [
        (1, FitSwitches(steps=12), None),
        (3, FitSwitches(steps=6, estimate_after=(2, 4), eta=0.1), None),
        (2, FitSwitches(steps=4, kl_weight=0.7, entropy_weight=0.0, alpha=5.0, estimate_after=()), None),
        (1, FitSwitches(steps=0), None),
        (2, FitSwitches(steps=12), 0.3),
        (1, FitSwitches(steps=5), 0.05),
    ],
)
def test_the_closed_form_is_the_gradient(shots: int, switches: FitSwitches, share: float | None) -> None:
    given = random_given(shots)
    shares = [] if share is None else [torch.tensor([share], dtype=torch.float64)]
    found = fit(*given, *shares, options=switches)
    w, b, losses = by_autograd(given, switches, share)
    torch.testing.assert_close(found.prototypes[0, -1], w.detach(), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found.biases[0, -1], b.detach(), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found.loss[0], torch.stack(losses).detach(), rtol=1e-9, atol=1e-12)
    if switches.steps:
        assert float((found.prototypes[0, -1] - found.prototypes[0, 0]).norm()) > 1e-3


def test_void_and_padded_cells_move_nothing() -> None:
    """But for the first bias, which is a mean over all cells of the query."""
    given = random_given(2)
    options = FitSwitches(steps=3)
    support = torch.where((given.labels == 255)[:, :, None], given.support.roll(1, dims=2), given.support)
    changed = given._replace(support=support)
    assert not torch.equal(support, given.support)
    torch.testing.assert_close(fit(*changed, options=options), fit(*given, options=options))
    padded = torch.where(given.valid[:, None], given.query, given.query.roll(1, dims=1))
    first, other = (fit(*given._replace(query=query), options=options) for query in (given.query, padded))
    assert not torch.equal(first.biases, other.biases)
    torch.testing.assert_close(first.prototypes[:, 0], other.prototypes[:, 0])


def test_a_support_without_a_foreground_cell_gives_finite_numbers() -> None:
    given = random_given(1)
    found = fit(*given._replace(labels=torch.zeros_like(given.labels)), options=FitSwitches(steps=5))
    assert all(bool(part.isfinite().all()) for part in found)
    void = fit(*given._replace(labels=torch.full_like(given.labels, 255)), options=FitSwitches(steps=5))
    assert all(bool(part.isfinite().all()) for part in void)


def test_the_method_fits_to_all_of_the_query_and_says_how() -> None:
    method = make(RePRI, TinyBackbone(7), 3, steps=11).double().eval()
    episode = random_episode(batch=2, shots=2, channels=7, dtype=torch.float64)
    logits, diagnostics = method.predict(episode)
    for i in range(2):
        one = episode.item(i)
        labels = cell_labels(one.support_masks[:, 0], (5, 4))
        units = F.normalize(one.query, dim=1), F.normalize(one.support[:, 0], dim=2)
        w, b, _ = by_autograd(Given(*units, labels, torch.ones(1, 5, 4, dtype=torch.bool)), method.switches)
        cosines = torch.einsum("c,bchw->bhw", w / w.norm(), units[0])
        full = F.interpolate(20 * cosines[:, None], size=one.size, mode="bilinear", align_corners=True) - b
        torch.testing.assert_close(logits[i : i + 1, 1:], full.detach(), rtol=1e-8, atol=1e-9)
    assert not bool(logits[:, 0].any())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(method.predict(episode).logits, logits)
    assert {name: tuple(value.shape) for name, value in diagnostics.items()} == dict.fromkeys(
        ("cross_entropy", "kl", "entropy", "foreground", "proportion"), (2, 12)
    )
    changes = diagnostics["proportion"].diff(dim=1)
    assert changes.abs().gt(0).nonzero()[:, 1].tolist() == [8, 8]
    torch.testing.assert_close(diagnostics["proportion"][:, 9], diagnostics["foreground"][:, 9])


def test_the_truth_is_read_where_it_is_asked_for_alone() -> None:
    episode = random_episode(batch=2, shots=1, channels=7, dtype=torch.float64)
    labels = episode.support_masks[:, 0, 0].clone()
    labels[0, :16] = 255
    labels[1] = 255  # all of it void: every cell counts
    shown = replace(episode, query_labels=labels)
    cells = cell_labels(labels[:, None], (5, 4))[:, 0]
    query, support = F.normalize(episode.query, dim=1), F.normalize(episode.support[:, 0], dim=2)
    given = (query, support, cell_labels(episode.support_masks[:, 0], (5, 4)))
    known = torch.stack((cells[0] != 255, torch.ones(5, 4, dtype=torch.bool)))
    assert 0 < int(known[0].sum()) < 20
    share = torch.tensor([float((cells[0] == 1).sum() / known[0].sum()), 0.0], dtype=torch.float64)
    expected = {
        "none": fit(*given, torch.ones(2, 5, 4, dtype=torch.bool), options=FitSwitches(steps=11)),
        "void": fit(*given, known, options=FitSwitches(steps=11)),
        "proportions": fit(*given, known, share, options=FitSwitches(steps=11)),
    }
    for truth, found in expected.items():
        method = make(RePRI, TinyBackbone(7), 3, steps=11, truth=truth).double().eval()
        assert method.reads_truth is (truth != "none")
        torch.testing.assert_close(method.fitted(query, shown), found, rtol=1e-9, atol=1e-12)
    assert not torch.equal(expected["none"].biases, expected["void"].biases)
    with pytest.raises(ValueError, match="needs the query's labels"):
        method.predict(replace(episode, query_labels=None))


@pytest.mark.parametrize(("protocol", "iterations"), [("pascal5i", 49_608), ("coco20i-b", 136_802)])
def test_the_base_network_trains_as_published_and_nothing_else_does(protocol: str, iterations: int) -> None:
    rules = load_protocol(protocol)
    for shot in (1, 5):
        (stage,) = RePRI.stages_before(rules, shot)
        recipe = stage.recipe.checked()
        assert (stage.name, stage.network, stage.images) == ("base", SmoothedPSPNet, "base")
        assert (recipe.iterations, recipe.batch, recipe.freeze, recipe.bn) == (iterations, 12, "none", "train")
        assert (recipe.optimizer, recipe.momentum, recipe.weight_decay) == ("sgd-nesterov", 0.9, 1e-4)
        assert rate(recipe, 0) == pytest.approx(2.5e-3)
        assert rate(recipe, iterations // 2) == pytest.approx((2.5e-3 + 1e-6) / 2)
        assert rate(recipe, iterations) == pytest.approx(1e-6)
        assert set(recipe.sources) <= set(recipe.settings())
        assert RePRI.recipe(rules, shot).iterations == 0


class Case(NamedTuple):
    golden: Golden
    network: RePRI
    given: Given
    size: tuple[int, int]
    checked: set[str]

    def check(self, name: str, actual: Tensor) -> None:
        self.golden.check(name, actual)
        self.checked.add(name)


def labels_of(data: Golden, role: str) -> Tensor:
    """A mask with void, and as many last rows of padding as the case says."""
    labels = trunks.with_void(trunks.given(data, f"{role}_mask"))
    if rows := re.search(r"255 in the last (\d+) rows", data.info["construction"][f"{role} label"]):
        labels[..., -int(rows[1]) :, :] = 255
    return labels


def cells_of(data: Golden, network: RePRI, role: str, dtype: torch.dtype) -> Tensor:
    """Features: of the network, or those that the case gives."""
    if "colour" in trunks.inputs(data):
        images = trunks.images(data, role)
        features = network.encode(images.flatten(0, -4).to(dtype))
        assert isinstance(features, Tensor)
        return features.view(*images.shape[:-3], *features.shape[1:])
    mask, direction = trunks.given(data, f"{role}_mask")[..., ::8, ::8], trunks.given(data, "direction")
    own = direction.view(len(direction), *[1] * (mask.ndim - 3), -1, 1, 1)
    return (trunks.given(data, f"{role}.noise") + mask.unsqueeze(-3) * own).clamp_min(0).to(dtype)


@pytest.fixture(scope="module", params=list(LISTED))
def loaded(request: pytest.FixtureRequest, test_data: Path) -> tuple[Golden, RePRI]:
    return load(test_data, request.param)


def load(test_data: Path, name: str) -> tuple[Golden, RePRI]:
    """A case, and the method with its parameters."""
    data = golden.load(test_data / "golden", name)
    whole = "colour" in trunks.inputs(data)
    trunk = build_backbone("resnet50-deep", RePRI.layout) if whole else TinyBackbone(4)
    network = make(RePRI, trunk, 15, estimate_after=LISTED[name]).eval()
    if whole:
        trunks.fill(network, data, NAMES)
    return data, network


@torch.no_grad()
def case_of(data: Golden, network: RePRI, precision: torch.dtype) -> Case:
    network = copy.deepcopy(network).to(precision)
    query, support = (cells_of(data, network, role, precision) for role in trunks.ROLES)
    if "colour" in trunks.inputs(data):
        data.check("features.query", query)
        data.check("features.support", support)
    grid = (query.shape[2], query.shape[3])
    labels = {role: labels_of(data, role) for role in trunks.ROLES}
    valid = cell_labels(labels["query"][:, None], grid)[:, 0] != 255
    units = unit_cells(query).cells, unit_cells(support.flatten(0, 1)).cells.view_as(support)
    given = Given(*units, cell_labels(labels["support"], grid), valid)
    assert given.valid.sum(dim=(1, 2)).tolist() == data.info["conditioning"]["valid query cells per task"]
    return Case(data, network, given, (labels["query"].shape[1], labels["query"].shape[2]), set())


def check_fit(case: Case) -> None:
    """Every stored number of the fit and of what follows."""
    switches = case.network.switches
    found: Fit = fit(*case.given, options=switches)
    after = {name: getattr(found, name)[:, :-1].T for name in ("cross_entropy", "kl", "entropy", "loss")}
    for name in ("cross_entropy", "kl", "entropy"):
        case.check(f"trace.{name}", after[name])
    case.check("trace.loss_sum", after["loss"].sum(dim=1))
    case.check("trace.mean_prediction", both(found.foreground[:, :-1].T))
    case.check("trace.bias", found.biases[:, 1:].T)
    case.check("trace.pi", both(found.proportion[:, 1:].T))
    case.check("bias.0", found.biases[:, 0])
    case.check("pi.0", both(found.proportion[:, 0]))
    for name in case.golden.stored:
        kind, _, step = name.partition(".")
        if kind == "prototype":
            case.check(name, found.prototypes[:, int(step)])
        if kind == "probabilities" and step != "final":
            cosines = scores(case.given.query, found.prototypes[:, int(step)], alpha=switches.alpha)
            p = (cosines - found.biases[:, int(step), None, None]).sigmoid()
            case.check(name, torch.stack((1 - p, p), dim=1))
    final = scores(case.given.query, found.prototypes[:, -1], alpha=switches.alpha)
    case.check("logits", resize(final, case.size, align_corners=True))
    case.network.fitted = lambda query, episode: found  # type: ignore[method-assign]
    empty = torch.zeros(len(final), 1, 1, *case.size, dtype=torch.uint8)
    episode = Episode(final, empty, case.given.query, case.size, tuple(range(len(final))))
    case.check("probabilities.final", case.network.predict(episode).logits.softmax(dim=1))
    elsewhere = ("features.", "base_logits", "train.", "grad.")
    assert case.checked == {name for name in case.golden.stored if not name.startswith(elsewhere)}


def both(foreground: Tensor) -> Tensor:
    """Shares of background and foreground, as the last axis."""
    return torch.stack((1 - foreground, foreground), dim=-1)


@pytest.mark.real_data
@torch.no_grad()
@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_every_step_of_the_fit(loaded: tuple[Golden, RePRI], precision: torch.dtype) -> None:
    check_fit(case_of(*loaded, precision))


@pytest.mark.real_data
@pytest.mark.slow
@torch.no_grad()
def test_features_and_logits_of_the_base_network(test_data: Path) -> None:
    """Its loss and gradients: test_pspnet_parity."""
    data, network = load(test_data, "repri-1")
    network.double()
    images = trunks.images(data, "query").double()
    levels = network.backbone.levels(images, ("layer2", "layer3", "layer4"))
    for name, level in zip(("layer2", "layer3", "layer4"), levels, strict=True):
        data.check(f"features.{name}.query", level.relu())
    data.check("features.ppm.query", network.base.pool(levels[-1].relu()))
    features = network.encode(images)
    data.check("features.query", features)
    assert isinstance(features, Tensor)
    data.check("base_logits", resize(network.base.classify(features), (97, 97), align_corners=True))
