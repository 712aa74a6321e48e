"""VGG-16 as PANet cut it: output stride 8, five blocks of convolutions, no batch-norm."""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from fsseg_bench.nn.backbones.base import Backbone
from fsseg_bench.nn.catalogue import BackboneFacts

_CONVOLUTIONS = (2, 2, 3, 3, 3)
_DILATED = "conv5"
_STRIDE_OF_POOL = {"pool1": 2, "pool2": 2, "pool3": 2, "pool4": 1}


class VGG(Backbone):
    """VGG-16 without its head (Wang et al., PANet, ICCV 2019).

    Every max-pool is 3x3 with padding 1; the first three have stride 2, the fourth stride 1, and there is no
    fifth. The convolutions of ``conv5`` are dilated by 2 and the ReLU after the last one is removed. Stages
    are ``conv1`` (after its ReLU), ``pool1``, ..., ``conv5``.
    """

    def __init__(self, facts: BackboneFacts) -> None:
        super().__init__(facts)
        layers: list[nn.Module] = []
        bounds = [0]
        width = 3
        for stage in self.stages:
            if stage in _STRIDE_OF_POOL:
                layers.append(nn.MaxPool2d(3, stride=_STRIDE_OF_POOL[stage], padding=1))
            else:
                spread = 2 if stage == _DILATED else 1
                for _ in range(_CONVOLUTIONS[int(stage[-1]) - 1]):
                    layers.append(nn.Conv2d(width, self.channels[stage], 3, padding=spread, dilation=spread))
                    layers.append(nn.ReLU(inplace=True))
                    width = self.channels[stage]
            bounds.append(len(layers))
        self.features = nn.Sequential(*layers[:-1])
        self._bounds = dict(zip(self.stages, pairwise(bounds), strict=True))
        for module in self.features:
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias)

    def stage_modules(self, stage: str) -> tuple[nn.Module, ...]:
        """The convolutions and ReLUs, or the pool, of a stage."""
        start, end = self._bounds[stage]
        return tuple(self.features[start:end])
