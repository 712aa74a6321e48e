"""The pyramid pooling network against outputs of RePRI's and BAM's own code: losses, gradients, running statistics."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fsseg_bench.nn.backbones import build_backbone
from fsseg_methods._pspnet import LAYOUT, PSPNet, SmoothedPSPNet
from tests.support import golden
from tests.support.golden import Golden

pytestmark = [pytest.mark.real_data, pytest.mark.slow]

STEM = {"0": "conv1", "1": "bn1", "3": "conv2", "4": "bn2", "6": "conv3", "7": "bn3"}


def own_name(name: str) -> str | None:
    """The name of the authors' parameter here; None where it is of BAM's second stage."""
    if stem := re.fullmatch(r"layer0\.(\d)\.(\w+)", name):
        return f"backbone.{STEM[stem[1]]}.{stem[2]}"
    if name.startswith("layer"):
        return f"backbone.{name}"
    if pool := re.fullmatch(r"(?:ppm|learner_base\.0)\.features\.(\d)\.(\d)\.(\w+)", name):
        return f"base.pool.bins.{pool[1]}.{int(pool[2]) - 1}.{pool[3]}"
    name = re.sub(r"^learner_base\.1\.4\.", "classify.", name)
    name = re.sub(r"^learner_base\.1\.", "bottleneck.", name)
    name = re.sub(r"^classifier\.", "classify.", name)
    return f"base.{name}" if name.startswith(("bottleneck.", "classify.")) else None


def voided(labels: np.ndarray, of: np.ndarray) -> np.ndarray:
    """``labels``, void where the right or lower neighbour in ``of`` has another value."""
    found = labels.copy()
    found[:, :, :-1][of[:, :, :-1] != of[:, :, 1:]] = 255
    found[:, :-1][of[:, :-1] != of[:, 1:]] = 255
    return found


def batch(data: Golden, other: str) -> tuple[Tensor, Tensor]:
    query, support = data.input("query_mask"), data.input("support_mask")
    colour = data.input("colour")[:, :, None, None]
    images = [data.input("query_noise") + 2 * query[:, None] * colour]
    noise = data.input("support_noise")
    images += [noise[:, k] + 2 * support[:, k, None] * colour for k in range(noise.shape[1])]
    masks = np.concatenate([query, *(support[:, k] for k in range(noise.shape[1]))])
    extra = data.input(other)
    labels = np.zeros(masks.shape, dtype=np.int64)
    for i in range(len(labels)):
        labels[i][extra[i] == 1] = 8 + i % 8
        labels[i][masks[i] == 1] = 1 + i % 7
    return torch.from_numpy(np.concatenate(images)), torch.from_numpy(voided(labels, labels).astype(np.uint8))


@pytest.mark.parametrize(
    ("case", "network", "other", "prefix"),
    [("repri-1", SmoothedPSPNet, "other_mask", "train."), ("bam-1", PSPNet, "stage1_mask", "stage1.")],
)
def test_losses_and_gradients_of_the_base_network(
    test_data: Path, case: str, network: type[PSPNet], other: str, prefix: str
) -> None:
    data = golden.load(test_data / "golden", case)
    model = network(build_backbone("resnet50-deep", LAYOUT), 15)
    tensors = model.state_dict()
    names = {entry["name"]: own_name(entry["name"]) for entry in data.info["parameters"]}
    for entry in data.info["parameters"]:
        if (name := names[entry["name"]]) is not None:
            data.fill(entry, tensors[name])
    assert {name for name in names.values() if name} == {n for n in tensors if not n.endswith("num_batches_tracked")}
    model.double().train()
    for module in model.modules():
        if isinstance(module, nn.Dropout2d):
            module.eval()
    images, labels = batch(data, other)
    (loss,) = model.labelled_loss(images.double(), labels).values()
    loss.backward()
    data.check(f"{prefix}loss", loss)
    parameters, after = dict(model.named_parameters()), model.state_dict()
    checked = 0
    for output in (entry["name"] for entry in data.info["outputs"]):
        if output.startswith((f"{prefix}grad.", "grad.")) and (prefix == "stage1.") == output.startswith("stage1."):
            own = names[output.partition("grad.")[2]]
            gradient = parameters[str(own)].grad
            assert gradient is not None
            data.check(output, gradient)
            checked += 1
        if output.startswith(f"{prefix}after."):
            data.check(output, after[str(names[output.removeprefix(f"{prefix}after.")])])
    assert checked >= 8
