"""Between host and device without a wait: a call that makes the host wait for a GPU keeps the GPU idle afterwards."""

from __future__ import annotations

import torch
from torch import Tensor


def may_look(tensor: Tensor) -> bool:
    """Whether its numbers can be read without waiting for a device: work that depends on them may then be left out.

    Elsewhere the same result is computed in a form whose shapes do not depend on the numbers.
    """
    return tensor.device.type == "cpu"


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A host tensor on ``device``, without a wait; a copy, except on the CPU.

    ``tensor.to(device)`` and ``torch.tensor(..., device=...)`` wait until the device has come to the copy and made it.
    """
    if device.type == "cpu":
        return tensor
    # from pageable memory the driver would copy in pieces, while this process waits; pinned memory stays as it is
    return tensor.pin_memory().to(device, non_blocking=True)
