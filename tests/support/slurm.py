"""A private Slurm of one node on loopback: no munge, no control groups, no service of the system, no fixed port.

It ends with the process that started it, however that ends: a process of its own watches a pipe (``python -m``).
"""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.fakes import until
from tests.support.fresh import ROOT

GUARD = 600.0
"""Seconds after which a wait is given up: it hangs."""
_PROGRAMS = ("slurmctld", "slurmd", "sbatch", "scancel", "scontrol", "sinfo", "squeue")
_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])

# auth/none instead of munge. The two No...InAddrAny: the daemons listen on 127.0.0.1 only. cred_expire: a requeued job
# waits as long. config_overrides: the node has as many cores as is said. GPUs must be character devices, or jobs do not
# get CUDA_VISIBLE_DEVICES. MaxArraySize: tasks of an array have the indices 0 to 3.
_CONFIGURATION = """
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
CredType=cred/none
AuthInfo=cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,sched_min_interval=0,bf_interval=1,defer_batch,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=30
MaxArraySize=4
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=0
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=off
"""
_GPUS = "NodeName={host} Name=gpu File=/dev/null\nNodeName={host} Name=gpu File=/dev/zero\n"


def missing() -> str | None:
    """Why there can be no Slurm here."""
    absent = [name for name in _PROGRAMS if shutil.which(name, path=_PATH) is None]
    if absent:
        return f"no Slurm here: {', '.join(absent)} not found (Debian: apt-get install slurmctld slurmd slurm-client)"
    return None


@contextmanager
def private_slurm(folder: Path) -> Iterator[dict[str, str]]:
    """Slurm is up inside; the variables of the environment that its commands need."""
    command = [sys.executable, "-m", "tests.support.slurm", str(folder)]
    watcher = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert watcher.stdin is not None and watcher.stdout is not None
    try:
        told = watcher.stdout.readline().strip()
        assert told == "up", f"Slurm did not start: {told} {_tail(folder)}"
        yield {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": _PATH}
    finally:
        watcher.stdin.close()
        watcher.wait(GUARD)


def _watch(folder: Path) -> None:
    configuration = _configure(folder)
    os.environ |= {"SLURM_CONF": str(configuration), "PATH": _PATH}
    daemons: list[subprocess.Popen[bytes]] = []
    try:
        for name, more in (("slurmctld", ["-D", "-i"]), ("slurmd", ["-D"])):
            with (folder / f"{name}.out").open("ab") as out:
                daemons.append(
                    subprocess.Popen(
                        [name, *more], stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
                    )
                )
        until(lambda: _idle() or any(daemon.poll() is not None for daemon in daemons))
        print("up" if _idle() else "a daemon ended", flush=True)
        sys.stdin.read()  # until the other side closes it, or is dead
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
            with suppress(subprocess.TimeoutExpired):
                daemon.wait(15)
        _kill_all_with(configuration)  # and what ran in jobs


def _configure(folder: Path) -> Path:
    host = socket.gethostname().split(".")[0]
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        ports = {"controller": one.getsockname()[1], "node": other.getsockname()[1]}
    words = {"host": host, "folder": folder, "user": getpass.getuser(), **ports}
    (folder / "gres.conf").write_text(_GPUS.format(**words))
    configuration = folder / "slurm.conf"
    configuration.write_text(_CONFIGURATION.format(**words))
    return configuration


def _idle() -> bool:
    return "idle" in subprocess.run(["sinfo", "-h", "-o", "%T"], capture_output=True, text=True, check=False).stdout


def _kill_all_with(configuration: Path) -> None:
    """All processes of this cluster know its configuration by the environment."""
    mark = f"SLURM_CONF={configuration}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if int(process.name) != os.getpid() and mark in (process / "environ").read_bytes().split(b"\0"):
                os.kill(int(process.name), signal.SIGKILL)


def _tail(folder: Path) -> str:
    return "\n".join(path.read_text()[-2000:] for path in sorted(folder.glob("*.out")))


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # a terminal sends it to all: the other side decides
        signal.signal(number, lambda *_: None)  # SIG_IGN would be inherited by the jobs
    _watch(Path(sys.argv[1]))
