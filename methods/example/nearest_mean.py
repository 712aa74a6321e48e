"""Nearest mean: a query cell takes the class whose mean support feature is closer. An example to copy.

Title: (an example, no paper)
Fidelity: own design
Transductive: no
Test-time training: none
Extra data: none
"""

from dataclasses import dataclass

from torch import Tensor, cdist, nn, tensor

from fsseg_bench.method import Episode, Method, feature_map
from fsseg_bench.nn.backbones import Backbone
from fsseg_bench.nn.losses import segmentation_loss
from fsseg_bench.nn.prototypes import support_prototypes
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.recipe import Recipe


class NearestMean(Method):
    @dataclass(frozen=True)
    class Switches:  # what users set: `--set temperature=5`
        temperature: float = 10.0

    def __init__(self, backbone: Backbone, switches: Switches) -> None:
        super().__init__(backbone, switches)
        self.temperature = nn.Parameter(tensor(switches.temperature))

    def predict(self, episode: Episode) -> Tensor:
        means = support_prototypes(feature_map(episode.support), episode.support_masks)  # (B, N+1, C)
        query = feature_map(episode.query)  # (B, C, h, w)
        distances = cdist(means, query.flatten(2).mT).unflatten(2, query.shape[2:])
        return -self.temperature * distances / query.shape[1] ** 0.5  # (B, N+1, h, w): background first

    def loss(self, episode: Episode) -> dict[str, Tensor]:
        return {"query": segmentation_loss(self.predict(episode), episode.query_labels)}

    @classmethod
    def recipe(cls, protocol: Protocol, shot: int) -> Recipe:
        return Recipe(iterations=200, batch=4, lr=1e-3, bn="train", sources={"lr": "example"})
