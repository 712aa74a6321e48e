"""Whether locks hold in a folder: tried between two processes, and said of other machines as far as can be known."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple

from fsseg_bench.storage.files import TEMPORARY, make_folder, writing
from fsseg_bench.storage.lock_file import NO_LOCKS

_MOUNTS: Final = Path("/proc/mounts")
_NETWORK: Final = frozenset(
    [
        *("nfs", "nfs4", "lustre", "beegfs", "gpfs", "ceph", "cifs", "smb3", "9p", "afs", "glusterfs", "ocfs2", "gfs2"),
        *("pvfs2", "orangefs", "panfs", "wekafs", "virtiofs"),
    ]
)
"""File systems that other machines may see, too; so may those of programs, which begin with ``fuse.``."""
_OTHER: Final = """
import fcntl, sys
with open(sys.argv[1], "r+b") as file:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        sys.exit(3)
"""
_SECONDS: Final = 60.0

Inside = Literal["hold", "do not hold", "are missing"]


class Mount(NamedTuple):
    """Where a file system is mounted."""

    kind: str
    """Its type, as ``nfs4``."""
    options: frozenset[str]

    @property
    def shared(self) -> bool:
        """Whether other machines may see the same files."""
        return self.kind in _NETWORK or self.kind.startswith("fuse.")


@dataclass(frozen=True)
class LockFacts:
    """What is known of the locks in a folder."""

    folder: Path
    mount: Mount | None
    """None where the system does not say."""
    inside: Inside
    """Whether the system's locks keep two processes of this machine apart."""

    @property
    def words(self) -> str:
        """What the user should know; empty where the system's locks are all that is needed."""
        shared = self.mount is not None and self.mount.shared
        if self.inside == "hold" and not shared:
            return ""
        kind = f" ({self.mount.kind})" if self.mount else ""
        return f"{self.folder}{kind}: {self._inside()}{'; ' + self._between() if shared else ''}"

    def _inside(self) -> str:
        if self.inside == "hold":
            return "locks hold between processes of this machine"
        missing = "this file system has no locks" if self.inside == "are missing" else "its locks keep nobody out"
        return f"{missing}: files with a heartbeat take their place"

    def _between(self) -> str:
        """Of other machines."""
        options = self.mount.options if self.mount else frozenset[str]()
        if self.inside != "hold":
            return "between machines, too"
        if reason := _local(self.mount.kind if self.mount else "", options):
            return f"they do not reach other machines (mounted with {reason}), where the heartbeat decides"
        return "between machines the server and the heartbeat decide"


def locks_hold(folder: Path) -> LockFacts:
    """Tries the locks of a folder between this process and another one; the folder is made when it is missing.

    Raises:
        UserError: nothing can be written there.
    """
    path = make_folder(folder) / f".lock-test-{secrets.token_hex(4)}{TEMPORARY}"
    try:
        with writing(path), path.open("x+b") as file:
            return LockFacts(folder, mount_of(folder), _tried(file.fileno(), path))
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _tried(file: int, path: Path) -> Inside:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return "are missing"
    command = [sys.executable, "-I", "-S", "-c", _OTHER, str(path)]
    other = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False)
    return "hold" if other.returncode == 3 else "do not hold"


def mount_of(folder: Path, mounts: Path = _MOUNTS) -> Mount | None:
    """The mount that a folder is in; None where the system does not say."""
    place = os.path.realpath(folder)
    try:
        lines = mounts.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return None
    best, found = -1, None
    for line in lines:
        _, point, kind, options, *_ = line.split(" ")
        point = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), point)
        inside = place == point or place.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= best:  # of two at one place the later one is seen
            best, found = len(point), Mount(kind, frozenset(options.split(",")))
    return found


def _local(kind: str, options: frozenset[str]) -> str:
    """The mount option that keeps locks on this machine; empty where there is none."""
    if kind in {"nfs", "nfs4"}:
        return next((name for name in ("nolock", "local_lock=all", "local_lock=posix") if name in options), "")
    if kind == "lustre":
        return "localflock" if "localflock" in options else ""
    return next((name for name in ("nobrl", "nolock") if name in options), "")
