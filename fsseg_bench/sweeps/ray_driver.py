"""The side of a :class:`fsseg_bench.sweeps.on_ray.RayEngine` that speaks to Ray: a process of its own.

It reads the labels of the cells that are to begin, a line each, and writes lines of JSON; the end of its input tells it
to stop the cells and to leave.
"""

from __future__ import annotations

import json
import math
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any, Final, TextIO

from fsseg_bench.errors import TERMINATED
from fsseg_bench.version import __version__

_LOOK: Final = 0.2
"""Seconds from one look for messages to the next."""
_ROOM: Final = 5.0
"""Seconds from one look at the nodes to the next."""
_PATIENCE: Final = 45.0
"""Seconds in which cells that were told to stop have ended."""


def main() -> None:
    """Joins the cluster and makes cells until the input ends."""
    given = json.loads(sys.argv[1])
    signal.signal(signal.SIGINT, lambda *_: None)  # ignored, it would be so in Ray's processes, which need it
    requests, replies = _own_pipes()
    say = _teller(replies)
    try:
        cluster = _Cluster(given, say)
    except ImportError as error:
        advice = 'pip install "fsseg-bench[ray]", here and on the nodes of the cluster'
        say({"wrong": f"--on ray needs Ray ({_one_line(error)}): {advice}"})
        return
    except Exception as error:  # noqa: BLE001 - Ray has many, and each means that there will be no cluster
        traceback.print_exc()
        say({"wrong": f"Ray at {given['address']!r} cannot be joined: {_one_line(error)}"})
        return
    try:
        cluster.serve(_listened(requests))
    except Exception:  # noqa: BLE001 - said by the other side
        traceback.print_exc()
        say({"bug": traceback.format_exc()})
    finally:
        cluster.leave()


def _own_pipes() -> tuple[TextIO, TextIO]:
    """Input and output for this process alone: what it starts, and what prints, has the file of errors."""
    requests = os.fdopen(os.dup(0), "r", encoding="utf-8")
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return requests, replies


def _teller(replies: TextIO) -> Callable[[Mapping[str, Any]], None]:
    def say(message: Mapping[str, Any]) -> None:
        try:
            replies.write(json.dumps(message) + "\n")
            replies.flush()
        except OSError:  # nobody listens any more: the input has ended as well
            pass

    return say


def _listened(requests: TextIO) -> queue.Queue[str | None]:
    """The labels of cells that are to begin; None is the end."""
    messages: queue.Queue[str | None] = queue.Queue()

    def listen() -> None:
        for line in requests:
            messages.put(line.rstrip("\n"))
        messages.put(None)

    threading.Thread(target=listen, daemon=True).start()
    return messages


