"""A loopback server of files that can misbehave: each request is answered by the next behaviour of a script."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

Behaviour = Callable[["Request"], None]

HTML = b"<!doctype html><html><body>The page has moved.</body></html>"


@dataclass
class Server:
    """Files by name and what happens to requests for them."""

    files: dict[str, bytes]
    script: Callable[[str, int], Behaviour] = field(default=lambda name, number: honest)
    """Name and number of the request (from 0) to what answers it."""
    sent: dict[str, int] = field(default_factory=dict)
    """Bytes of each file that went out, right ones and wrong ones."""
    requests: list[tuple[str, int]] = field(default_factory=list)
    """Name and first byte of each request."""
    url: str = ""
    _lock: Lock = field(default_factory=Lock)


@dataclass
class Request:
    """One request for a file."""

    handler: BaseHTTPRequestHandler
    server: Server
    name: str
    content: bytes
    start: int
    """First byte that is asked for."""

    def head(self, status: int = 0, length: int | None = -1, start: int | None = None, **headers: str) -> None:
        """Status line and headers; by default those of an honest answer."""
        first = self.start if start is None else start
        self.handler.send_response(status or (206 if self.start else 200))
        if length is not None:
            self.handler.send_header("Content-Length", str(len(self.content) - first if length < 0 else length))
        if (status or 206) == 206 and self.start:
            last = len(self.content) - 1
            self.handler.send_header("Content-Range", f"bytes {first}-{last}/{len(self.content)}")
        for name, value in headers.items():
            self.handler.send_header(name.replace("_", "-"), value)
        self.handler.end_headers()

    def body(self, data: bytes) -> None:
        """Counts bytes and sends them."""
        with self.server._lock:
            self.server.sent[self.name] = self.server.sent.get(self.name, 0) + len(data)
        self.handler.wfile.write(data)
        self.handler.wfile.flush()


def honest(request: Request) -> None:
    request.head()
    request.body(request.content[request.start :])


def drop(at: float) -> Behaviour:
    """Closes the connection after this share of what is left."""

    def behave(request: Request) -> None:
        request.head()
        left = request.content[request.start :]
        request.body(left[: int(len(left) * at)])

    return behave


def stall(at: float, seconds: float) -> Behaviour:
    """Sends a share and then nothing for some time."""

    def behave(request: Request) -> None:
        drop(at)(request)
        time.sleep(seconds)

    return behave


def ignore_range(request: Request) -> None:
    request.start = 0
    honest(request)


def no_length(request: Request) -> None:
    """Says nothing of the size; the end of the connection is the end of the file."""
    request.head(length=None)
    request.body(request.content[request.start :])


def no_length_drop(at: float) -> Behaviour:
    def behave(request: Request) -> None:
        request.head(length=None)
        left = request.content[request.start :]
        request.body(left[: int(len(left) * at)])

    return behave


def too_long(request: Request) -> None:
    request.head(length=None)
    request.body(request.content[request.start :] + b"and more")


def wrong_length(request: Request) -> None:
    request.start = 0
    request.head(200, length=len(request.content) - 7)
    request.body(request.content[:-7])


def wrong_bytes(seed: int) -> Behaviour:
    """The right length and type, other bytes."""

    def behave(request: Request) -> None:
        request.head()
        request.body(bytes((b + seed % 255 + 1) % 256 for b in request.content[request.start :]))

    return behave


def wrong_start(request: Request) -> None:
    """A range that begins elsewhere, as it says."""
    request.start = max(1, request.start // 2)
    honest(request)


def html(request: Request) -> None:
    request.head(200, length=len(HTML), Content_Type="text/html; charset=utf-8")
    request.body(HTML)


def disguised_html(request: Request) -> None:
    """A web page that calls itself a file and keeps its length to itself."""
    request.head(200, length=None, Content_Type="application/octet-stream")
    request.body(HTML)


def status(code: int) -> Behaviour:
    def behave(request: Request) -> None:
        request.head(code, length=0)

    return behave


def hang_up(request: Request) -> None:
    """Closes the connection without an answer."""


def slow(pause: float, pieces: int = 20) -> Behaviour:
    """An honest answer in pieces."""

    def behave(request: Request) -> None:
        request.head()
        left = request.content[request.start :]
        step = max(1, len(request.content) // pieces)
        for i in range(0, len(left), step):
            request.body(left[i : i + step])
            time.sleep(pause)

    return behave


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is part of the tests."""


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    """Runs a server on a free port of the loopback address; sets its ``url``."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.close_connection = True
            name = self.path.rpartition("/")[2]
            if name not in server.files:
                self.send_error(404)
                return
            asked = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0]
            with server._lock:
                number = sum(n == name for n, _ in server.requests)
                server.requests.append((name, int(asked)))
            content = server.files[name]
            if int(asked) >= len(content):
                self.send_error(416)
                return
            server.script(name, number)(Request(self, server, name, content, int(asked)))

        def log_message(self, format: str, *args: Any) -> None:
            """Silence."""

    with _Quiet(("127.0.0.1", 0), Handler) as http:
        thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        server.url = f"http://127.0.0.1:{http.server_address[1]}"
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()
