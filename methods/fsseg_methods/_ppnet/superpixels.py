"""Superpixels of images, and the mean feature of each."""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fsseg_bench.errors import UserError
from fsseg_bench.nn.itemwise import itemwise


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
        (M, H, W) int64 on the images' device, numbered from 0. It depends on each image alone.

    Raises:
        UserError: scikit-image is not installed.
    """
    segment = functools.partial(_slic(), n_segments=segments, compactness=compactness, start_label=0)
    pictures = images.detach().permute(0, 2, 3, 1).float().cpu().numpy()
    with ThreadPoolExecutor() as pool:  # SLIC releases Python's global lock, so that threads share the work
        labels = list(pool.map(segment, pictures))
    return torch.from_numpy(np.stack(labels).astype(np.int64)).to(images.device)


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
