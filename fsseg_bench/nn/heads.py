"""Building blocks of the heads of CANet and its successors: convolutions, embedding, comparison, refinement, ASPP."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsseg_bench.nn.backbones import Backbone
from fsseg_bench.nn.bilinear import resize

RATES = (6, 12, 18)
"""Dilations of the 3x3 branches at output stride 8, as in CANet and its successors."""
_WANTED = ("layer2", "layer3")


def conv_block(
    inputs: int,
    outputs: int,
    *,
    kernel: int = 3,
    dilation: int = 1,
    batch_norm: bool = False,
    dropout: float = 0.0,
) -> nn.Sequential:
    """Convolution with bias, batch-norm if asked for, ReLU, ``Dropout2d`` if its rate is above 0.

    The padding keeps the size: (M, inputs, h, w) to (M, outputs, h, w). The convolution is item 0.

    Args:
        inputs: channels read.
        outputs: channels given.
        kernel: its side, odd.
        dilation: of the kernel.
        batch_norm: whether one stands before the ReLU.
        dropout: the share of channels that training drops, in [0, 1).
    """
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, kernel, padding=dilation * (kernel // 2), dilation=dilation)]
    if batch_norm:
        layers.append(nn.BatchNorm2d(outputs))
    layers.append(nn.ReLU())
    if dropout > 0:
        layers.append(nn.Dropout2d(dropout))
    return nn.Sequential(*layers)


def start(module: nn.Module, *, small: bool = False) -> None:
    """Draws the weights of all layers in ``module`` from N(0, 0.01^2), or He's distribution; biases stay PyTorch's."""
    for part in module.modules():
        if not isinstance(part, nn.Conv2d | nn.Linear):
            continue
        if small:
            nn.init.normal_(part.weight, std=0.01)
        else:
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")


def mid_level_stages(backbone: Backbone) -> tuple[str, ...]:
    """The stages to read: ``layer2`` and ``layer3`` where both exist at one stride, else the last stage alone."""
    strides = {backbone.strides.get(stage) for stage in _WANTED}
    return _WANTED if None not in strides and len(strides) == 1 else backbone.stages[-1:]


def mid_level_features(backbone: Backbone, images: Tensor) -> Tensor:
    """The mid-level stages of images (M, 3, H, W), concatenated: (M, C, h, w), all after a ReLU."""
    return torch.cat(backbone.levels(images, mid_level_stages(backbone)), dim=1).relu()


class MidLevel(nn.Module):
    """ReLU(3x3 convolution of dilation 2 over the mid-level stages), with batch-norm or dropout if asked for.

    The backbone is an argument of :meth:`forward`, not a part: its owner may fold or replace it.
    """

    def __init__(self, backbone: Backbone, width: int, *, batch_norm: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        channels = sum(backbone.channels[stage] for stage in mid_level_stages(backbone))
        self.embed = conv_block(channels, width, dilation=2, batch_norm=batch_norm, dropout=dropout)

    def forward(self, backbone: Backbone, images: Tensor) -> Tensor:
        """Features (M, width, h, w) >= 0 of normalised images (M, 3, H, W)."""
        features: Tensor = self.embed(mid_level_features(backbone, images))
        return features


class TiledConvolution(nn.Module):
    """An equally padded 3x3 convolution whose input is [map; vector repeated over the map], in this order.

    A convolution is linear, so that of the joined input is the map's part plus the vector's part. The vector's part
    differs between cells only through the padding at the border, and costs one product a kernel position. One map and
    many vectors need one convolution instead of one a vector.
    """

    def __init__(self, maps: int, vectors: int, outputs: int, *, dilation: int = 1) -> None:
        """Builds the layer for a map of ``maps`` and vectors of ``vectors`` channels."""
        super().__init__()
        self.joined = nn.Conv2d(maps + vectors, outputs, 3, padding=dilation, dilation=dilation)
        """The ordinary convolution of the joined input, whose weights are used; it is never called."""
        self.maps = maps

    def of_map(self, maps: Tensor) -> Tensor:
        """The part of maps (B, maps, h, w) with the bias: (B, outputs, h, w)."""
        joined = self.joined
        weight = joined.weight[:, : self.maps]
        part: Tensor = F.conv2d(maps, weight, joined.bias, padding=joined.padding, dilation=joined.dilation)
        return part

    def of_vector(self, vectors: Tensor, size: tuple[int, int]) -> Tensor:
        """The part of vectors (B, vectors), each repeated over a map of ``size``: (B, outputs, *size)."""
        weight = self.joined.weight[:, self.maps :].flatten(2)
        taps: Tensor = torch.einsum("oct,bc->bot", weight, vectors.to(weight.dtype))
        part: Tensor = (taps @ self._reached(size, taps)).unflatten(2, size)
        return part

    def _reached(self, size: tuple[int, int], like: Tensor) -> Tensor:
        """(taps, h * w): 1 where a kernel position lies on the map, 0 where it lies on the padding."""
        ones = torch.ones(1, 1, *size, dtype=like.dtype, device=like.device)
        reached: Tensor = F.unfold(ones, self.joined.kernel_size, self.joined.dilation, self.joined.dilation)[0]
        return reached


class Refinement(nn.Module):
    """X + R_1([X; y]), then X + R_2(X), then X + R_3(X), with the softmax y of an earlier prediction (CANet).

    Each R is ReLU, 3x3 convolution, ReLU, 3x3 convolution. The first ReLU belongs to the branch alone: the sum
    takes X as it is, signs included.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_branch(inputs, width) for inputs in (width + 2, width, width))

    def forward(self, features: Tensor, history: Tensor | None = None) -> Tensor:
        """X (M, width, h, w) refined: of the same shape, signed.

        y (M, 2, any, any) is resized bilinearly with aligned corners; None stands for zeros.
        """
        cells = (features.shape[2], features.shape[3])
        zeros = features.new_zeros(len(features), 2, *cells)
        earlier = zeros if history is None else resize(history.to(zeros), cells, align_corners=True)
        for i, block in enumerate(self.blocks):
            features = features + block(features if i else torch.cat((features, earlier), dim=1))
        return features


