"""Weights of EfficientNets in the names of the package EfficientNet-PyTorch and its Lite version, by timm's names.

There the blocks of all stages are counted on, a name begins with an underscore, and a block's norms are counted from
its expansion, which the blocks of the first stage lack: ``_blocks.1._depthwise_conv`` is timm's ``blocks.1.0.conv_dw``.
The parameters are those of timm's ``tf_efficientnet_*`` (TensorFlow's padding).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor, nn

_OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_INSIDE = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_se_reduce": "se.conv_reduce",
    "_se_expand": "se.conv_expand",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_WITHOUT_EXPANSION = _INSIDE | {"_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_BLOCK = re.compile(r"_blocks\.(\d+)\.(.+)")


def is_theirs(given: Mapping[str, Tensor]) -> bool:
    """Whether the names are that package's."""
    return "_conv_stem.weight" in given and any(_BLOCK.fullmatch(key) for key in given)


def timm_names(model: nn.Module, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors by the names of timm's ``model``, which may be cut; what it has no place for keeps its name."""
    stages: dict[str, nn.Module] = dict(model.get_submodule("blocks").named_children())
    places = [f"blocks.{stage}.{block}." for stage, blocks in stages.items() for block, _ in blocks.named_children()]
    expanded = {match[1] for key in given if (match := _BLOCK.fullmatch(key)) and match[2].startswith("_expand_conv.")}
    found = {}
    for key, tensor in given.items():
        before, names, rest = "", _OUTSIDE, key
        if match := _BLOCK.fullmatch(key):
            if int(match[1]) >= len(places):
                found[key] = tensor
                continue
            before, rest = places[int(match[1])], match[2]
            names = _INSIDE if match[1] in expanded else _WITHOUT_EXPANSION
        part, dot, own = rest.partition(".")
        found[f"{before}{names[part]}{dot}{own}" if part in names else key] = tensor
    return found
