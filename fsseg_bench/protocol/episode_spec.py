"""The section ``[episodes]`` of a protocol: how many there are, and who draws what."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Literal

from fsseg_bench.schema import Range, later

MOST_EPISODES = 10**6
"""Of a fold: a table of more would take minutes and gigabytes."""

_MOST_RUNS = 1000
_Count = Annotated[int, Range(least=0, most=MOST_EPISODES)]

EACH = ("each-pair", "each-image")
"""Values of ``class_sampling`` under which there are only so many queries, which come in an order."""

_GENERALISED = {"support_list": "train", "support_pixels": 1, "support_one_novel": False}


@dataclass(frozen=True)
class EpisodeSpec:
    """How the test episodes are drawn."""

    count: _Count | tuple[_Count, ...]
    """Episodes a fold: a number, or a list with one for each fold; 0 is all that there are, once, with `each-pair` and
    `each-image`."""
    seed: int | tuple[int, ...]
    """Seed of the episodes; a list has one for each of several runs."""
    class_sampling: Literal["uniform", "cycle", "each-pair", "each-image"]
    """Classes and queries of the episodes: `uniform` draws the classes uniformly from the fold and the query from the
    first class's images; `cycle` takes the fold's classes in turn; `each-pair` makes each test pair (image, class) the
    query in turn; `each-image` each test image, with a class that it shows."""
    support_replacement: bool = False
    """Whether each support is drawn from all images of its class but the query, so that one may come twice; else all
    images of an episode are different."""
    support_sampling: Literal["uniform", "first"] = later("uniform")
    """Which images are supports: `uniform` draws them for each episode; `first` takes the class's first K images by id,
    which are then no queries of it."""
    sampler: Literal["own", "hsnet"] = later("own")
    """Who draws: `own`, or `hsnet`, which calls numpy's generator as the loaders of HSNet's family do, so that their
    episodes come out where the lists are theirs."""
    runs: Annotated[int, Range(least=1, most=_MOST_RUNS)] = later(1)
    """How many tables of `count` episodes are drawn, with the seeds `seed`, `seed` + 1, and so on. A score is the
    mean of the runs' scores."""
    task: Literal["episodes", "generalised"] = later("episodes")
    """`generalised`: there are no episodes; base and novel classes are labelled at once in every image of the test
    lists, with other supports for each of the seeds."""
    support_list: Literal["train", "test"] = later("train")
    """Generalised: the lists that supports are drawn from; `test` takes them out of the images that are labelled."""
    support_pixels: Annotated[int, Range(least=1)] = later(1)
    """Generalised: a support shows at least so many native pixels of its class."""
    support_one_novel: bool = later(False)
    """Generalised: whether a support shows no other novel class."""

    def __post_init__(self) -> None:
        """Raises:
        ValueError: values that have no meaning together; the message begins with the key.
        """
        if self.task == "generalised" and (self.count, self.class_sampling) != (0, "each-image"):
            raise ValueError('task is "generalised"; that needs count 0 and class_sampling "each-image"')
        for key, usual in _GENERALISED.items():
            if self.task == "episodes" and (value := getattr(self, key)) != usual:
                raise ValueError(f'{key} is {json.dumps(value)}; it is for task "generalised" alone')
        if 0 in self.counts and self.class_sampling not in EACH:
            raise ValueError(f"count is 0; it must be at least 1 with class_sampling {json.dumps(self.class_sampling)}")
        if self.support_sampling == "first" and self.support_replacement:
            raise ValueError('support_replacement is true; with support_sampling "first" nothing is drawn')
        self._check_runs()
        if self.sampler == "hsnet":
            self._check_hsnet()

    def _check_runs(self) -> None:
        if isinstance(self.seed, tuple):
            if self.runs > 1:
                raise ValueError(f"runs is {self.runs}; a list of seeds says how many there are: leave one of them out")
            if not 1 <= len(set(self.seed)) == len(self.seed) <= _MOST_RUNS:
                raise ValueError(f"seed is {list(self.seed)}; it must be 1 to {_MOST_RUNS} different numbers, or one")
        if len(self.seeds) > 1 and self.class_sampling == "each-pair" and self.support_sampling == "first":
            raise ValueError(f"runs is {len(self.seeds)}; each pair with the class's first supports is the same in all")

    def _check_hsnet(self) -> None:
        if not self.support_replacement:
            raise ValueError(
                'support_replacement is false; sampler "hsnet" draws one support several times: set it true'
            )
        if self.class_sampling == "each-image":
            raise ValueError('class_sampling is "each-image"; sampler "hsnet" has "uniform", "cycle" and "each-pair"')
        if wrong := [seed for seed in self.seeds if not 0 <= seed < 2**32]:
            raise ValueError(f'seed is {wrong[0]}; with sampler "hsnet" it must be at least 0 and below 2**32')

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of each run."""
        return self.seed if isinstance(self.seed, tuple) else tuple(self.seed + i for i in range(self.runs))

    @property
    def counts(self) -> tuple[int, ...]:
        """What :attr:`count` holds."""
        return self.count if isinstance(self.count, tuple) else (self.count,)

    def count_of(self, fold: int) -> int:
        """The number of a fold; 0 for all that there are."""
        return self.counts[fold - 1 if isinstance(self.count, tuple) else 0]

    @property
    def one_way(self) -> str:
        """The key, with its value, that makes all episodes 1-way; empty where none does."""
        usual = {"class_sampling": "uniform", "support_sampling": "uniform", "sampler": "own"}
        return next((f"episodes.{k}={getattr(self, k)}" for k, v in usual.items() if getattr(self, k) != v), "")
