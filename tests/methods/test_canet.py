"""CANet: the contract, its stages and parameters, what is trained and how."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from fsseg_bench.engine.build import assemble
from fsseg_bench.engine.optimise import prepare
from fsseg_bench.method import Episode, History
from fsseg_bench.protocol.load import load_protocol
from fsseg_methods.canet import CANet


def test_stages_at_the_authors_size() -> None:
    built = assemble(CANet, "resnet50", "none", {}, 0)[0].eval()
    seen = {}
    for name in ("conv1", "maxpool", "layer1", "layer2", "layer3"):
        built.backbone.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, name=name: seen.update({name: tuple(output.shape[1:])})
        )
    with torch.no_grad():
        features = built.encode(torch.randn(1, 3, 321, 321))
    assert seen == {
        "conv1": (64, 161, 161),
        "maxpool": (64, 81, 81),
        "layer1": (256, 81, 81),
        "layer2": (512, 41, 41),
        "layer3": (1024, 41, 41),
    }
    assert features.shape == (1, 256, 41, 41)
    assert float(features.min()) == 0
    dilations = [m.dilation for m in built.backbone.layer3.modules() if getattr(m, "kernel_size", None) == (3, 3)]
    assert dilations == [(2, 2)] * 6
    assert [m.stride for m in built.backbone.layer2[0].modules() if hasattr(m, "kernel_size")] == [
        (2, 2),
        (1, 1),
        (1, 1),
        (2, 2),
    ]


@pytest.mark.parametrize(
    ("backbone", "width"),
    [("resnet101", 256), ("vgg16", 256), ("resnet18", 256), ("resnet18-layer3", 256), ("resnet18-layer2", 128)],
)
def test_other_backbones(backbone: str, width: int) -> None:
    built = assemble(CANet, backbone, "none", {}, 0)[0].eval()
    with torch.no_grad():
        assert built.encode(torch.randn(1, 3, 40, 33)).shape[1] == width


def test_gradient_reaches_the_head_alone() -> None:
    """Under the authors' recipe: the trunk is frozen, everything else learns; attention from two shots on."""
    built = assemble(CANet, "resnet18-layer2", "none", {"dropout": 0.0}, 0)[0]
    prepare(built, CANet.recipe(load_protocol("pascal5i"), 5))
    support, query = built.encode_training(torch.randn(4, 3, 65, 65), torch.ones(4, 65, 65), torch.randn(2, 3, 65, 65))
    masks = (torch.rand(2, 1, 2, 65, 65) < 0.5).to(torch.uint8)
    labels = (torch.rand(2, 65, 65) < 0.5).to(torch.uint8)
    past = torch.rand(2, 9, 9, requires_grad=True)
    episode = Episode(
        support.view(2, 1, 2, *support.shape[1:]), masks, query, (65, 65), (0, 1), labels, history=History((past, past))
    )
    built.switches = dataclasses.replace(built.switches, history_rate=1.0)
    built.loss(episode)["query"].backward()
    for name, parameter in built.named_parameters():
        trained = not name.startswith("backbone.")
        assert (parameter.grad is not None and bool(parameter.grad.any())) is trained, name
    assert episode.history is not None
    assert episode.history.kept is not None
    assert not episode.history.kept.requires_grad


def test_the_light_form_starts_larger_and_drops_nothing() -> None:
    def rates(built: CANet) -> set[float]:
        return {module.p for module in built.modules() if isinstance(module, torch.nn.Dropout2d)}

    full = assemble(CANet, "resnet18-layer3", "none", {}, 0)[0]
    light = assemble(CANet, "resnet18-layer2", "none", {}, 0)[0]
    assert isinstance(full, CANet)
    assert isinstance(light, CANet)
    assert (rates(full), rates(light)) == ({0.5}, {0.0})
    assert abs(float(full.compare.joined.weight.detach().std()) - 0.01) < 1e-4
    assert abs(float(light.compare.joined.weight.detach().std()) - (2 / (256 * 9)) ** 0.5) < 1e-3
    chosen = assemble(CANet, "resnet18-layer2", "none", {"dropout": 0.25, "small_start": True}, 0)[0]
    assert isinstance(chosen, CANet)
    assert rates(chosen) == {0.25}
    assert abs(float(chosen.compare.joined.weight.detach().std()) - 0.01) < 1e-4


def test_length_of_training() -> None:
    epochs = 200 * sum(3 * n for n in (2286, 3425, 5883, 2086)) / 4 / 4
    assert CANet.recipe(load_protocol("pascal5i"), 1).iterations == round(epochs, -3)
    light = CANet.recipe(load_protocol("shapes5i"), 1)
    assert light.augment == "enlarged-crop-supports"
