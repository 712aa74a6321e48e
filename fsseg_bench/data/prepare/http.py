"""One request for the rest of a file, and the reasons for which its answer is not taken."""

from __future__ import annotations

import http.client
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

_CHUNK = 1 << 18
_BUSY = {408, 425, 429}
"""Refusals that pass."""


class WrongFileError(Exception):
    """The address does not have the file; asking again would not help."""


class BrokenOffError(Exception):
    """The connection failed or ended early, or the server is busy; asking again may help."""


class Answer(NamedTuple):
    """The bytes of a file from ``start`` on."""

    start: int
    chunks: Iterator[bytes]
    """Raises :class:`BrokenOffError` when they end before the file does, :class:`WrongFileError` when after it."""


@contextmanager
def ask(url: str, start: int, size: int, timeout: float) -> Iterator[Answer]:
    """Requests the bytes of a file of ``size`` bytes from ``start`` on.

    A server that ignores the range answers from 0. ``timeout`` is in seconds without a byte.

    Raises:
        WrongFileError: no such file, one of another size, or a web page in its place.
        BrokenOffError: no connection, a busy server, or bytes that end early.
    """
    if not url.lower().startswith(("http://", "https://")):
        raise WrongFileError("not an http or https address")
    headers = {"User-Agent": "fsseg-bench", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    with _network_errors():
        try:
            response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout)
        except urllib.error.HTTPError as error:
            with error:
                raise _refusal(error.code, str(error.reason)) from None
    with response:
        first = _check(response, start, size)
        yield Answer(first, _chunks(response, size - first))


def _check(response: Any, start: int, size: int) -> int:
    """Where the answer's bytes begin, after a look at what the server says about them."""
    kind = response.headers.get_content_type()
    if kind in {"text/html", "application/xhtml+xml"}:
        raise WrongFileError("a web page came in place of the file")
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        raise WrongFileError(f"the file came in the encoding {encoding}")
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
            chunk = response.read1(min(_CHUNK, left))  # what has come: a stall loses nothing
        if not chunk:
            raise BrokenOffError(f"the connection ended {left:,} bytes early")
        left -= len(chunk)
        yield chunk
    with _network_errors():
        more = response.read1(1)
    if more:
        raise WrongFileError("its file is longer than expected")


def _refusal(status: int, reason: str) -> WrongFileError | BrokenOffError:
    text = f"{status} {reason}".strip()
    return BrokenOffError(text) if status in _BUSY or status >= 500 else WrongFileError(text)


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
