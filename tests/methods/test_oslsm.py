"""OSLSM: its branches against torchvision's VGG-16 and loops, hashing by hand, stage shapes, gradients."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from fsseg_bench.engine.build import assemble
from fsseg_bench.engine.optimise import build_optimizer, prepare
from fsseg_bench.method import Episode
from fsseg_bench.nn.backbones import build_backbone
from fsseg_bench.protocol.load import load_protocol
from fsseg_methods.oslsm import OSLSM, at_every_cell, hashed, random_hash, shot_maps
from tests.support.heads import make, random_masks
from tests.support.networks import noise_images, random_backbone

WIDTH, CLASSES = 12, 7


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> OSLSM:
    """On VGG-16 whose fully connected layers are narrow, in evaluation mode."""
    monkeypatch.setattr("fsseg_bench.nn.backbones.vgg._WIDTH", WIDTH)
    monkeypatch.setattr("fsseg_bench.nn.backbones.vgg._CLASSES", CLASSES)
    torch.manual_seed(0)
    method = make(OSLSM, build_backbone("vgg16", OSLSM.layout))
    with torch.no_grad():  # the branches apart, and fully connected layers that say something
        for trunk in (method.backbone, method.conditioning):
            for module in trunk.modules():
                if isinstance(module, nn.Linear):
                    module.weight.normal_(0, (2 / module.in_features) ** 0.5)
                if isinstance(module, nn.Linear | nn.Conv2d):
                    module.bias.normal_(0, 0.1)
    return method.eval()


def _episode(method: OSLSM, batch: int, shots: int, side: int = 33, *, labels: bool = False) -> Episode:
    masks = random_masks((batch, 1, shots, side, side), 3)
    images = noise_images(batch * shots, (side, side), 4)
    support = method.encode_support(images, masks.flatten(0, 2)).unflatten(0, (batch, 1, shots))
    query = method.encode(noise_images(batch, (side, side), 5))
    labelled = random_masks((batch, side, side), 6) if labels else None
    return Episode(support, masks, query, (side, side), tuple(range(batch)), labelled)


# --- sizes ---


def test_stage_shapes_and_parameters_of_the_published_network() -> None:
    """500 pixels: 740, 370, 185, 93, 47, 24, fc6 18; 608 upsampled, cut from 40."""
    with torch.device("meta"):
        method = make(OSLSM, build_backbone("vgg16", OSLSM.layout)).eval()
    stages = ("conv1", "pool1", "pool2", "pool3", "pool4", "pool5")
    images = torch.empty(1, 3, 500, 500, device="meta")
    sizes = [level.shape[-1] for level in method.backbone.levels(images, stages)]
    assert sizes == [740, 370, 185, 93, 47, 24]
    query = method.encode(images)
    assert query.shape == (1, 4096, 18, 18)
    assert (18 + 1) * method.backbone.stride == 608
    masks = torch.empty(1, 500, 500, dtype=torch.uint8, device="meta")
    assert method.shown(images, masks).shape == (1, 3, 224, 224)
    assert method.conditioning(torch.empty(1, 3, 224, 224, device="meta")).shape == (1, 512, 7, 7)
    assert method.codes(images, masks).shape == (1, 1000)
    assert (method.places.shape, method.signs.shape) == ((4097,), (4097,))
    conditioning = sum(p.numel() for p in method.conditioning.parameters())
    assert conditioning == torchvision.models.get_weight("VGG16_Weights.IMAGENET1K_V1").meta["num_params"]
    assert sum(p.numel() for p in method.backbone.parameters()) == conditioning - 1000 * 4097
    assert {name.partition(".")[0] for name, _ in method.named_parameters()} == {"backbone", "conditioning"}


@pytest.mark.parametrize("side", [1, 33, 224, 321, 417, 473, 500, 512, 641])
def test_the_crop_fits_every_size(side: int) -> None:
    with torch.device("meta"):
        method = make(OSLSM, build_backbone("vgg16", OSLSM.layout)).eval()
    cells = method.encode(torch.empty(1, 3, side, side, device="meta")).shape[-1]
    assert cells == -(-(side + 240) // 32) - 6
    assert 40 + side <= (cells + 1) * 32


def test_upsampled_cells_lie_where_they_looked(small: OSLSM) -> None:
    """A cell's window is centred at 32 i - 8.5 pixels: 7 pool cells of 32, less 120 of padding."""
    query = torch.zeros(1, WIDTH, 5, 5)
    query[0, 0, 2, 3] = 1
    weights = torch.zeros(1, 1, 1, WIDTH + 1)
    weights[..., 0] = 1
    episode = Episode(weights, torch.ones(1, 1, 1, 100, 100), query, (100, 100), (0,))
    shown = small.predict(episode)[0, 1]
    pixels = torch.arange(100.0)
    assert float((shown.sum(dim=1) * pixels).sum() / shown.sum()) == pytest.approx(32 * 2 - 8.5)
    columns = shown.sum(dim=0)
    assert columns.argmax().item() in {87, 88}
    assert columns[87] == columns[88]  # 32 * 3 - 8.5


