"""What is compared: the runs of one method with one set of settings, in the folds and seeds that all have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from fsseg_bench.errors import UserError
from fsseg_bench.records.read import StoredRun
from fsseg_bench.records.settings import OF_A_FOLD, ShownSettings, differences
from fsseg_bench.report.recipes import stage_words, training_facts, unlike_stages

_MUST_AGREE = {
    "protocol_digest": "protocols differ",
    "data_fingerprint": "data differ",
    "episode_digest": "episodes differ",
    "evaluated_digest": "test images or masks differ",
}


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
    for name in unlike_stages(first.settings, second.settings):
        left, right = (_in_words(side, name) for side in (left, right))
    return [*episodes, *differences(left, right)]


def _in_words(settings: dict[str, Any], name: str) -> dict[str, Any]:
    """``settings`` with one entry for all of a stage."""
    stages = settings.get("stages") or {}
    return {**settings, "stages": {**stages, name: stage_words(stages.get(name))}}


class Matched(NamedTuple):
    """What contenders have in common."""

    folds: tuple[int, ...]
    seeds: tuple[tuple[int, ...], ...]
    """Of each contender."""
    notes: tuple[str, ...]
    """What that leaves out."""


def match(contenders: Sequence[Contender]) -> Matched:
    """The folds and training seeds in which contenders can be compared episode by episode.

    A contender with a single seed is compared with that one; otherwise all must have the seeds.

    Raises:
        UserError: no fold or no seed in common; protocols, data or episodes that differ.
    """
    folds = tuple(sorted(set.intersection(*(set(c.runs) for c in contenders))))
    if not folds:
        have = "; ".join(f"{c.label}: {_listing(c.runs)}" for c in contenders)
        raise UserError(f"no fold was finished by all ({have}); run the missing folds")
    whole = [tuple(sorted(set.intersection(*(set(c.runs[f]) for f in folds)))) for c in contenders]
    for contender, complete in zip(contenders, whole, strict=True):
        if not complete:
            have = "; ".join(f"fold {f}: {_listing(contender.runs[f])}" for f in folds)
            raise UserError(f"{contender.label}: no training seed has all of the folds {_listing(folds)} ({have})")
    if all(len(complete) == 1 for complete in whole):
        seeds = whole
    else:
        common = tuple(sorted(set.intersection(*map(set, whole))))
        if not common:
            have = "; ".join(f"{c.label}: {_listing(complete)}" for c, complete in zip(contenders, whole, strict=True))
            raise UserError(f"no training seed is common to all ({have}); choose one of each: METHOD,seed=S")
        seeds = [common] * len(contenders)
    _check_alike(contenders, folds, seeds)
    return Matched(folds, tuple(seeds), tuple(_left_out(contenders, folds, seeds)))


def _left_out(contenders: Sequence[Contender], folds: Sequence[int], seeds: Sequence[Sequence[int]]) -> list[str]:
    notes = []
    for contender, used in zip(contenders, seeds, strict=True):
        if more := sorted(set(contender.runs) - set(folds)):
            notes.append(f"{contender.label}: fold {_listing(more)} left out, since others lack it")
        present = {seed for fold in folds for seed in contender.runs[fold]}
        if more := sorted(present - set(used)):
            notes.append(
                f"{contender.label}: training seed {_listing(more)} left out, not common to all folds and methods"
            )
    return notes


def _check_alike(contenders: Sequence[Contender], folds: Sequence[int], seeds: Sequence[Sequence[int]]) -> None:
    for fold in folds:
        first = contenders[0].runs[fold][seeds[0][0]]
        for contender, used in zip(contenders, seeds, strict=True):
            for run in (contender.runs[fold][seed] for seed in used):
                for key, what in _MUST_AGREE.items():
                    mine, its = getattr(first.settings, key), getattr(run.settings, key)
                    if mine != its:
                        raise UserError(
                            f"fold {fold}: {what}, so nothing can be paired. {contenders[0].label} has {key} "
                            f"{mine or 'not noted'} ({first.folder}), {contender.label} has {its or 'not noted'} "
                            f"({run.folder}). Run both with the same --dataset, --way, --shot, --episodes and data"
                        )


def _listing(values: object) -> str:
    return ", ".join(map(str, sorted(values)))  # type: ignore[call-overload]
