"""What parity cases of one family share: labels with void, images, given features, and names of their backbones."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from tests.support.golden import Golden

_STEM = {"0": "conv1", "1": "bn1", "3": "conv2", "4": "bn2", "6": "conv3", "7": "bn3"}
_GROUPS = {"0": 0, "1": 7, "2": 14, "3": 24, "4": 34}  # where a VGG's layerN begins among torchvision's features
ROLES = ("query", "support")


def inputs(data: Golden) -> set[str]:
    """Names of the case's inputs."""
    return {entry["name"] for entry in data.info["inputs"]}


def given(data: Golden, name: str) -> Tensor:
    """An input as a tensor."""
    return torch.from_numpy(data.input(name))


def with_void(masks: Tensor) -> Tensor:
    """Labels, uint8, with 255 where the right or the lower neighbour has another value."""
    edge = torch.zeros_like(masks, dtype=torch.bool)
    edge[..., :-1] |= masks[..., :-1] != masks[..., 1:]
    edge[..., :-1, :] |= masks[..., :-1, :] != masks[..., 1:, :]
    return masks.to(torch.uint8).masked_fill(edge, 255)


def images(data: Golden, role: str) -> Tensor:
    """Noise with the episode's colour on its object: queries (B, 3, H, W), supports (B, K, 3, H, W); empty if given."""
    if "colour" not in inputs(data):
        return torch.zeros(0)
    mask = given(data, f"{role}_mask")
    colour = given(data, "colour")
    own = colour.view(len(colour), *[1] * (mask.ndim - 3), 3, 1, 1)
    return given(data, f"{role}_noise") + 2 * mask.unsqueeze(-3) * own


def features(data: Golden, role: str, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Levels f2, f3 and f4 of a case that gives features, episodes and shots as one axis."""
    masks = given(data, f"{role}_mask")[..., ::8, ::8]
    levels = []
    for level in ("f2", "f3", "f4"):
        noise, direction = given(data, f"{role}.{level}.noise"), given(data, f"direction.{level}")
        own = direction.view(len(direction), *[1] * (noise.ndim - 4), -1, 1, 1)
        made = (noise + 1.5 * masks.unsqueeze(-3) * own).clamp_min(0)
        levels.append(made.reshape(-1, *made.shape[-3:]).to(dtype))
    return tuple(levels)


def own_name(official: str, heads: Mapping[str, str], *, vgg: bool = False) -> str:
    """The name here of an official parameter: of the backbone (layer0 to layer4), or by patterns of the head."""
    layer, _, rest = official.partition(".")
    if not layer.startswith("layer"):
        found = [re.sub(f"^{pattern}", own, official) for pattern, own in heads.items() if re.match(pattern, official)]
        assert len(found) == 1, official
        return found[0]
    place, _, last = rest.partition(".")
    if vgg:
        return f"backbone.features.{_GROUPS[layer[-1]] + int(place)}.{last}"
    return f"backbone.{_STEM[place]}.{last}" if layer == "layer0" else f"backbone.{official}"


def fill(module: torch.nn.Module, data: Golden, heads: Mapping[str, str], *, vgg: bool = False) -> None:
    """The case's parameters; those of a backbone that the case has not stay."""
    state = module.state_dict()
    filled = set()
    for entry in data.info["parameters"]:
        name = own_name(entry["name"], heads, vgg=vgg)
        data.fill(entry, state[name])
        filled.add(name)
    whole = any(name.startswith("backbone.") for name in filled)
    left = {name for name in set(state) - filled if whole or not name.startswith("backbone.")}
    assert all(name.endswith("num_batches_tracked") for name in left), left
