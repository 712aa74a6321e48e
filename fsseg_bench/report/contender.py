"""What is compared: the runs of one method with one set of settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fsseg_bench.errors import UserError
from fsseg_bench.records.identity import differences
from fsseg_bench.records.read import StoredRun
from fsseg_bench.records.settings import OF_A_FOLD, ShownSettings
from fsseg_bench.report.recipes import training_facts


@dataclass(frozen=True)
class Contender:
    """The finished runs of one method with one set of settings, which differ in fold and training seed alone."""

    label: str
    """What tables call it."""
    runs: Mapping[int, Mapping[int, StoredRun]] = field(repr=False)
    """Fold to training seed to run."""

    @property
    def settings(self) -> ShownSettings:
        """The settings of one of its runs."""
        return self.example.settings

    @property
    def example(self) -> StoredRun:
        """One of its runs."""
        return next(run for seeds in self.runs.values() for run in seeds.values())


def single_seed(contender: Contender) -> dict[int, StoredRun]:
    """The contender's only run of each fold.

    Raises:
        UserError: a fold has several training seeds.
    """
    for fold, seeds in contender.runs.items():
        if len(seeds) > 1:
            raise UserError(
                f"{contender.label}: fold {fold} has the training seeds {', '.join(map(str, seeds))}; choose one with "
                "--seed"
            )
    return {fold: next(iter(seeds.values())) for fold, seeds in contender.runs.items()}


def also_different(first: Contender, second: Contender) -> list[str]:
    """Settings beside the method's own in which two contenders differ, as ``name: first / second``.

    The number of training episodes comes first where it differs: no single setting says it.
    """
    of_the_method = ("method", "method_digest", "switches", "seed", *OF_A_FOLD)
    left, right = (c.settings.without(*of_the_method) for c in (first, second))
    seen = [training_facts(c.settings).get("training episodes") for c in (first, second)]
    episodes = [f"training episodes: {seen[0]} / {seen[1]}"] if all(seen) and seen[0] != seen[1] else []
    return [*episodes, *differences(left, right)]
