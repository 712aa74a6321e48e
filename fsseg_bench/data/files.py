"""Reads whole files; what cannot be read ends in a message that names the file."""

from __future__ import annotations

import hashlib
from pathlib import Path

from fsseg_bench.errors import UserError
from fsseg_bench.paths import regular


def read_file(path: Path, kind: str) -> bytes:
    """The bytes of ``path``; ``kind`` says in messages what it is.

    Raises:
        UserError: missing or unreadable.
    """
    try:
        return regular(path).read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: no such {kind}") from None
    except OSError as error:
        raise UserError(f"{path}: the {kind} cannot be read: {error.strerror or error}") from None


def sha256(data: bytes) -> str:
    """SHA-256 (hex) of ``data``."""
    return hashlib.sha256(data).hexdigest()
