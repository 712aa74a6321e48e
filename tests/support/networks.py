"""Backbones and images for tests of networks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fsseg_bench.nn.backbones import Backbone, build_backbone
from fsseg_bench.nn.layout import AS_LISTED, Layout

NAMES = (
    "vgg16",
    "vgg16-bn",
    *(
        f"resnet{depth}{cut}"
        for depth in ("18", "50", "101", "50-deep", "101-deep")
        for cut in ("", "-layer3", "-layer2")
    ),
)
"""The built-in backbones, ResNets also cut."""


def noise_images(count: int = 1, size: tuple[int, int] = (65, 65), seed: int = 0) -> Tensor:
    """(count, 3, *size) normally distributed."""
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(seed))


def shuffle_norms(network: nn.Module) -> None:
    """Gives batch-norms statistics, weights and biases that do something."""
    generator = torch.Generator().manual_seed(1)
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.weight.data.uniform_(0.5, 1.5, generator=generator)
            norm.bias.data.normal_(0, 0.2, generator=generator)
            norm.running_mean.normal_(0, 0.2, generator=generator)
            norm.running_var.uniform_(0.3, 3, generator=generator)


def random_backbone(name: str, layout: Layout = AS_LISTED, seed: int = 0) -> Backbone:
    """The backbone with random weights and batch-norms that do something."""
    torch.manual_seed(seed)
    backbone = build_backbone(name, layout)
    shuffle_norms(backbone)
    return backbone


def meta_backbone(name: str, layout: Layout = AS_LISTED) -> Backbone:
    """The backbone without numbers, for shapes alone."""
    with torch.device("meta"):
        return build_backbone(name, layout)


def stage_shapes(backbone: Backbone, height: int, width: int) -> dict[str, tuple[int, ...]]:
    """Channels, height and width of every stage's output of a backbone without numbers."""
    levels = backbone.levels(torch.empty(1, 3, height, width, device="meta"), backbone.stages)
    return {stage: tuple(level.shape[1:]) for stage, level in zip(backbone.stages, levels, strict=True)}


def copied_state(module: nn.Module) -> dict[str, Tensor]:
    """A copy of the module's state, to compare with later."""
    return {key: tensor.clone() for key, tensor in module.state_dict().items()}


def changed_keys(before: dict[str, Tensor], module: nn.Module) -> set[str]:
    """The keys whose values are no longer those of ``before``."""
    return {key for key, tensor in module.state_dict().items() if not torch.equal(before[key], tensor)}


def norms_of(network: nn.Module) -> dict[str, nn.BatchNorm2d]:
    """The batch-norms of a network by name."""
    return {name: m for name, m in network.named_modules() if isinstance(m, nn.BatchNorm2d)}


def fold_by_hand(backbone: Backbone, *, only: str = "") -> Backbone:
    """Each batch-norm folded by hand into its convolution: what stays adds the shift, or nothing beside a bias."""
    layers = dict(backbone.named_modules())
    order = list(layers)
    for name, norm in norms_of(backbone).items():
        if not name.startswith(only):
            continue
        convolution = layers[order[order.index(name) - 1]]
        assert isinstance(convolution, nn.Conv2d)
        with torch.no_grad():
            scale = norm.weight / (norm.running_var + norm.eps).sqrt()
            shift = norm.bias - norm.running_mean * scale
            convolution.weight.mul_(scale[:, None, None, None])
            norm.weight.fill_(1)
            norm.bias.copy_(shift)
            norm.running_mean.zero_()
            norm.running_var.fill_(1)
            if convolution.bias is not None:
                convolution.bias.mul_(scale).add_(shift)
                norm.bias.zero_()
    return backbone
