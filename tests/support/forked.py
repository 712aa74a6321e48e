"""Python programs as processes of their own that need not import torch first: forked from one that has.

``python`` with its arguments becomes a small client, which sends its arguments, folder, environment and standard
streams to a server, waits, and ends as the program does. What the program sees is what it sees in a fresh process: its
folder, its variables, its streams, its exit code. Not for tests of how a process begins (what it
imports, who it is, which file systems it sees) or is killed.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import shlex
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.support.fresh import ROOT

IMPORTED = ("torch", "torchvision", "fsseg_bench.cli.run", "fsseg_bench.engine.run", "fsseg_bench.data.open")
"""What the server imports; the rest comes with these, or with the program."""
_CLIENT = """\
import json, os, socket, struct, sys
server = socket.socket(socket.AF_UNIX)
server.connect(sys.argv[1])
job = json.dumps([os.getcwd(), dict(os.environ), sys.argv[2:]]).encode()
socket.send_fds(server, [struct.pack("<q", len(job))], [0, 1, 2])
server.sendall(job)
ended = server.recv(4)
code = struct.unpack("<i", ended)[0] if ended else 70
os.kill(os.getpid(), -code) if code < 0 else os._exit(code)
"""


class Job(NamedTuple):
    """A program to become."""

    folder: str
    variables: dict[str, str]
    arguments: list[str]
    """As Python has them: ``-m MODULE ...``, ``-c CODE ...``, ``FILE ...``; none or ``-`` reads the program."""


@contextlib.contextmanager
def python_server() -> Iterator[str]:
    """The start of a shell command: what follows it are Python's arguments. The server ends with the context."""
    folder = Path(tempfile.mkdtemp(prefix="fsseg-"))  # a socket's path has to be short
    (folder / "client.py").write_text(_CLIENT, encoding="utf-8")
    paths = [str(ROOT), str(ROOT / "methods"), *filter(None, [os.environ.get("PYTHONPATH")])]
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.support.forked", str(folder / "socket")],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        yield shlex.join([sys.executable, "-I", "-S", str(folder / "client.py"), str(folder / "socket")])
    finally:
        server.communicate()  # which closes its standard input
        shutil.rmtree(folder)


def _serve(path: str) -> Job:
    """Takes jobs until standard input ends; returns in each process that is to become one."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen(64)
    print("ready", flush=True)
    while True:
        ready, _, _ = select.select([listening, sys.stdin], [], [])
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if listening not in ready:
            os._exit(0)
        client, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            return _taken(client)
        client.close()


def _taken(client: socket.socket) -> Job:
    """Returns in a child of its own that has the client's streams; waits for it and ends in this process."""
    header, streams, _, _ = socket.recv_fds(client, 8, 3)
    with client.makefile("rb") as sent:
        job = Job(*json.loads(sent.read(*struct.unpack("<q", header))))
    child = os.fork()
    if child:
        for stream in streams:
            os.close(stream)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        with contextlib.suppress(OSError):  # the client was killed
            client.sendall(struct.pack("<i", code))
        os._exit(0)
    client.close()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    return job


def _become(job: Job) -> None:
    """Runs the program in this process."""
    os.chdir(job.folder)
    os.environ.clear()
    os.environ.update(job.variables)
    option, *rest = job.arguments or ["-"]
    if option == "-m":
        sys.argv, sys.path[0] = rest, ""
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif option in {"-c", "-"}:
        code, given = (sys.stdin.read(), rest) if option == "-" else (rest[0], rest[1:])
        sys.argv, sys.path[0] = [option, *given], ""
        exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv, sys.path[0] = job.arguments, str(Path(option).resolve().parent)
        runpy.run_path(option, run_name="__main__")


def _ended(job: Job) -> int:
    """Runs the program; its exit code, after what it has registered for its end."""
    code: object = 0
    try:
        _become(job)
    except SystemExit as end:
        code = end.code
    except BaseException as error:  # noqa: BLE001 -- as the interpreter does
        trace = error.__traceback__
        while trace and trace.tb_frame.f_code.co_filename in {__file__, "<frozen runpy>"}:
            trace = trace.tb_next  # the program's own frames are what a fresh process would show
        sys.excepthook(type(error), error.with_traceback(trace), trace)
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    if not isinstance(code, int | None):
        print(code, file=sys.stderr)
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return (code or 0) & 0xFF


if __name__ == "__main__":
    for name in IMPORTED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    os._exit(_ended(_serve(sys.argv[1])))  # an interpreter's end would take a second, to free what torch has made
