"""OSLSM: a second network reads the masked support and writes the weights of the query's pixel classifier.

Title: One-Shot Learning for Semantic Segmentation
Authors: Amirreza Shaban et al.
Venue: BMVC
Year: 2017
Fidelity: from code
Transductive: no
Test-time training: none
Extra data: none
Distinctive: hashing: each weight of the query's classifier is one output of the support's network, its sign drawn once.
Differences: the hash (which output, which sign) is drawn here; the authors' files leave it to be filled in by hand.
Differences: torchvision's weights and normalisation, not Caffe's (BGR, 0 to 255 less the mean).
Differences: void pixels are left out of the loss; in the authors' code they are background (void_in_bg=true).
Differences: the protocol's lists, image size and last checkpoint; the authors train on images of native size.
Differences: 60,000 steps as in the paper, each of 10 episodes as in the authors' code (paper: 1).
Differences: ResNets (not in the paper): supports at full size, mean feature, one linear layer; queries at stride 8.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsseg_bench.method import VOID, Episode, Method, feature_map
from fsseg_bench.nn.backbones import Backbone
from fsseg_bench.nn.bilinear import resize, transposed_bilinear
from fsseg_bench.nn.itemwise import itemwise
from fsseg_bench.nn.layout import Layout, VGGLayout
from fsseg_bench.nn.losses import segmentation_loss
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.recipe import Recipe
from fsseg_methods._shared import CODE, FIXED_BN, from_code, labels_of, light_recipe

_SUPPORT_SIDE = 224  # what fc6 was trained for
_CROP = 40  # pixels, for the 120 that the first convolution pads beyond its usual 1
_WEIGHTS_A_CODE = 4  # 4097 weights from 1000 numbers in the paper


class OSLSM(Method):
    """Logistic regression on the query's features, with weights that the support determines.

    With a VGG-16 both branches have their own fully connected layers: fc6 to fc8 on the support, fc6 and fc7,
    applied at every cell, on the query.

    """

    @dataclass(frozen=True)
    class Switches:
        """Of the hash and the loss."""

        hash_seed: int = 0
        """Of the random places and signs that turn the support's numbers into weights."""
        void_in_bg: bool = False
        """Whether void pixels of the query count as background in training, as in the authors' code."""

    switches: Switches
    places: Tensor
    """(D + 1,) int64: from which number of the support's network each weight comes."""
    signs: Tensor
    """(D + 1,): +1 or -1, by which it is multiplied."""

    max_ways: ClassVar[int | None] = 1
    default_backbone: ClassVar[str] = "vgg16"
    layout: ClassVar[Layout] = Layout(
        families=(
            VGGLayout(
                pool_kernel=2,
                pool_strides=(2, 2, 2, 2, 2),
                dilations=(1, 1, 1, 1, 1),
                first_padding=121,
                classifier=True,
            ),
        )
    )

    def __init__(self, backbone: Backbone, switches: Switches) -> None:
        super().__init__(backbone, switches)
        self.conditioning = copy.deepcopy(backbone)
        classifier = backbone._modules.get("classifier")
        self.fully_connected = classifier is not None
        if isinstance(classifier, nn.Sequential):
            self.conditioning.first_convolution.padding = (1, 1)
            last = classifier[-1]
            assert isinstance(last, nn.Linear)
            codes, channels = last.out_features, last.in_features
            backbone.classifier = classifier[:-1]
        else:
            channels = backbone.out_channels
            codes = -(-channels // _WEIGHTS_A_CODE)
            self.conditioning_codes = nn.Linear(channels, codes)
        places, signs = random_hash(channels + 1, codes, switches.hash_seed)
        self.register_buffer("places", places)
        self.register_buffer("signs", signs)

    def encode(self, images: Tensor) -> Tensor:
        """Query features (M, D, h, w) >= 0: fc7's, of ceil((H + 240)/32) - 6 rows, or a ResNet's last stage."""
        features = F.relu(self.backbone(images))
        if self.fully_connected:
            return at_every_cell(self.backbone.get_submodule("classifier"), features)
        return features

    def encode_support(self, images: Tensor, masks: Tensor) -> Tensor:
        """Weights and bias (M, D + 1) of the classifier that each support, outside its mask mean grey, gives."""
        return hashed(self.codes(images, masks), self.places, self.signs)

    def codes(self, images: Tensor, masks: Tensor) -> Tensor:
        """The numbers (M, m) that the support's network gives: fc8's 1000, before any softmax, for VGG-16."""
        features = F.relu(self.conditioning(self.shown(images, masks)))
        if self.fully_connected:
            codes: Tensor = self.conditioning.get_submodule("classifier")(features.flatten(1))
        else:
            codes = self.conditioning_codes(features.mean(dim=(2, 3)))
        return codes

    def shown(self, images: Tensor, masks: Tensor) -> Tensor:
        """What the support's network sees of images (M, 3, H, W): 0, the mean colour, outside masks (M, H, W) == 1."""
        inside = (masks == 1)[:, None].to(images.dtype)
        if self.fully_connected:
            size = (_SUPPORT_SIDE, _SUPPORT_SIDE)
            images, inside = resize(images, size), F.interpolate(inside, size=size, mode="nearest")
        return images * inside

    def predict(self, episode: Episode) -> Tensor:
        """Logits (B, 2, H, W): 0 for the background, and the largest of the shots' for the class."""
        maps = shot_maps(feature_map(episode.query), feature_map(episode.support)[:, 0])
        if self.fully_connected:
            full = transposed_bilinear(maps, self.backbone.stride, episode.size, _CROP)
        else:
            full = resize(maps, episode.size)
        best = full.amax(dim=1, keepdim=True)
        return torch.cat((torch.zeros_like(best), best), dim=1)

    def loss(self, episode: Episode) -> dict[str, Tensor]:
        """Logistic loss, the mean over all pixels that count."""
        labels = labels_of(episode, void=0 if self.switches.void_in_bg else VOID)
        return {"query": segmentation_loss(self.predict(episode), labels)}

    @classmethod
    def recipe(cls, protocol: Protocol, shot: int) -> Recipe:
        """The authors' training with one support, the same for both data sets and any number of shots.

        Their loss is a sum over pixels; for the mean, the rate is multiplied by the number of pixels and the decay
        divided by it, which gives the same steps.
        """
        if protocol.synthetic:
            return light_recipe()
        pixels = protocol.image.size**2
        return from_code(
            {
                "iterations": "paper; the authors' code goes on to 1,000,000",
                "batch": f"{CODE}: gradients averaged over 10 episodes; paper: 1",
                "lr": f"{CODE}: 1e-10 for the sum over pixels; ours: the mean, at the protocol's size",
                "weight_decay": f"{CODE}: 5e-4 for the sum over pixels; ours: divided as the rate is multiplied",
                "bn": FIXED_BN,
            },
            iterations=60_000,
            batch=10,
            lr=1e-10 * pixels,
            momentum=0.99,
            weight_decay=5e-4 / pixels,
            schedule="constant",
            lr_factors={"conditioning": 0.1},
            bias_lr_factor=2.0,
            bias_decay=False,
            freeze="none",
            bn="eval",
            augment="none",
            train_shots=1,
        )


def random_hash(weights: int, codes: int, seed: int) -> tuple[Tensor, Tensor]:
    """For each of ``weights`` weights one of ``codes`` numbers, int64, and a sign +-1, float; the same each time."""
    generator = torch.Generator("cpu").manual_seed(seed)
    places = torch.randint(codes, (weights,), generator=generator, device="cpu")
    signs = 2.0 * torch.randint(2, (weights,), generator=generator, device="cpu") - 1
    return places, signs


def hashed(codes: Tensor, places: Tensor, signs: Tensor) -> Tensor:
    """Numbers (M, m) as weights (M, D): weight i is signs[i] times number places[i]."""
    return signs * codes[:, places]


def at_every_cell(layers: nn.Module, features: Tensor) -> Tensor:
    """Fully connected layers applied wherever their window fits into features (M, C, h, w).

    The first linear layer reads a square window, channel by channel and row by row, as it would read a flattened
    map; the others read one cell.
    """
    for layer in layers.children():
        if isinstance(layer, nn.Linear):
            side = round((layer.in_features / features.shape[1]) ** 0.5)
            kernel = layer.weight.view(layer.out_features, -1, side, side)
            features = F.conv2d(features, kernel, layer.bias)
        else:
            features = layer(features)
    return features


# One episode at a time on a CPU: the matrix product rounds differently in another batch.
@itemwise
def shot_maps(query: Tensor, weights: Tensor) -> Tensor:
    """Logits (B, K, h, w) of query features (B, D, h, w) under K classifiers (B, K, D + 1), the bias last."""
    maps = weights[..., :-1] @ query.flatten(2) + weights[..., -1:]
    return maps.view(*maps.shape[:2], *query.shape[2:])
