"""Parity cases of the prototype mixture models, as methods, images and the outputs of every step."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fsseg_bench.method import Episode
from fsseg_bench.nn.backbones import build_backbone
from fsseg_bench.nn.bilinear import resize
from fsseg_methods._pmms.method import _MixtureMethod, group_masks
from fsseg_methods._pmms.mixture import component_probabilities, fit_mixtures, probability_map
from tests.support import golden
from tests.support.golden import Golden
from tests.support.heads import make

_NAMES = (
    (r"model_res\.(.*)", r"backbone.\1"),
    (r"model_backbone\.cls\.0\.(.*)", r"backbone.extra.\1"),
    (r"layer5\.(.*)", r"mid.embed.\1"),
    (r"layer55\.0\.(.*)", r"activation.join.joined.\1"),
    (r"layer55\.1\.(.*)", r"activation.norm.\1"),
    (r"layer56\.(.*)", r"activation.merge.\1"),
    (r"layer6\.layer6_0\.(.*)", r"classify.aspp.image.\1"),
    (r"layer6\.layer6_1\.(.*)", r"classify.aspp.point.\1"),
    (r"layer7\.(.*)", r"classify.project.\1"),
    (r"layer9\.(.*)", r"classify.classify.\1"),
)


def own_name(official: str, method: _MixtureMethod) -> str:
    """The name in ``method``'s state of an official parameter."""
    for pattern, replacement in _NAMES:
        if re.fullmatch(pattern, official):
            return re.sub(pattern, replacement, official)
    if found := re.fullmatch(r"layer6\.layer6_(\d)\.(.*)", official):
        return f"classify.aspp.dilated.{int(found[1]) - 2}.{found[2]}"
    if found := re.fullmatch(r"residule(\d)\.(.*)", official):
        return f"refine.blocks.{int(found[1]) - 1}.{found[2]}"
    found = re.fullmatch(r"model_backbone\.features_(\d)\.(\d)\.(.*)", official)
    assert found is not None, official
    convolutions = [n for n, m in method.backbone.named_modules() if isinstance(m, nn.Conv2d) and n != "extra"]
    before = (0, 2, 4, 7, 10)[int(found[1]) - 1]
    return f"backbone.{convolutions[before + int(found[2]) // 2]}.{found[3]}"


