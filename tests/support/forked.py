"""Python programs as processes of their own that need not import torch first: forked from one that has.

The server takes programs in two ways. ``python`` with its arguments becomes a small client for a shell, which sends
its arguments, folder, environment and standard streams, waits, and ends as the program does. And
:class:`tests.support.forked_popen.Forked` takes the place of ``subprocess.Popen``: the process that it asks for is a
child of the asking process, with its own number, to which signals can be sent. What a program sees is what it sees in a
fresh process: its folder, its variables, its streams, its exit code. Not for tests of how a process begins (what it
imports, who it is, which file systems it sees).
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import gc
import importlib
import json
import os
import runpy
import select
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

from tests.support import forked_popen
from tests.support.drawn import draw_once
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
_HIGH = 700
"""File descriptors from here on are the support's own."""


class Job(NamedTuple):
    """A program to become."""

    folder: str
    variables: dict[str, str]
    arguments: list[str]
    """As Python has them: ``-m MODULE ...``, ``-c CODE ...``, ``FILE ...``; none or ``-`` reads the program."""
    numbers: tuple[int, ...] = (0, 1, 2)
    """What the file descriptors that are sent with it are called in the program."""
    session: bool = False
    """Whether it begins a session of its own."""
    group: int = -1
    """The process group that it joins, of the server's session; 0 for one of its own, -1 for the server's."""
    child: bool = False
    """Whether it becomes a child of the process that asks, which gets its number, instead of being waited for here."""


@contextlib.contextmanager
def python_server() -> Iterator[str]:
    """The address of a server, which ends with the context."""
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
        yield str(folder / "socket")
    finally:
        server.communicate()  # which closes its standard input
        shutil.rmtree(folder)


def shell_words(address: str) -> str:
    """The start of a shell command: what follows it are Python's arguments."""
    return shlex.join([sys.executable, "-I", "-S", str(Path(address).with_name("client.py")), address])


def _listening(address: str) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(address)
    listening.listen(64)
    return listening


def _serve(listening: socket.socket, life: int) -> tuple[Job, Sequence[int]]:
    """Takes jobs until ``life`` ends; returns in each process that is to become one, with the streams sent for it."""
    while True:
        ready, _, _ = select.select([listening, life], [], [])
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if listening not in ready:
            os._exit(0)
        client, _ = listening.accept()
        header, streams, _, _ = socket.recv_fds(client, 8, 64)
        with client.makefile("rb") as sent:
            job = Job(*json.loads(sent.read(*struct.unpack("<q", header))))
        if _orphan(client) if job.child else _waited_for(client, streams):
            listening.close()
            client.close()
            return job, streams
        for stream in streams:
            os.close(stream)
        client.close()


def _waited_for(client: socket.socket, streams: Sequence[int]) -> bool:
    """True in the process that is to become a job; another process waits for it and tells the client how it ended."""
    if os.fork():
        return False
    child = os.fork()
    if child:
        for stream in streams:
            os.close(stream)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        with contextlib.suppress(OSError):  # the client was killed
            client.sendall(struct.pack("<i", code))
        os._exit(0)
    return True


def _orphan(client: socket.socket) -> bool:
    """True in the process that is to become a job; the client, which adopts it, gets its number."""
    told, tell = os.pipe()
    between = os.fork()
    if between == 0:
        child = os.fork()
        if child:
            os.write(tell, struct.pack("<i", child))
            os._exit(0)
    else:
        os.waitpid(between, 0)  # when the kernel has given the child to another parent
        client.sendall(os.read(told, 4))
    os.close(told)
    os.close(tell)
    return between == 0


def _installed(job: Job, streams: Sequence[int]) -> None:
    """Gives this process the streams of its job, and no other files than a fresh one has."""
    high = [fcntl.fcntl(stream, fcntl.F_DUPFD, _HIGH) for stream in streams]
    for number, stream in zip(job.numbers, high, strict=True):
        os.dup2(stream, number)
    mine = Path("/proc/self/fd")
    for number in [int(path.name) for path in mine.iterdir()] if mine.is_dir() else streams:
        if number not in job.numbers:
            with contextlib.suppress(OSError):
                os.close(number)


def _serve_within() -> None:
    """Forks a server for what this process starts itself, which ends with this process."""
    address, (life, _held) = f"\0fsseg-{os.getpid()}", os.pipe()
    listening = _listening(address)
    if os.fork():
        os.close(life)
        listening.close()
        forked_popen.Forked.address = address
        subprocess.Popen = forked_popen.Forked  # type: ignore[misc]
        return
    os.setpgid(0, 0)  # what is sent to the whole group is for programs, which join it again
    nothing = os.open(os.devnull, os.O_RDWR)
    place = fcntl.fcntl(listening.detach(), fcntl.F_DUPFD, _HIGH)
    _installed(Job("", {}, [], (0, 1, 2, 3, 4)), [nothing, nothing, nothing, life, place])
    become(*_serve(socket.socket(fileno=4), 3))


def become(job: Job, streams: Sequence[int]) -> NoReturn:
    """The rest of this process is the job; it ends with it."""
    if job.session:
        os.setsid()
    elif job.group >= 0:
        os.setpgid(0, job.group)
    _installed(job, streams)
    _serve_within()
    code = _ended(job)
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)  # an interpreter's end would take a second, to free what torch has made


def _become(job: Job) -> None:
    """Runs the program in this process."""
    os.chdir(job.folder)
    os.environ.clear()
    os.environ.update(job.variables)
    folders = filter(None, job.variables.get("PYTHONPATH", "").split(os.pathsep))
    sys.path[1:1] = [folder for folder in folders if folder not in sys.path]
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
    interrupted = False
    try:
        _become(job)
    except SystemExit as end:
        code = end.code
    except BaseException as error:  # noqa: BLE001 -- as the interpreter does
        interrupted = isinstance(error, KeyboardInterrupt)
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
    return -signal.SIGINT if interrupted else (code or 0) & 0xFF


if __name__ == "__main__":
    for name in IMPORTED:
        importlib.import_module(name)
    importlib.import_module("fsseg_bench.nn.backbones.resnet")
    draw_once()
    importlib.import_module("fsseg_bench.engine.build").build_method("baseline", "resnet18-layer2", "none")
    gc.collect()
    gc.freeze()
    place = _listening(sys.argv[1])
    print("ready", flush=True)
    become(*_serve(place, sys.stdin.fileno()))
