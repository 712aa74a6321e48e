"""What a record says of the rules against the protocol of that name in this package."""

from __future__ import annotations

from collections.abc import Iterator

from fsseg_bench.engine.verify_pixels import check_side
from fsseg_bench.errors import UserError
from fsseg_bench.protocol.find import builtin_protocols, is_path
from fsseg_bench.protocol.load import replace_list
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.records.read import RecordError, StoredRun
from fsseg_bench.records.request import RunRequest, protocol_of


class UnableError(UserError):
    """Something cannot be compared here; the message says why."""


def known_protocol(run: StoredRun) -> str:
    """Compares what the settings say of the rules with the protocol; no file that the record names is opened.

    Raises:
        RecordError: the rules are others, or the counts have another size than their inputs.
        UnableError: the protocol is not one of this package, or of another version.
    """
    settings = run.settings
    name, protocol = _known(run)
    if protocol.version != settings.protocol_version:
        raise UnableError(
            f"{name} has version {protocol.version} here, {settings.protocol_version} in the record; not compared"
        )
    if wrong := list(_differences(run, protocol)):
        raise RecordError(f"not the rules of {name}: {'; '.join(wrong)}")
    check_side(run, protocol.image.side)
    return f"the rules of {protocol.label}, fold {run.fold}"


def _known(run: StoredRun) -> tuple[str, Protocol]:
    """The protocol of this package that the record is to keep to, and its name.

    That is the one that was asked for by name. Where none was, it is the one that the settings name, if they claim its
    label or its digest: what was asked for is no part of the identity, so that leaving it out must not help.

    Raises:
        UnableError: there is none, or it cannot be read here.
    """
    passed, settings = run.info.passed, run.settings
    told = f"{settings.protocol_label!r} is no protocol of this package; its rules were not compared"
    if passed.dataset and not is_path(passed.dataset) and "/" not in passed.dataset:
        try:
            return passed.dataset, _asked(passed.dataset, passed)
        except UserError as error:
            told = f"{settings.protocol_label!r} cannot be read here: {error}"
    if settings.protocol in builtin_protocols():
        for request in (passed, RunRequest()):
            try:
                protocol = _asked(settings.protocol, request)
            except UserError:
                continue  # changes that the protocol of this package does not take
            if settings.protocol_label == protocol.label or settings.protocol_digest == protocol.digest:
                return settings.protocol, protocol
    raise UnableError(told)


def _asked(name: str, request: RunRequest) -> Protocol:
    """The protocol of a name with the changes of a request."""
    episodes = None if request.episode_list else request.episodes
    protocol = protocol_of(RunRequest(dataset=name, settings=request.settings, episodes=episodes))
    return replace_list(protocol) if request.episode_list else protocol


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
    if not protocol.given_list and (seal := run.info.episodes) is not None:
        pairs["episodes"] = (seal.count, protocol.episodes.count_of(run.fold) * len(protocol.episodes.seeds))
        if not protocol.episodes.count_of(run.fold):
            del pairs["episodes"]  # all that there are, which only the data say
    for key, (stated, own) in pairs.items():
        if stated != own:
            yield f"{key} {str(stated)[:60]} in the record, {str(own)[:60]} here"
