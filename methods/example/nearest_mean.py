"""Nearest mean: a query cell takes the class whose mean support feature is closer. An example to copy.

Title: (an example, no paper)
Fidelity: own design
Distinctive: Euclidean distance to the support means, one learned temperature.
"""

import torch
from torch import Tensor, nn

from fsseg_bench.method import Episode, Method, feature_map
from fsseg_bench.nn.backbones import Backbone
from fsseg_bench.nn.losses import segmentation_loss
from fsseg_bench.nn.prototypes import support_prototypes
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.recipe import Recipe


class NearestMean(Method):
    # Keyword-only arguments are switches: `--set temperature=5` sets this one.
    def __init__(self, backbone: Backbone, *, temperature: float = 10.0) -> None:
        super().__init__(backbone)
        self.temperature = nn.Parameter(torch.tensor(temperature))

    def predict(self, episode: Episode) -> Tensor:
        # (B, N+1, C): background first, then the mean of each way's K shots under its masks.
        means = support_prototypes(feature_map(episode.support), episode.support_masks)
        cells = feature_map(episode.query).flatten(2).mT  # (B, h*w, C)
        distance = torch.cdist(cells, means) / cells.shape[2] ** 0.5
        height, width = feature_map(episode.query).shape[-2:]
        # Logits at feature resolution: the engine resizes them.
        return -(self.temperature * distance).mT.unflatten(2, (height, width))

    def loss(self, episode: Episode) -> dict[str, Tensor]:
        return {"query": segmentation_loss(self.predict(episode), episode.query_labels)}

    @classmethod
    def recipe(cls, protocol: Protocol, shot: int) -> Recipe:
        return Recipe(iterations=200, batch=4, lr=1e-3, bn="train", sources={"lr": "example"})
