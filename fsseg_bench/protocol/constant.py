"""The loss of a predictor that looks at no image: the reference beside a training loss.

Most pixels are background, so that a cross-entropy looks low long before anything is learnt. The best prediction that
is the same at every pixel gives each label its share of the pixels; its cross-entropy is the entropy of these shares.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fsseg_bench.conventions import Float64


def constant_loss(counts: npt.ArrayLike) -> float:
    """The cross-entropy of the best constant prediction, in nats.

    Args:
        counts: (L,) pixels of each label, void left out; or (I, L), pooled over I steps.

    Returns:
        -sum_l p_l log p_l with p_l the share of label l; 0 where no pixel is labelled, as the loss is.
    """
    pooled = np.atleast_2d(np.asarray(counts, np.float64)).sum(axis=0)
    total = pooled.sum()
    if total == 0:
        return 0.0
    shares = pooled[pooled > 0] / total
    return float(-(shares * np.log(shares)).sum()) + 0.0  # no -0.0


def constant_losses(counts: npt.ArrayLike) -> Float64:
    """(I,) what the best constant prediction of a whole training loses in each step, in nats.

    Args:
        counts: (I, L) pixels of each label by step, void left out; a step without any loses 0.
    """
    table = np.asarray(counts, np.float64)
    totals = table.sum(axis=1)
    pooled = table.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where(pooled > 0, np.log(pooled / pooled.sum()), 0.0)  # a label that never occurs costs nothing
        shares = np.where(totals[:, None] > 0, table / totals[:, None], 0.0)
    losses: Float64 = -shares @ logs
    return losses
