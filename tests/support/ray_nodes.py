"""A Ray of two pretended nodes on loopback, each with one GPU that is none; ends with the process that started it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.fresh import ROOT

GUARD = 600.0


class Nodes:
    """The pretended cluster."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.address = self._answer()
        """``HOST:PORT``."""

    def kill(self) -> None:
        """Kills one node, the older one, at once; another one joins the cluster."""
        assert self._process.stdin is not None
        self._process.stdin.write("kill\n")
        self._process.stdin.flush()
        assert self._answer() == "killed"

    def _answer(self) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:  # Ray prints as well
            if line.startswith("> "):
                return line[2:].strip()
        raise AssertionError("Ray did not start")


@contextmanager
def ray_nodes(folder: Path) -> Iterator[Nodes]:
    """Ray is up inside; its noise goes to a file in ``folder``."""
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "methods")])
    with (folder / "ray_nodes.txt").open("ab") as noise:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.ray_nodes"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=noise,
            text=True,
            process_group=0,
        )
    try:
        yield Nodes(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(GUARD)


def _watch() -> None:
    from ray.cluster_utils import Cluster

    common = {"object_store_memory": 80_000_000, "node_ip_address": "127.0.0.1", "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "num_gpus": 0, **common})
    try:
        nodes = [cluster.add_node(num_cpus=1, num_gpus=1, **common) for _ in range(2)]
        print(">", cluster.address, flush=True)
        for _ in sys.stdin:
            cluster.remove_node(nodes.pop(0), allow_graceful=False)
            nodes.append(cluster.add_node(num_cpus=1, num_gpus=1, **common))
            print("> killed", flush=True)
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    _watch()