class _Cluster:
    """Ray, joined."""

    def __init__(self, given: Mapping[str, Any], say: Callable[[Mapping[str, Any]], None]) -> None:
        import ray

        self._ray, self._given, self._say = ray, given, say
        alone: dict[str, Any] = {
            "include_dashboard": False,
            "object_store_memory": 80_000_000,  # nothing is kept there but exit codes
            "_node_ip_address": "127.0.0.1",
        }
        ray.init(
            address=given["address"],
            log_to_driver=False,
            logging_level="ERROR",
            **alone if given["address"] == "local" else {},
        )
        self._at_work: dict[Any, str] = {}
        self._next_look = 0.0
        self._warned = False
        self._needs = {
            "CPU": given["cores"],
            "GPU": given["GPUs"],
            "memory": given["memory"] or 0,
            **given["resources"],
        }
        if given["GPUs"] is None:
            self._needs["GPU"] = 1 if ray.cluster_resources().get("GPU") else 0
        self._look_for_room()

    def serve(self, messages: queue.Queue[str | None]) -> None:
        """Makes cells until the messages end, and stops those that are at work then."""
        while True:
            try:
                label = messages.get(timeout=_LOOK)
            except queue.Empty:
                pass
            else:
                if label is None:
                    self._stop()
                    return
                self._begin(label)
            self._collect(0)
            self._look_for_room()

    def leave(self) -> None:
        """Leaves the cluster."""
        self._ray.shutdown()

    def _begin(self, label: str) -> None:
        given, needs = self._given, self._needs
        environment = {name: value for name, value in os.environ.items() if name.startswith("FSSEG_")}
        if not needs["GPU"]:
            environment["CUDA_VISIBLE_DEVICES"] = ""
        task = self._ray.remote(
            num_cpus=needs["CPU"],
            num_gpus=needs["GPU"],
            memory=needs["memory"] or None,
            resources=given["resources"] or None,
            max_retries=0,  # who drives the sweep decides, by what was tried
        )(task_of(__version__))
        self._at_work[task.remote(given["folder"], label, environment, given["program"])] = label

    def _collect(self, seconds: float) -> None:
        """Says of the cells that have ended how, after waiting for one."""
        if not self._at_work:
            return
        ended, _ = self._ray.wait(list(self._at_work), num_returns=1, timeout=seconds)
        for one in ended:
            label = self._at_work.pop(one)
            try:
                told = self._ray.get(one)
            except self._ray.exceptions.TaskCancelledError:
                told = {"code": TERMINATED}
            except self._ray.exceptions.RayTaskError as error:
                told = {"code": None, "bug": str(error)}
            except self._ray.exceptions.RayError as error:  # the node, or its process for this cell, is dead
                self._say({"say": f"{label}: {type(error).__name__}: {_one_line(error)}"})
                told = {"code": None}
            self._say({"ended": label, **told})

    def _stop(self) -> None:
        for one in self._at_work:
            self._ray.cancel(one, force=False)  # an interrupt there: the cell is told to stop, and waited for
        end = time.monotonic() + _PATIENCE
        while self._at_work and (left := end - time.monotonic()) > 0:
            self._collect(left)
        for one in self._at_work:
            self._ray.cancel(one, force=True)

    def _look_for_room(self) -> None:
        """Says how many cells the nodes have room for, all together."""
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + _ROOM
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        room = sum(_fitting(self._needs, node) for node in nodes)
        if not room and not self._warned:
            self._warned = True
            words = ", ".join(f"{name} {amount:g}" for name, amount in self._needs.items() if amount)
            self._say({"say": f"no node of this Ray cluster has what a cell needs ({words}): it waits for one"})
        self._say({"room": room})


def _fitting(needs: Mapping[str, float], node: Mapping[str, float]) -> int:
    return min((math.floor(node.get(name, 0) / amount) for name, amount in needs.items() if amount), default=1)


def task_of(version: str) -> Callable[..., dict[str, Any]]:
    """What a node does. Ray sends a function that is inside another as a whole, so it can say that there is no
    fsseg-bench on the node; of anything else here it has nothing but what is given."""

    def task(folder: str, label: str, environment: dict[str, str], program: list[str] | None) -> dict[str, Any]:
        import os
        import socket
        import sys
        import threading
        import traceback
        from pathlib import Path

        where = f"the Ray node {socket.gethostname()}"
        try:
            from fsseg_bench.version import __version__ as here
        except ImportError as error:
            return {
                "code": None,
                "wrong": f"{where} has no fsseg-bench for {sys.executable} ({error}): install it there",
            }
        if here != version:
            return {
                "code": None,
                "wrong": f"{where} has fsseg-bench {here}, and this is {version}: install the same on all nodes",
            }
        from fsseg_bench.errors import UserError
        from fsseg_bench.sweeps.attempt import PROGRAM, attempt
        from fsseg_bench.sweeps.plan import read_plan

        stop, over = threading.Event(), threading.Event()
        told: dict[str, Any] = {"code": None}

        def make() -> None:
            try:
                plan = read_plan(Path(folder))
            except UserError as error:
                told["wrong"] = (
                    f"{where} does not see the folder of the sweep ({error}): the results must be on a file system "
                    "that all nodes share, under the same name"
                )
                over.set()
                return
            try:
                told["code"] = attempt(
                    Path(folder),
                    plan,
                    plan.by_label[label],
                    engine="ray",
                    stop=stop,
                    environment=environment,
                    gpu=os.environ.get("CUDA_VISIBLE_DEVICES") or None,
                    program=program or PROGRAM,
                )
            except UserError as error:
                told["wrong"] = f"{where}: {error}"
            except BaseException:  # noqa: BLE001 - said by the other side
                told["bug"] = f"{where}: {traceback.format_exc()}"
            finally:
                over.set()

        threading.Thread(target=make, daemon=True).start()
        while True:
            try:
                while not over.wait(0.1):  # an interrupted Thread.join would take the thread for ended (Python 3.11)
                    pass
                break
            except KeyboardInterrupt:  # how Ray cancels a task
                stop.set()
        return told

    return task


def _one_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


if __name__ == "__main__":
    main()
