"""Downloads that go on where they were broken off and accept nothing but the right file."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fsseg_bench.data.prepare.http import BrokenOffError, WrongFileError, ask
from fsseg_bench.data.prepare.sources import Archive
from fsseg_bench.errors import UserError
from fsseg_bench.progress import Meter, Progress
from fsseg_bench.storage.files import make_folder, write_all, writing

PARTIAL = ".part"
"""What the name of an unfinished download ends in."""
_CHUNK = 1 << 20
_LONGEST_PAUSE = 60.0


@dataclass(frozen=True)
class Patience:
    """How long to keep trying."""

    timeout: float = 30.0
    """Seconds without a byte after which a connection counts as broken."""
    tries: int = 5
    """Attempts in a row that bring nothing new before giving up."""
    pause: float = 1.0
    """Seconds before the second of them; doubled each time."""


class DownloadError(UserError):
    """No address gave the file."""


def download(archive: Archive, folder: Path, mirrors: Sequence[str], patience: Patience, progress: Progress) -> Path:
    """The archive in ``folder``, downloaded unless it is there; a partial download is continued.

    Args:
        archive: what to download; nothing that differs from its size or checksum is accepted.
        folder: where it goes, under its name; until it is complete and checked, under its name + ``.part``.
        mirrors: addresses of folders that hold the archive under its name; they are tried first.
        patience: when to give up.
        progress: is told about every byte.

    Raises:
        DownloadError: no address gave it; lists each with the reason. What came so far is kept.
        UserError: full disk or unwritable folder.
    """
    target = folder / archive.name
    if target.is_file() and not difference(target, archive, progress):
        return target
    partial = folder / (archive.name + PARTIAL)
    make_folder(folder)
    with writing(partial):
        partial.touch()
    addresses = [f"{mirror.rstrip('/')}/{archive.name}" for mirror in mirrors] + list(archive.urls)
    reasons = dict.fromkeys(addresses, "not tried")
    idle = 0
    have = min(partial.stat().st_size, archive.size)
    with progress.meter(archive.name, archive.size, have, "bytes") as meter:
        counter = _Counter(meter, have)
        while addresses and idle < patience.tries:
            address = addresses[0]
            before = partial.stat().st_size
            try:
                _fill(address, partial, archive, patience.timeout, counter)
                if not (wrong := difference(partial, archive, progress)):
                    return _keep(partial, target)
                _clear(partial, counter)
                reasons[address] = f"what came has {wrong}"
                if not before:  # else bytes of an earlier attempt may be to blame
                    addresses.remove(address)
                idle += 1
            except WrongFileError as error:
                reasons[address] = str(error)
                addresses.remove(address)
            except BrokenOffError as error:
                reasons[address] = str(error)
                addresses.append(addresses.pop(0))
                idle = 0 if partial.stat().st_size > before else idle + 1
                if 0 < idle < patience.tries:
                    time.sleep(min(patience.pause * 2 ** (idle - 1), _LONGEST_PAUSE))
            if addresses and idle < patience.tries:
                progress.say(f"{address}: {reasons[address]}; trying {addresses[0]}")
    tried = "".join(f"\n  {address}: {reason}" for address, reason in reasons.items())
    raise DownloadError(f"{archive.name} could not be downloaded:{tried or ' it has no address'}")


class _Counter:
    """How much of a file is there; shows it."""

    def __init__(self, meter: Meter, have: int) -> None:
        self._meter, self._have = meter, have

    def set(self, have: int) -> None:
        self._meter.advance(have - self._have)
        self._have = have


def difference(path: Path, archive: Archive, progress: Progress) -> str:
    """What is wrong with a file that should be ``archive``; empty when it is the right one.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        size = path.stat().st_size
        if size != archive.size:
            return f"{size:,} bytes, not {archive.size:,}"
        if not archive.digest:
            return ""
        kind, _, expected = archive.digest.partition(":")
        digest = hashlib.new(kind, usedforsecurity=False)
        with path.open("rb") as file, progress.meter(f"checking {archive.name}", size, unit="bytes") as meter:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                meter.advance(len(chunk))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    found = digest.hexdigest()
    return "" if found == expected else f"the {kind.upper()} {found}, not {expected}"


def _fill(address: str, partial: Path, archive: Archive, timeout: float, counter: _Counter) -> None:
    """Asks one address for what is missing and writes it as it comes."""
    have = partial.stat().st_size
    if have > archive.size:
        _clear(partial, counter)
        have = 0
    if have == archive.size:
        return
    with (
        ask(address, have, archive.size, timeout) as answer,
        writing(partial),
        partial.open("r+b", buffering=0) as file,
    ):
        # Where the range was ignored, the same bytes are written again: a longer beginning is never lost.
        at = answer.start
        for chunk in answer.chunks:
            write_all(file.fileno(), chunk, at)
            at += len(chunk)
            counter.set(max(at, have))
        os.fsync(file.fileno())


def _clear(partial: Path, counter: _Counter) -> None:
    with writing(partial):
        os.truncate(partial, 0)
    counter.set(0)


def _keep(partial: Path, target: Path) -> Path:
    with writing(target):
        partial.replace(target)
    return target
