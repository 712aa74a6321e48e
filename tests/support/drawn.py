"""Random ResNet-18s are drawn once for each state of the random numbers.

Most of what a tiny run takes is drawing the eleven million numbers of a whole ResNet-18, of which two stages are kept.
From the same state come the same numbers: a second time they are copied, as far as they are asked for, and the random
numbers go on from where drawing would have left them.
"""

from __future__ import annotations

import copy
import sys
from collections import OrderedDict
from types import ModuleType
from typing import Any

_RESNETS = "fsseg_bench.nn.backbones.resnet"
_FEW = 3
"""Networks kept at a time, of 47 MB each."""


class _Copied:
    """A network whose parts are copied when they are asked for."""

    def __init__(self, network: Any) -> None:
        self._network = network

    def __getattr__(self, name: str) -> Any:
        part = copy.deepcopy(getattr(self._network, name))
        setattr(self, name, part)
        return part


def draw_once() -> None:
    """From now on, where the module of ResNets is imported; without importing it, or torch."""
    module = sys.modules.get(_RESNETS)
    if module is not None and hasattr(module, "ResNet") and not hasattr(module, "drawn_once"):
        _install(module)


def _install(module: ModuleType) -> None:
    import torch

    drawn: OrderedDict[bytes, tuple[Any, torch.Tensor]] = OrderedDict()
    draw = module.ResNet.whole_network.__func__

    def whole_network(cls: Any) -> Any:
        made = torch.empty(0)  # on whatever device, and of whatever kind, things are made now
        plain = type(made) is torch.Tensor and made.dtype == torch.float32 and made.device.type == "cpu"
        if cls.network != "resnet18" or not plain:
            return draw(cls)
        before = torch.get_rng_state().numpy().tobytes()
        if before not in drawn:
            drawn[before] = draw(cls), torch.get_rng_state()
            while len(drawn) > _FEW:
                drawn.popitem(last=False)
        drawn.move_to_end(before)
        network, after = drawn[before]
        torch.set_rng_state(after)
        return _Copied(network)

    module.ResNet.whole_network = classmethod(whole_network)
    module.drawn_once = drawn
