"""Whether the settings of a record are those of the protocol that it names, where this package has it."""

from __future__ import annotations

from collections.abc import Iterator

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.load import replace_list
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.records.read import RecordError, StoredRun
from fsseg_bench.records.request import RunRequest, protocol_of


class UnableError(UserError):
    """Something cannot be compared here; the message says why."""


def known_protocol(run: StoredRun) -> str:
    """Compares what the settings say of the rules with the protocol; no file that the record names is opened.

    Raises:
        RecordError: the rules are others.
        UnableError: the protocol is not one of this package, or of another version.
    """
    passed, settings = run.info.passed, run.settings
    name = passed.dataset or ""
    if not name or "/" in name or name.endswith(".toml"):
        raise UnableError(f"{settings.protocol_label!r} is no protocol of this package; its rules were not compared")
    try:
        episodes = None if passed.episode_list else passed.episodes
        protocol = protocol_of(RunRequest(dataset=name, settings=passed.settings, episodes=episodes))
    except UserError as error:
        raise UnableError(f"{settings.protocol_label!r} cannot be read here: {error}") from None
    protocol = replace_list(protocol) if passed.episode_list else protocol
    if protocol.version != settings.protocol_version:
        raise UnableError(
            f"{name} has version {protocol.version} here, {settings.protocol_version} in the record; not compared"
        )
    if wrong := list(_differences(run, protocol)):
        raise RecordError(f"not the rules of {name}: {'; '.join(wrong)}")
    return f"the rules of {protocol.label}, fold {run.fold}"


def _differences(run: StoredRun, protocol: Protocol) -> Iterator[str]:
    """What the record says otherwise than the protocol."""
    settings = run.settings
    if run.fold not in protocol.folds:
        yield f"it has no fold {run.fold}"
        return
    novel = protocol.novel_classes(run.fold)
    pairs = {
        "the digest of its values": (settings.protocol_digest, protocol.digest),
        "name": (settings.protocol, protocol.name),
        "label": (settings.protocol_label, protocol.label),
        "held-out classes": (tuple(settings.novel), tuple(novel)),
        "their names": (dict(settings.class_names), {str(c): protocol.class_name(c) for c in novel}),
        "headline": (settings.headline, protocol.scoring.headline),
        "folds": (run.info.folds, len(protocol.folds)),
        "runs": (run.runs, len(protocol.episodes.seeds)),
    }
    if not run.info.passed.episode_list and (seal := run.info.episodes) is not None:
        pairs["episodes"] = (seal.count, protocol.episodes.count_of(run.fold) * len(protocol.episodes.seeds))
        if not protocol.episodes.count_of(run.fold):
            del pairs["episodes"]  # all that there are, which only the data say
    for key, (stated, own) in pairs.items():
        if stated != own:
            yield f"{key} {str(stated)[:60]} in the record, {str(own)[:60]} here"