# --- the support's branch ---


def test_hashing_by_hand() -> None:
    codes = torch.tensor([[1.0, 2.0, 4.0], [-1.0, 0.5, 0.0]])
    places, signs = torch.tensor([2, 0, 0, 1]), torch.tensor([1.0, -1.0, 1.0, -1.0])
    assert hashed(codes, places, signs).tolist() == [[4.0, -1.0, 1.0, -2.0], [0.0, 1.0, -1.0, -0.5]]
    query = torch.tensor([[1.0, 2.0], [0.0, 3.0], [1.0, 0.0]]).view(1, 3, 1, 2)
    maps = shot_maps(query.expand(2, -1, -1, -1), hashed(codes, places, signs)[:, None])
    # 4*1 - 0 + 1 - 2 and 4*2 - 3 + 0 - 2; then 0 + 0 - 1 - 0.5 and 0 + 3 - 0 - 0.5
    assert maps.flatten(1).tolist() == [[3.0, 3.0], [-1.5, 2.5]]


def test_the_hash_is_random_once_and_for_all() -> None:
    places, signs = random_hash(4097, 1000, 0)
    again, other = random_hash(4097, 1000, 0), random_hash(4097, 1000, 1)
    assert torch.equal(places, again[0])
    assert torch.equal(signs, again[1])
    assert not torch.equal(places, other[0])
    assert not torch.equal(signs, other[1])
    assert (places.min() >= 0, places.max() < 1000, set(signs.tolist())) == (True, True, {-1.0, 1.0})
    assert abs(float(signs.mean())) < 0.05
    assert 950 < len(places.unique()) < 1000  # 1000 (1 - exp(-4.097)) = 983 expected
    # as one matrix with a single +-1 in each row
    matrix = torch.zeros(4097, 1000).scatter_(1, places[:, None], signs[:, None])
    codes = noise_images(1, (20, 50)).flatten(1)[:, :1000]
    torch.testing.assert_close(hashed(codes, places, signs), codes @ matrix.T)


def test_methods_share_the_hash_whatever_their_seed() -> None:
    first, second = (assemble(OSLSM, "resnet18-layer2", "none", {}, seed)[0] for seed in (1, 2))
    assert torch.equal(first.places, second.places)
    assert torch.equal(first.signs, second.signs)
    assert {"places", "signs"} <= first.state_dict().keys()
    third = assemble(OSLSM, "resnet18-layer2", "none", {"hash_seed": 5}, 1)[0]
    assert not torch.equal(first.places, third.places)


def _torchvision_features(trunk: nn.Module, *, ceil: bool) -> nn.Sequential:
    """torchvision's convolutional layers with the weights of a branch."""
    layers = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["D"])
    layers.load_state_dict(trunk.features.state_dict())
    for layer in layers:
        if isinstance(layer, nn.MaxPool2d):
            layer.ceil_mode = ceil
    return layers


def test_codes_are_torchvisions_logits_of_the_masked_support(small: OSLSM) -> None:
    images, masks = noise_images(1, (50, 41)), random_masks((1, 50, 41), 0)
    resized = F.interpolate(images, size=(224, 224), mode="bilinear")
    rows, columns = torch.arange(224) * 50 // 224, torch.arange(224) * 41 // 224
    inside = (masks == 1)[:, rows][:, :, columns]
    seen = torch.where(inside[:, None], resized, 0.0)
    with torch.inference_mode():
        torch.testing.assert_close(small.shown(images, masks), seen, rtol=1e-5, atol=1e-5)
        pooled = _torchvision_features(small.conditioning, ceil=False)(seen)
        codes, expected = small.codes(images, masks), small.conditioning.classifier(pooled.flatten(1))
        assert expected.abs().max() > 0.1
        torch.testing.assert_close(codes, expected, rtol=1e-4, atol=1e-4)
        theta = small.encode_support(images, masks)
    by_hand = [[float(s * code[p]) for p, s in zip(small.places, small.signs, strict=True)] for code in expected]
    torch.testing.assert_close(theta, torch.tensor(by_hand), rtol=1e-4, atol=1e-4)
    assert theta.shape == (1, WIDTH + 1)


