"""Downloads that go on where they were broken off and accept nothing but the right file."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsseg_bench.data.prepare.sources import Part
from fsseg_bench.errors import UserError
from fsseg_bench.progress import Progress
from fsseg_bench.storage.files import make_folder, write_all, writing

PARTIAL = ".part"
"""What the name of an unfinished download ends in."""
_CHUNK = 1 << 20
_PIECE = 1 << 18
_BUSY = {408, 425, 429}
"""Refusals that pass."""
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


def download(part: Part, folder: Path, mirrors: Sequence[str], patience: Patience, progress: Progress) -> Path:
    """The archive of ``part`` in ``folder``, downloaded unless it is there; a partial download is continued.

    Nothing that differs from its size or checksum is accepted. Until it is complete and checked its name ends in
    ``.part``. ``mirrors`` are addresses of folders that hold it under its name; they are tried first.

    Raises:
        DownloadError: no address gave it; lists each with the reason. What came so far is kept.
        UserError: full disk or unwritable folder.
    """
    target = folder / part.archive
    if target.is_file() and not difference(target, part, progress):
        return target
    partial = folder / (part.archive + PARTIAL)
    make_folder(folder)
    with writing(partial):
        partial.touch()
    addresses = [f"{mirror.rstrip('/')}/{part.archive}" for mirror in mirrors] + list(part.urls)
    reasons = dict.fromkeys(addresses, "not tried")
    if not part.size:
        part = _sized(part, addresses, reasons, patience)
    idle = 0
    have = min(partial.stat().st_size, part.size)
    with progress.meter(part.archive, part.size, have, "bytes") as meter:

        def show(now: int) -> None:
            nonlocal have
            meter.advance(now - have)
            have = now

        while addresses and idle < patience.tries:
            address = addresses[0]
            before = partial.stat().st_size
            try:
                _fill(address, partial, part, patience.timeout, show)
                if not (wrong := difference(partial, part, progress)):
                    with writing(target):
                        partial.replace(target)
                    return target
                _clear(partial, show)
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
    raise DownloadError(f"{part.archive} could not be downloaded:{tried or ' it has no address'}")


def _sized(part: Part, addresses: Sequence[str], reasons: dict[str, str], patience: Patience) -> Part:
    """``part`` with the size that the first address which answers states; notes in ``reasons`` why others do not."""
    for attempt in range(patience.tries):
        for address in addresses:
            try:
                return part.of_size(size_at(address, patience.timeout))
            except (WrongFileError, BrokenOffError) as error:
                reasons[address] = str(error)
        if attempt + 1 < patience.tries:
            time.sleep(min(patience.pause * 2**attempt, _LONGEST_PAUSE))
    tried = "".join(f"\n  {address}: {reason}" for address, reason in reasons.items())
    raise DownloadError(f"{part.archive} could not be downloaded:{tried or ' it has no address'}")


def difference(path: Path, part: Part, progress: Progress) -> str:
    """What is wrong with a file that should be the archive of ``part``; empty when it is the right one.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        size = path.stat().st_size
        if part.size and size != part.size:
            return f"{size:,} bytes, not {part.size:,}"
        if not part.digest:
            return ""
        kind, _, expected = part.digest.partition(":")
        digest = hashlib.new(kind, usedforsecurity=False)
        with path.open("rb") as file, progress.meter(f"checking {part.archive}", size, unit="bytes") as meter:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                meter.advance(len(chunk))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    found = digest.hexdigest()
    return "" if found == expected else f"the {kind.upper()} {found}, not {expected}"


def _fill(address: str, partial: Path, part: Part, timeout: float, show: Callable[[int], None]) -> None:
    """Asks one address for what is missing and writes it as it comes."""
    have = partial.stat().st_size
    if have > part.size:
        _clear(partial, show)
        have = 0
    if have == part.size:
        return
    with (
        ask(address, have, part.size, timeout) as (start, chunks),
        writing(partial),
        partial.open("r+b", buffering=0) as file,
    ):
        # Where the range was ignored, the same bytes are written again: a longer beginning is never lost.
        at = start
        for chunk in chunks:
            write_all(file.fileno(), chunk, at)
            at += len(chunk)
            show(max(at, have))
        os.fsync(file.fileno())