class ASPP(nn.Module):
    """Parallel branches of one map, concatenated.

    In this order: the map's mean through a 1x1 convolution, spread over all cells; a 1x1 convolution; a 3x3
    convolution for each rate. Every branch ends in ReLU and ``Dropout2d`` and is as wide as its input.
    """

    def __init__(self, width: int, *, dropout: float = 0.5) -> None:
        super().__init__()
        self.image = conv_block(width, width, kernel=1, dropout=dropout)
        self.point = conv_block(width, width, kernel=1, dropout=dropout)
        self.dilated = nn.ModuleList(conv_block(width, width, dilation=rate, dropout=dropout) for rate in RATES)
        self.out_channels = width * (2 + len(RATES))

    def forward(self, features: Tensor) -> Tensor:
        """(M, width, h, w) to (M, width * (2 + number of rates), h, w)."""
        image = self.image(features.mean(dim=(2, 3), keepdim=True)).expand(-1, -1, *features.shape[2:])
        return torch.cat((image, self.point(features), *(branch(features) for branch in self.dilated)), dim=1)


class ASPPClassifier(nn.Module):
    """ASPP, a 1x1 convolution back to its width, and a 1x1 convolution to the logits."""

    def __init__(
        self,
        width: int,
        *,
        dropout: float = 0.5,
        project_batch_norm: bool = False,
        project_dropout: float = 0.5,
    ) -> None:
        """Builds branches of ``width`` channels and, behind them, the convolution that ``project_...`` describes."""
        super().__init__()
        self.aspp = ASPP(width, dropout=dropout)
        self.project = conv_block(
            self.aspp.out_channels, width, kernel=1, batch_norm=project_batch_norm, dropout=project_dropout
        )
        self.classify = nn.Conv2d(width, 2, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(M, width, h, w) to logits (M, 2, h, w)."""
        logits: Tensor = self.classify(self.project(self.aspp(features)))
        return logits


def _branch(inputs: int, width: int) -> nn.Sequential:
    """ReLU, 3x3 convolution, ReLU, 3x3 convolution: (M, inputs, h, w) to (M, width, h, w)."""
    return nn.Sequential(
        nn.ReLU(), nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)
    )