def test_pixels_outside_the_mask_do_not_matter(small: OSLSM) -> None:
    images, masks = noise_images(2, (224, 224)), random_masks((2, 224, 224), 0)
    other = torch.where((masks == 1)[:, None], images, 7.0)
    light = make(OSLSM, random_backbone("resnet18-layer2")).eval()
    for method in (small, light):
        assert torch.equal(method.shown(images, masks), method.shown(other, masks))
    assert torch.equal(light.encode_support(images, masks), light.encode_support(other, masks))


# --- the query's branch and the head ---


def test_query_features_are_the_classifier_run_on_every_window(small: OSLSM) -> None:
    images = noise_images(1, (40, 9))
    layers = small.backbone.classifier
    assert [type(layer).__name__ for layer in layers] == ["Linear", "ReLU", "Dropout"] * 2
    with torch.inference_mode():
        actual = small.encode(images)
        x = _torchvision_features(small.backbone, ceil=True)(F.pad(images, (120, 120, 120, 120)))
        windows = [
            [layers(x[:, :, i : i + 7, j : j + 7].flatten(1))[0] for j in range(x.shape[3] - 6)]
            for i in range(x.shape[2] - 6)
        ]
    expected = torch.stack([torch.stack(row) for row in windows]).permute(2, 0, 1)
    assert actual.shape == (1, WIDTH, 3, 2)
    assert (expected > 0).float().mean() > 0.1
    torch.testing.assert_close(actual[0], expected, rtol=1e-4, atol=1e-4)


def test_windows_of_fully_connected_layers_by_hand() -> None:
    layers = nn.Sequential(nn.Linear(2 * 4, 1, bias=False), nn.ReLU(), nn.Linear(1, 1))
    with torch.no_grad():
        layers[0].weight.copy_(torch.tensor([[1.0, 10, 100, 1000, -1, 0, 0, 0]]))
        layers[2].weight.fill_(2)
        layers[2].bias.fill_(0.5)
        features = torch.tensor([[[1.0, 2, 3], [4, 5, 6]], [[1, 2e4, 0], [0, 0, 0]]])[None]
        # 1 + 20 + 400 + 5000 - 1, and 2 + 30 + 500 + 6000 - 20000 below 0
        assert at_every_cell(layers, features).tolist() == [[[[2 * 5420 + 0.5, 0.5]]]]


def _head_by_loops(method: OSLSM, episode: Episode, b: int) -> Tensor:
    """The largest logit of an episode's shots (H, W): dot products, a transposed convolution, the crop."""
    side = torch.tensor([1 - abs(i - 31.5) / 32 for i in range(64)])
    kernel = torch.outer(side, side)[None, None]
    height, width = episode.size
    query = episode.query[b]
    best = torch.full((height, width), -torch.inf)
    for theta in episode.support[b, 0]:
        logits = torch.zeros(query.shape[1:])
        for i in range(query.shape[1]):
            for j in range(query.shape[2]):
                logits[i, j] = theta[-1] + sum(theta[d] * query[d, i, j] for d in range(query.shape[0]))
        full = F.conv_transpose2d(logits[None, None], kernel, stride=32)[0, 0]
        best = torch.maximum(best, full[40 : 40 + height, 40 : 40 + width])
    return best


@pytest.mark.parametrize("shots", [1, 2, 3, 4, 5])
def test_the_head_against_loops(small: OSLSM, shots: int) -> None:
    generator = torch.Generator().manual_seed(shots)
    support = torch.randn(2, 1, shots, WIDTH + 1, generator=generator)
    query = torch.randn(2, WIDTH, 4, 3, generator=generator)
    masks = torch.ones(2, 1, shots, 90, 50, dtype=torch.uint8)
    episode = Episode(support, masks, query, (90, 50), (0, 1))
    logits = small.predict(episode)
    assert logits.shape == (2, 2, 90, 50)
    assert not logits[:, 0].any()
    for b in range(2):
        torch.testing.assert_close(logits[b, 1], _head_by_loops(small, episode, b), rtol=1e-4, atol=1e-4)


