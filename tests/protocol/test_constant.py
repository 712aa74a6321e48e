"""The constant predictor's loss by hand, and against a search for the best constant."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fsseg_bench.protocol.constant import constant_loss, constant_losses


def test_by_hand() -> None:
    assert constant_loss([50, 50]) == pytest.approx(math.log(2))
    assert constant_loss([75, 25]) == pytest.approx(0.5623351446188083)  # 3/4 log 4/3 + 1/4 log 4
    assert constant_loss([2, 1, 1]) == pytest.approx(1.5 * math.log(2))  # 2-way
    assert constant_loss([[50, 0], [25, 25]]) == pytest.approx(0.5623351446188083)  # pooled, not averaged
    assert constant_loss([10, 0]) == 0.0
    assert constant_loss([0, 0]) == 0.0


@pytest.mark.parametrize("labels", [2, 4])
def test_no_constant_logits_do_better(labels: int) -> None:
    generator = torch.Generator().manual_seed(labels)
    truth = (torch.rand(2, 13, 17, generator=generator) ** 3 * labels).long()
    truth[0, :4] = 255
    logits = torch.zeros(labels, requires_grad=True)
    optimiser = torch.optim.LBFGS([logits], max_iter=200)

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        value = F.cross_entropy(logits[None, :, None, None].expand(2, -1, 13, 17), truth, ignore_index=255)
        value.backward()
        return value

    optimiser.step(loss)
    counts = [int((truth == label).sum()) for label in range(labels)]
    assert constant_loss(counts) == pytest.approx(loss().item(), abs=1e-5)


def test_each_step_under_the_constant_of_the_whole_training() -> None:
    counts = [[60, 40], [90, 10], [100, 0], [50, 50]]  # together 300 to 100
    expected = [-(b * math.log(0.75) + f * math.log(0.25)) / 100 for b, f in counts]
    assert constant_losses(counts) == pytest.approx(expected)
    assert np.mean(constant_losses(counts)) == pytest.approx(constant_loss(counts))
    assert constant_losses([[5, 0], [7, 0]]) == pytest.approx([0, 0])
    assert constant_losses([[0, 0], [3, 1]]) == pytest.approx([0, 0.5623351446188083])