@dataclass
class Case:
    """One parity case with its method, filled with the case's weights, in evaluation mode."""

    golden: Golden
    method: _MixtureMethod
    dtype: torch.dtype = torch.float32
    outputs: dict[str, list[Tensor]] = field(default_factory=dict)
    """What each watched module gave, one entry a stage."""

    @classmethod
    def load(cls, folder: Path, name: str, kind: type[_MixtureMethod]) -> Case:
        data = golden.load(folder, name)
        backbone = "vgg16" if "vgg" in data.info["network"] else "resnet50"
        case = cls.of(data, make(kind, build_backbone(backbone, kind.layout)))
        case._fill()
        return case

    @classmethod
    def of(cls, data: Golden, method: _MixtureMethod) -> Case:
        """A case with a method that is filled already."""
        case = cls(data, method.eval())
        starts = tuple(
            torch.from_numpy(data.stored[entry["name"]]).mT.expand(data.info["constants"]["batch"], -1, -1)
            for entry in data.info["random_draws"]
        )
        method.starts = lambda episode: starts  # type: ignore[method-assign]
        case._watch()
        return case

    def _fill(self) -> None:
        state = self.method.state_dict()
        filled = set()
        with torch.no_grad():
            for entry in self.golden.info["parameters"]:
                name = own_name(entry["name"], self.method)
                value = self.golden.value(entry["name"], tuple(entry["shape"]), entry["kind"])
                assert state[name].shape == value.shape, name
                state[name].copy_(torch.from_numpy(value))
                filled.add(name)
        assert {name for name in state if not name.endswith("num_batches_tracked")} == filled

    def _watch(self) -> None:
        method = self.method
        for name, module in (
            ("activation", method.activation),
            ("refined", method.refine),
            ("aspp", method.classify.aspp),
            ("head_feature", method.classify.project),
            ("logits", method.classify),
        ):
            module.register_forward_hook(lambda _m, _i, out, name=name: self._keep(name, out))
        method.activation.merge.register_forward_pre_hook(lambda _m, args: self._keep("merged", args[0]))

    def _keep(self, name: str, tensor: Tensor) -> None:
        self.outputs.setdefault(name, []).append(tensor.detach())

    def double(self) -> Case:
        """The same case in float64."""
        self.method.double()
        self.dtype = torch.float64
        return self

    def images(self, name: str) -> Tensor:
        """An input by name, its first axes flattened to one."""
        values = torch.from_numpy(self.golden.input(name)).to(self.dtype)
        return values.flatten(0, -4)

    def episode(self, support: Tensor, query: Tensor) -> Episode:
        """Features (B*K, ...) and (B, ...) as a training episode."""
        masks = torch.from_numpy(self.golden.input("support_mask")).to(torch.uint8)
        labels = torch.from_numpy(self.golden.input("query_mask")).to(torch.uint8)[:, 0]
        B, K = masks.shape[:2]
        size = (labels.shape[1], labels.shape[2])
        support = support.unflatten(0, (B, 1, K))
        return Episode(support, masks[:, None, :, 0], query, size, tuple(range(B)), labels)

    def encoded(self) -> Episode:
        """The episode of the case, each image encoded by the method."""
        return self.episode(
            self.method.encode(self.images("support_rgb")), self.method.encode(self.images("query_rgb"))
        )

    def check(self, name: str, actual: Tensor) -> None:
        """``actual`` equals a stored output within 1e-4 of the output's largest magnitude."""
        entry = next(e for e in self.golden.info["outputs"] if e["name"] == name)
        values = actual.detach().numpy()
        self.golden.assert_close(name, values)
        kept = np.ascontiguousarray(values).reshape(-1)[:: entry.get("k", 1)]
        worst = float(np.abs(kept - self.golden.stored[name].reshape(-1)).max())
        assert worst <= 1e-4 * entry["max_abs"], f"{name}: off by {worst:.3g} of {entry['max_abs']:.3g}"

    def check_stages(self, episode: Episode) -> None:
        """Every step of every stage, from the mixtures to the logits."""
        self.outputs.clear()
        logits = self.method.stage_logits(episode)
        support = episode.support[:, 0].transpose(1, 2).flatten(2)
        groups = group_masks(episode.support_masks, tuple(episode.support.shape[-2:])).to(support)
        for stage, (count, start) in enumerate(zip(self.method.components, self.method.starts(episode), strict=True)):
            one = fit_mixtures(support, groups, start.to(support), iterations=1)
            fitted = fit_mixtures(support, groups, start.to(support))
            self.check(f"mu_fg_iter1.k{count}", one[:, 0])
            self.check(f"mu_bg_iter1.k{count}", one[:, 1])
            self.check(f"mu_fg.k{count}", fitted[:, 0])
            self.check(f"mu_bg.k{count}", fitted[:, 1])
            self.check(f"component_prob.k{count}", component_probabilities(episode.query, fitted).flatten(1, 2))
            self.check(f"prob_map.k{count}", probability_map(episode.query, fitted).flip(1))
            self.check(f"activation_sum.k{count}", self.outputs["merged"][stage][:, : self.method.width])
            for name in ("activation", "refined", "aspp", "head_feature", "logits"):
                self.check(f"{name}.k{count}", self.outputs[name][stage])
            assert torch.equal(logits[stage], self.outputs["logits"][stage])

    def check_prediction(self, logits: Tensor) -> None:
        """Softmax and labels at the size at which the case is scored."""
        height, width = self.golden.info["constants"]["scoring_size"]
        probabilities = resize(logits, (height, width)).softmax(dim=1)
        self.check("pred_softmax", probabilities)
        entry = next(e for e in self.golden.info["outputs"] if e["name"] == "pred_label")
        sure = ((probabilities[:, 0] - probabilities[:, 1]).abs() >= 1e-4).flatten()[:: entry["k"]]
        labels = probabilities.argmax(dim=1).flatten()[:: entry["k"]]
        assert torch.equal(labels[sure], torch.from_numpy(self.golden.stored["pred_label"]).flatten()[sure])

    def check_gradients(self) -> None:
        """The gradients of the total loss, in float64; call after :meth:`double`."""
        self.method.zero_grad()
        sum(self.method.loss(self.encoded()).values()).backward()
        parameters = dict(self.method.named_parameters())
        for entry in self.golden.info["outputs"]:
            if entry["name"].startswith("grad."):
                gradient = parameters[own_name(entry["name"].removeprefix("grad."), self.method)].grad
                assert gradient is not None
                self.check(entry["name"], gradient)

    def check_batch_statistics(self) -> None:
        """One pass with every batch-norm in training mode and no dropout: logits, loss, running statistics."""
        method = self.method.train()
        method.backbone.set_batch_norm("train")
        for module in method.modules():
            if isinstance(module, nn.Dropout2d):
                module.eval()
        with torch.no_grad():
            masks = torch.from_numpy(self.golden.input("support_mask")).to(torch.uint8).flatten(0, 2)
            features = method.encode_training(self.images("support_rgb"), masks, self.images("query_rgb"))
            statistics = {name: tensor.clone() for name, tensor in method.state_dict().items()}
            episode = self.episode(*features)
            self.outputs.clear()
            losses = method.loss(episode)
        self.check("train.logits", self.outputs["logits"][-1])
        self.check("train.loss", torch.stack(list(losses.values())).sum()[None])
        for entry in self.golden.info["outputs"]:
            if "running" in entry["name"]:
                self.check(entry["name"], statistics[own_name(entry["name"].removeprefix("train."), method)])
