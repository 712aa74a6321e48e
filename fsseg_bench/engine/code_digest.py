"""A digest of the code that decides what a run's numbers are, blind to comments, docstrings and layout."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from fsseg_bench.data.source import Source
from fsseg_bench.engine.closure import Module, closure, read_source
from fsseg_bench.errors import UserError
from fsseg_bench.method import Method
from fsseg_bench.nn.backbones import Backbone
from fsseg_bench.plugins import portable_name
from fsseg_bench.registry import METHODS

ENTRY = "fsseg_bench.engine.run"
"""Where a run begins that trains, encodes and counts."""

STAGE_ENTRY = "fsseg_bench.engine.stage_run"
"""Where a network is trained that comes before methods."""

EXCLUDED = {
    # What is said and shown.
    "fsseg_bench.errors": "words of messages",
    "fsseg_bench.progress": "who is told how far a run is",
    "fsseg_bench.trackers": "who else is told of losses and scores",
    "fsseg_bench.trackers.contract": "who else is told of losses and scores",
    "fsseg_bench.trackers.watch": "who else is told of losses and scores",
    "fsseg_bench.engine.panels": "pictures of episodes that are counted already",
    # What finds things whose content has a digest of its own in the identity, or counts by itself.
    "fsseg_bench.paths": "in which folder data, caches and results lie",
    "fsseg_bench.choices": "finds the functions of a recipe, whose own modules count",
    "fsseg_bench.schema": "checks values, which are in the identity",
    "fsseg_bench.seen": "what is said of a number, not what makes it",
    "fsseg_bench.version": "the name of a release; the code itself counts",
    "fsseg_bench.values": "turns what is given into values, which are in the identity",
    "fsseg_bench.engine.switches": "turns what is given into switches, which are in the identity",
    "fsseg_bench.plugins": "finds the classes of plug-ins, whose modules count",
    "fsseg_bench.registry": "finds the method's class, whose modules count",
    "fsseg_bench.data.open": "finds the source's class, whose own modules count",
    "fsseg_bench.protocol.load": "reads a protocol, whose every value is in protocol_digest",
    "fsseg_bench.protocol.lists": "reads list files, whose content is in the digests of protocol, data and episodes",
    "fsseg_bench.protocol.episodes": "draws the episodes, which are in episode_digest",
    "fsseg_bench.protocol.checked_episodes": "refuses episodes; those that it lets pass are in episode_digest",
    STAGE_ENTRY: "trains what comes before a method, which has an identity of its own with a digest of this code",
    "fsseg_bench.engine.stage_given": "passes on released parameters, whose digest is in the identity",
    "fsseg_bench.engine.stage_plan": "identities of what comes before a method",
    "fsseg_bench.records.stage": "records of what comes before a method",
    # What a run is and what is noted of it: no count passes through here.
    "fsseg_bench.engine.released": "reads released parameters, whose digest is in the identity",
    "fsseg_bench.engine.request_checks": "refuses what contradicts itself; what a request changes is in the identity",
    "fsseg_bench.engine.closure": "computes this digest",
    "fsseg_bench.engine.code_digest": "computes this digest",
    "fsseg_bench.machine.here": "names of machine and process, for the record alone",
    "fsseg_bench.machine.stopping": "when a session of a run ends; the next goes on to the same numbers",
    "fsseg_bench.storage.lock": "keeps a second writer out",
    "fsseg_bench.storage.lock_file": "keeps a second writer out",
    "fsseg_bench.storage.lock_note": "keeps a second writer out",
    "fsseg_bench.storage.beats": "keeps a second writer out",
    "fsseg_bench.storage.holder": "says who writes",
    "fsseg_bench.machine.alive": "says whether a process runs",
    "fsseg_bench.records.provenance": "versions and machine, for the record alone",
    "fsseg_bench.records.command": "words that repeat a run, for the record alone",
    "fsseg_bench.records.read": "reads finished records for reports",
    "fsseg_bench.records.info": "what run.json may hold",
    "fsseg_bench.records.predictions": "keeps predictions that are counted already",
    "fsseg_bench.records.request": "what is asked for; what decides a number is in the identity",
    "fsseg_bench.records.settings": "the identity itself",
    "fsseg_bench.records.training": "what the training log may hold, and words about its losses",
    "fsseg_bench.protocol.scoring": "scores from counts; each table computes them from the counts again",
}
"""Modules that the entry imports and that cannot move a number, each with the reason. All others count."""

_BY_NAME = {"fsseg_bench"}
"""Its names are imported when first used. Who imports one of them gets the module counted that its stub names."""

_seen: dict[Path, str] = {}
"""What each file said when this process first took its digest; the modules in memory are of that time."""


def method_digest(classes: Iterable[type], modules: Iterable[str], *sources: type[Source], entry: str = ENTRY) -> str:
    """SHA-256 (hex) over the import closure of a method, its backbones, its data source and the engine that runs them.

    A run's identity holds it, so that changed code never gets an earlier one's result. It is the same wherever the
    code lies.

    Args:
        classes: of the method and of its backbones.
        modules: what the names of method and backbone lead to (:func:`fsseg_bench.registry.method_module`,
            :func:`fsseg_bench.nn.catalogue.backbone_module`); their classes may be defined elsewhere. And where the
            recipe's functions are defined.
        sources: the readers of the data that are tested on and trained on.
        entry: where the engine begins.

    Raises:
        UserError: a file cannot be read, or is not what it was when this process took its digest first; or a module has
            no file.
    """
    bases = {base.__module__ for cls in classes for base in cls.__mro__ if issubclass(base, (Method, Backbone))}
    starts = [entry, *(source.__module__ for source in sources), *modules, *sorted(bases)]
    for name in sys.modules.keys() & starts:
        if getattr(sys.modules[name], "__file__", None) is None:
            raise UserError(f"{name} has no file, so that no record could say by which code a run was made; write one")
    code = code_of(starts, _tops(starts))
    for name, (file, text) in code.items():
        if _seen.setdefault(file, text) != text:
            raise UserError(
                f"{file} ({name}) has changed since this process read it, so that its numbers would be those of code "
                "that is no longer there; start Python again"
            )
    return digest({name: text for name, (_, text) in code.items()})


def code_of(starts: Iterable[str], tops: Mapping[str, Module]) -> dict[str, tuple[Path, str]]:
    """Each module that counts, by name: its file and the SHA-256 (hex) of what it says."""
    starts = list(starts)
    found = closure(starts, tops, without=EXCLUDED.keys() - set(starts), by_name=_BY_NAME)
    return {name: (m.file, _text(m.file)) for name, m in found.items() if m.file is not None}


def digest(texts: Mapping[str, str]) -> str:
    """SHA-256 (hex) of modules by name; a user's folder has one name wherever it lies."""
    lines = sorted(f"{portable_name(name)} {text}\n" for name, text in texts.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _tops(starts: Iterable[str]) -> dict[str, Module]:
    """Where the packages of ``starts`` lie, from the modules that are loaded."""
    tops = {}
    for name in {METHODS.package, *(start.partition(".")[0] for start in starts)}:
        file = getattr(sys.modules[name], "__file__", None)
        tops[name] = Module(Path(file) if file else None, tuple(getattr(sys.modules[name], "__path__", ())))
    return tops


def _text(file: Path) -> str:
    """Of Python code what it means; of anything else (a compiled module) its bytes."""
    return read_source(file).digest if file.suffix == ".py" else hashlib.sha256(file.read_bytes()).hexdigest()