def test_light_form_by_hand() -> None:
    """A ResNet's: ReLU, mean over cells, linear, hash; the query's cells under these weights; upsampled."""
    method = make(OSLSM, random_backbone("resnet18-layer2")).eval()
    assert method.conditioning_codes.weight.shape == (32, 128)
    images, masks = noise_images(2, (41, 33)), random_masks((2, 41, 33), 0)
    with torch.inference_mode():
        seen = images * (masks == 1)[:, None]
        pooled = method.conditioning(seen).clamp_min(0).flatten(2).mean(dim=2)
        codes = pooled @ method.conditioning_codes.weight.T + method.conditioning_codes.bias
        theta = method.encode_support(images, masks)
        torch.testing.assert_close(theta, method.signs * codes[:, method.places], rtol=1e-5, atol=1e-5)
        query = method.encode(images[:1])
        torch.testing.assert_close(query, method.backbone(images[:1]).relu())
        episode = Episode(theta[None, None], masks[None, None], query, (41, 33), (0,))
        maps = torch.einsum("kd,dhw->khw", theta[:, :-1], query[0]) + theta[:, -1, None, None]
        expected = F.interpolate(maps[None], size=(41, 33), mode="bilinear").amax(dim=1)
        torch.testing.assert_close(method.predict(episode)[:, 1], expected, rtol=1e-4, atol=1e-4)


# --- loss, gradients, contract ---


def test_loss_is_the_logistic_loss_of_labelled_pixels(small: OSLSM) -> None:
    with torch.no_grad():
        episode = _episode(small, 1, 1, labels=True)
        z = small.predict(episode)[:, 1]
        losses = small.loss(episode)
    labels = episode.query_labels
    kept = labels != 255
    expected = F.binary_cross_entropy_with_logits(z[kept], (labels[kept] == 1).float())
    assert list(losses) == ["query"]
    torch.testing.assert_close(losses["query"], expected)
    small.switches = dataclasses.replace(small.switches, void_in_bg=True)
    expected = F.binary_cross_entropy_with_logits(z, (labels == 1).float())
    torch.testing.assert_close(small.loss(episode)["query"], expected)


@pytest.mark.slow
def test_gradients_reach_both_branches_and_the_hash_stays(small: OSLSM) -> None:
    method = small.eval()  # without dropout
    method.loss(_episode(method, 1, 1, labels=True))["query"].backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in method.parameters())
    assert {"places", "signs"} == {name for name, _ in method.named_buffers()}


def test_rates_and_decay_of_the_recipe(small: OSLSM) -> None:
    recipe = OSLSM.recipe(load_protocol("pascal5i"), 5)
    prepare(small, recipe)
    optimizer = build_optimizer(small, recipe)
    named = {id(p): name for name, p in small.named_parameters()}
    pixels = 417**2
    for group in optimizer.param_groups:
        for p in group["params"]:
            name = named[id(p)]
            factor = (0.1 if name.startswith("conditioning.") else 1) * (2 if name.endswith("bias") else 1)
            assert group["lr"] == pytest.approx(1e-10 * pixels * factor)
            assert group["weight_decay"] == pytest.approx(0 if name.endswith("bias") else 5e-4 / pixels)


@pytest.mark.slow
def test_batches_and_empty_masks_of_the_published_form(small: OSLSM) -> None:
    with torch.no_grad():
        episode = _episode(small, 2, 2)
        together = small.predict(episode)
        for i in range(2):
            part = dataclasses.replace(
                episode, support=episode.support[i : i + 1], query=episode.query[i : i + 1], seeds=(i,)
            )
            torch.testing.assert_close(small.predict(part), together[i : i + 1], rtol=1e-5, atol=1e-5)
        empty = small.encode_support(noise_images(1, (33, 33)), torch.zeros(1, 33, 33, dtype=torch.uint8))
        grey = small.encode_support(torch.zeros(1, 3, 33, 33), torch.ones(1, 33, 33, dtype=torch.uint8))
    assert empty.isfinite().all()
    assert torch.equal(empty, grey)