def _clear(partial: Path, show: Callable[[int], None]) -> None:
    with writing(partial):
        os.truncate(partial, 0)
    show(0)


class WrongFileError(Exception):
    """The address does not have the file; asking again would not help."""


class BrokenOffError(Exception):
    """The connection failed or ended early, or the server is busy; asking again may help."""


@contextmanager
def ask(url: str, start: int, size: int, timeout: float) -> Iterator[tuple[int, Iterator[bytes]]]:
    """Requests the bytes of a file of ``size`` bytes from ``start`` on; gives where they begin, and them.

    A server that ignores the range answers from 0. ``timeout`` is in seconds without a byte.

    Raises:
        WrongFileError: no such file, one of another size (from the iterator, a longer one), or a web page in its place.
        BrokenOffError: no connection, a busy server, or (from the iterator) bytes that end early.
    """
    with _opened(url, timeout, {"Range": f"bytes={start}-"} if start else {}) as response:
        first = _check(response, start, size)
        yield first, _chunks(response, size - first)


def size_at(url: str, timeout: float) -> int:
    """How many bytes the file of an address has, as its server states it; nothing of it is read.

    Raises:
        WrongFileError: no such file, a web page in its place, or a server that does not state it.
        BrokenOffError: no connection, or a busy server.
    """
    with _opened(url, timeout, {}) as response:
        _check_kind(response)
        length = response.headers.get("Content-Length", "")
        if not length.isdigit() or not int(length):
            raise WrongFileError("its size is not known, and the server does not state it")
        return int(length)


def _opened(url: str, timeout: float, headers: dict[str, str]) -> Any:
    """The answer to a request for a file."""
    if not url.lower().startswith(("http://", "https://")):
        raise WrongFileError("not an http or https address")
    headers = {"User-Agent": "fsseg-bench", "Accept-Encoding": "identity", **headers}
    with _network_errors():
        try:
            return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout)
        except urllib.error.HTTPError as error:
            kind = BrokenOffError if error.code in _BUSY or error.code >= 500 else WrongFileError
            with error:
                raise kind(f"{error.code} {error.reason}".strip()) from None


def _check_kind(response: Any) -> None:
    kind = response.headers.get_content_type()
    if kind in {"text/html", "application/xhtml+xml"}:
        raise WrongFileError("a web page came in place of the file")
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        raise WrongFileError(f"the file came in the encoding {encoding}")


def _check(response: Any, start: int, size: int) -> int:
    """Where the answer's bytes begin, after a look at what the server says about them."""
    _check_kind(response)
    length = response.headers.get("Content-Length", "")
    if response.status == 200:
        if length.isdigit() and int(length) != size:
            raise WrongFileError(f"its file has {int(length):,} bytes; {size:,} were expected")
        return 0
    found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", response.headers.get("Content-Range", ""))
    if response.status != 206 or not found:
        raise WrongFileError(f"its answer is {response.status}, which is not understood")
    if found[3] not in {"*", str(size)}:
        raise WrongFileError(f"its file has {int(found[3]):,} bytes; {size:,} were expected")
    if int(found[1]) != start:
        raise WrongFileError(f"it sent the bytes from {found[1]} on in place of those from {start} on")
    return start


def _chunks(response: Any, left: int) -> Iterator[bytes]:
    while left:
        with _network_errors():
            chunk = response.read1(min(_PIECE, left))  # what has come: a stall loses nothing
        if not chunk:
            raise BrokenOffError(f"the connection ended {left:,} bytes early")
        left -= len(chunk)
        yield chunk
    with _network_errors():
        more = response.read1(1)
    if more:
        raise WrongFileError("its file is longer than expected")


@contextmanager
def _network_errors() -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise BrokenOffError("nothing came for too long") from None
    except urllib.error.URLError as error:
        raise BrokenOffError(f"no connection: {error.reason}") from None
    except (OSError, http.client.HTTPException) as error:
        raise BrokenOffError(f"the connection broke: {error or type(error).__name__}") from None
    except ValueError as error:
        raise WrongFileError(f"not an address: {error}") from None
