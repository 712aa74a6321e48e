"""What PPNet takes from unlabelled images: superpixels, their mean features, and attention to them (Section 3.3)."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsseg_bench.errors import UserError
from fsseg_bench.nn.attention import masked_softmax
from fsseg_bench.nn.host import sent
from fsseg_bench.nn.itemwise import itemwise
from fsseg_bench.nn.prototypes import unit


class Superpixels(NamedTuple):
    """The superpixels of images, S places an image."""

    features: Tensor
    """(M, S, C) means; 0 where there is no superpixel."""
    valid: Tensor
    """(M, S), 1 where there is one and 0 where there is none, in the features' type."""


def slic_labels(images: Tensor, segments: int = 100, compactness: float = 10.0) -> Tensor:
    """SLIC superpixels (Achanta et al., 2012) of RGB images.

    Args:
        images: (M, 3, H, W) in [0, 1].
        segments: about how many an image.
        compactness: how much nearness counts against likeness of colour.

    Returns:
        (M, H, W) int64 on the images' device, numbered from 0. It depends on each image alone. The superpixels are
        found on the CPU: images on a GPU are waited for.

    Raises:
        UserError: scikit-image is not installed.
    """
    segment = functools.partial(_slic(), n_segments=segments, compactness=compactness, start_label=0)
    pictures = images.detach().permute(0, 2, 3, 1).float().cpu().numpy()
    with ThreadPoolExecutor() as pool:  # SLIC releases Python's global lock, so that threads share the work
        labels = list(pool.map(segment, pictures))
    return sent(torch.from_numpy(np.stack(labels).astype(np.int64)), images.device)


def _slic() -> Callable[..., Any]:
    try:
        from skimage.segmentation import slic
    except ImportError:
        raise UserError(
            "superpixels need scikit-image, which is not installed; "
            'install it with pip install "fsseg-bench[superpixels]"'
        ) from None
    function: Callable[..., Any] = slic
    return function


@itemwise
def superpixel_means(features: Tensor, labels: Tensor, *, places: int) -> Superpixels:
    """Mean feature of each superpixel at the features' resolution; superpixels that vanish there have none.

    Args:
        features: (M, C, h, w).
        labels: (M, H, W) int64 >= 0, resized to the nearest pixel.
        places: S; labels from ``places`` on are left out.
    """
    # nearest, not bilinear: a label between two labels would be a third superpixel
    small = F.interpolate(labels[:, None].double(), size=features.shape[-2:], mode="nearest").long().flatten(1)
    members = F.one_hot(small.clamp(max=places), places + 1)[..., :places].to(features.dtype).mT
    counts = members.sum(dim=2)
    means = members @ features.flatten(2).mT / counts.clamp_min(1)[..., None]
    return Superpixels(means, (counts > 0).to(features.dtype))


class Kept(NamedTuple):
    """The superpixels of each image that are like a class, T places each."""

    places: Tensor
    """(B, L, V, T) int64: which superpixel of the image."""
    mask: Tensor
    """(B, L, V, T) bool: whether the place holds one."""


@itemwise
def like_prototypes(nodes: Tensor, valid: Tensor, prototypes: Tensor, *, top: int, threshold: float) -> Kept:
    """For each class and image the superpixels among the ``top`` most alike with a cosine above ``threshold``.

    Nodes are superpixel features (B, V, S, C) of V images, ``valid`` (B, V, S) is above 0 where there is one, and the
    prototypes of L classes are (B, L, C).
    """
    cosines = (unit(prototypes, dim=2) @ unit(nodes, dim=3).flatten(1, 2).mT).unflatten(2, valid.shape[1:])
    found = cosines.masked_fill(valid[:, None] <= 0, -torch.inf).topk(min(top, valid.shape[2]), dim=3)
    return Kept(found.indices, found.values > threshold)


class LatentGraph(nn.Module):
    """Renews part prototypes from superpixels: first among those of an image, then from them to the parts.

    The attention compares embeddings of ``width``.
    """

    def __init__(self, channels: int, width: int = 512) -> None:
        super().__init__()
        self.within = nn.Linear(channels, width, bias=False)
        self.transform = nn.Linear(channels, channels, bias=False)
        self.nodes = nn.Linear(channels, width, bias=False)
        self.parts = nn.Linear(channels, width, bias=False)
        self.scale = 1 / math.sqrt(width)

    def forward(self, parts: Tensor, nodes: Tensor, kept: Tensor, *, group: int, momentum: float) -> Tensor:
        """Parts (B, L, P, C) after all images, ``group`` of them at a time: p <- momentum p + (1 - momentum) p_new.

        Nodes are features of superpixels (B, L, V, T, C), of which those count that are ``kept`` (B, L, V, T) bool.
        """
        contextual = self.inside(nodes, kept)
        for several, mask in zip(contextual.split(group, dim=2), kept.split(group, dim=2), strict=True):
            parts = momentum * parts + (1 - momentum) * self.attend(parts, several, mask)
        return parts

    def inside(self, nodes: Tensor, kept: Tensor) -> Tensor:
        """x + ReLU(W_t A x) with A = softmax((x W_1)(x W_1)^T / sqrt(width)) over the kept superpixels of each image.

        An image that keeps only one leaves it as it is; places without one are 0. (B, L, V, T, C).
        """
        nodes = nodes * kept[..., None]
        embedded = self.within(nodes)
        weights = masked_softmax(embedded @ embedded.mT * self.scale, kept[..., None, :])
        update = F.relu(self.transform(weights @ nodes)) * kept[..., None]
        several = kept.sum(dim=3)[..., None, None] > 1
        return nodes + update * several

    def attend(self, parts: Tensor, nodes: Tensor, kept: Tensor) -> Tensor:
        """softmax((p W_3)(x W_2)^T / sqrt(width)) x over the kept superpixels of a group; 0 where there are none.

        Parts p and the result are (B, L, P, C), nodes x (B, L, images, T, C), ``kept`` (B, L, images, T) bool.
        """
        x, mask = nodes.flatten(2, 3), kept.flatten(2)[:, :, None]
        scores = self.parts(parts) @ self.nodes(x).mT * self.scale
        return masked_softmax(scores, mask) @ x


def gathered(nodes: Tensor, places: Tensor) -> Tensor:
    """Superpixel features (B, V, S, C) at ``places`` (B, L, V, T): (B, L, V, T, C)."""
    batch = torch.arange(nodes.shape[0], device=nodes.device)[:, None, None, None]
    image = torch.arange(nodes.shape[1], device=nodes.device)[:, None]
    return nodes[batch, image, places]
