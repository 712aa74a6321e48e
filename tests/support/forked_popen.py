"""``subprocess.Popen`` for Python programs that are forked from a server, see :mod:`tests.support.forked`.

The process is a child of the one that asks for it, as with ``subprocess.Popen``: it has its number, hears signals,
belongs to its process group or begins a session of its own, and can be waited for. Where the system cannot do that, or
the command is not ``python -c``, ``-m`` or a file, it is started afresh.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_PR_SET_CHILD_SUBREAPER = 36
_ours = threading.Lock()


class Forked(subprocess.Popen[Any]):
    """Asks the server at ``address`` for the process."""

    address = ""

    def _execute_child(
        self,
        args: Any,
        executable: Any,
        preexec_fn: Any,
        close_fds: Any,
        pass_fds: Any,
        cwd: Any,
        env: Any,
        startupinfo: Any,
        creationflags: Any,
        shell: Any,
        p2cread: int,
        p2cwrite: int,
        c2pread: int,
        c2pwrite: int,
        errread: int,
        errwrite: int,
        restore_signals: Any,
        gid: Any,
        gids: Any,
        uid: Any,
        umask: int,
        start_new_session: bool,
        process_group: int = -1,
    ) -> None:
        words = None if shell or preexec_fn or executable or sys.platform != "linux" else _program(args)
        if words is None or not self.address:
            super()._execute_child(  # type: ignore[misc]
                args, executable, preexec_fn, close_fds, pass_fds, cwd, env, startupinfo, creationflags, shell,
                p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite,
                restore_signals, gid, gids, uid, umask, start_new_session, process_group,
            )  # fmt: skip
            return
        given = (p2cread, c2pwrite, errwrite)
        streams = {number: number if stream == -1 else stream for number, stream in enumerate(given)}
        streams |= {number: number for number in pass_fds}
        wanted = os.environ if env is None else env
        variables = {os.fsdecode(key): os.fsdecode(value) for key, value in wanted.items()}
        group = process_group if process_group >= 0 else os.getpgrp()
        folder = str(Path(cwd or ".").absolute())
        job = [folder, variables, words, list(streams), bool(start_new_session), group, True]
        with _ours, _adopting():
            self.pid = _asked(self.address, json.dumps(job).encode(), list(streams.values()))
        self._child_created = True
        self._close_pipe_fds(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)  # type: ignore[attr-defined]


def _program(args: Any) -> list[str] | None:
    """The arguments of this Python where it is to run a program in the usual way."""
    words = [os.fspath(word) for word in args] if isinstance(args, list | tuple) else []
    if len(words) < 2 or words[0] != sys.executable:
        return None
    rest = words[2:] if words[1] == "-P" else words[1:]  # the module search path then lacks the current folder
    return rest if rest and (rest[0] in {"-c", "-m"} or not rest[0].startswith("-")) else None


@contextlib.contextmanager
def _adopting() -> Iterator[None]:
    """Descendants whose parent ends meanwhile become children of this process."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def _asked(address: str, job: bytes, streams: list[int]) -> int:
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(address)
        socket.send_fds(server, [struct.pack("<q", len(job))], streams)
        server.sendall(job)
        (pid,) = struct.unpack("<i", server.recv(4))
    return int(pid)
