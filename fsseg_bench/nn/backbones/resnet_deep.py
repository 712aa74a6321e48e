"""ResNets whose stem is three 3x3 convolutions in place of one 7x7, as PSPNet and many after it use them."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torchvision.models import ResNet as TorchvisionResNet

from fsseg_bench.nn.backbones.resnet import ResNet

STEM_CHANNELS = 128
"""Channels of the stem's output."""
_WIDTH = 64  # of the convolutions before
_SEQUENTIAL = {"conv1.0": "conv1", "conv1.1": "bn1", "conv1.3": "conv2", "conv1.4": "bn2", "conv1.6": "conv3"}


class DeepResNet(ResNet):
    """A ResNet with a deep stem: 3x3 convolutions to 64 (stride 2), 64 and 128 channels, then the max-pool.

    A batch-norm and a ReLU follow each convolution. From layer1 on it is torchvision's network, whose first block
    reads 128 channels here. Layouts hold as for any ResNet.

    Parameters have the names of one of the two styles in which such weights are published: ``conv1, bn1, conv2, bn2,
    conv3, bn3``. The other has a sequence, ``conv1.0, conv1.1, conv1.3, conv1.4, conv1.6, bn1``; files of either fit.
    """

    @classmethod
    def whole_network(cls) -> TorchvisionResNet:
        """torchvision's network, the first block of which reads the deep stem's channels."""
        network = super().whole_network()
        first = network.layer1[0]
        first.conv1 = _pointwise(first.conv1)
        first.downsample[0] = _pointwise(first.downsample[0])
        return network

    @classmethod
    def stem(cls, network: TorchvisionResNet) -> dict[str, nn.Module]:
        """Three times convolution, batch-norm and ReLU."""
        parts: dict[str, nn.Module] = {}
        inputs = 3
        for place, (outputs, stride) in enumerate(((_WIDTH, 2), (_WIDTH, 1), (STEM_CHANNELS, 1)), start=1):
            convolution = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
            parts[f"conv{place}"] = _started(convolution)
            parts[f"bn{place}"] = nn.BatchNorm2d(outputs)
            parts[f"relu{place}"] = nn.ReLU(inplace=True)
            inputs = outputs
        return parts

    def own_names(self, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of a file in either style, by this backbone's names."""
        if not any(key.startswith("conv1.0.") for key in given):
            return dict(given)
        # a sequence has the third batch-norm beside it, as bn1
        names = {**_SEQUENTIAL, "bn1": "bn3"}
        return {_renamed(key, names): tensor for key, tensor in given.items()}


def _renamed(key: str, names: Mapping[str, str]) -> str:
    module, _, parameter = key.rpartition(".")
    return f"{names.get(module, module)}.{parameter}" if module else key


def _pointwise(convolution: nn.Conv2d) -> nn.Conv2d:
    """One like a 1x1 convolution that reads the stem's channels."""
    outputs, stride = convolution.out_channels, convolution.stride
    return _started(nn.Conv2d(STEM_CHANNELS, outputs, 1, stride=stride[0], bias=False))


def _started(convolution: nn.Conv2d) -> nn.Conv2d:
    """With torchvision's random numbers for a ResNet's convolutions."""
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return convolution
