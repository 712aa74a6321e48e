"""Runs of episode lists that were given: what their lists are called, and which lists are one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import PurePath

from fsseg_bench.protocol.given import list_family
from fsseg_bench.protocol.load import LIST_GIVEN
from fsseg_bench.records.read import StoredRun


def given_list(run: StoredRun) -> str:
    """The list whose episodes were replayed, as :func:`list_family` names those of all folds; empty if none was.

    A record that was made of a list and does not say of which has one that is like no other.
    """
    if given := run.info.passed.episode_list:
        return list_family(given, run.fold)
    return f"unknown {run.settings.episode_digest[:8]}" if LIST_GIVEN in run.settings.protocol_label else ""


class ListNames:
    """Names of the given lists of some runs: equal for the folds of one experiment, never for two lists of one fold.

    A file that was changed between two runs has two contents under one name; each then has a name of its own.
    """

    def __init__(self, runs: Iterable[StoredRun]) -> None:
        self._digests: dict[tuple[str, int, int], set[str]] = defaultdict(set)
        for run in runs:
            self._digests[self._place(run)].add(run.settings.episode_digest)

    def name(self, run: StoredRun) -> str:
        """The list's whole name; empty for the protocol's own episodes."""
        family = given_list(run)
        return family + self._version(run) if family else ""

    def label(self, run: StoredRun) -> str:
        """What a table says of the list; empty for the protocol's own episodes."""
        family = given_list(run)
        return f"episodes {PurePath(family).name}{self._version(run)}" if family else ""

    def _place(self, run: StoredRun) -> tuple[str, int, int]:
        return given_list(run), run.fold, run.settings.shot

    def _version(self, run: StoredRun) -> str:
        digest = run.settings.episode_digest
        return f" ({digest[:8]})" if len(self._digests[self._place(run)]) > 1 else ""
