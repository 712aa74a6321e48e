"""List files that a protocol names: where they are, and the digest of what they hold."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable
from pathlib import Path

from fsseg_bench.errors import UserError
from fsseg_bench.paths import regular
from fsseg_bench.protocol.spec import LIST_KEYS, DataSpec, is_list_file


def absolute_lists(entries: Iterable[str], folder: Path) -> list[str]:
    """``entries`` with the list files among them as absolute paths, relative ones taken from ``folder``."""
    return [str((folder / Path(e).expanduser()).absolute()) if is_list_file(e) else e for e in entries]


def locate_lists(data: DataSpec, folder: Path, where: Path) -> tuple[DataSpec, dict[str, str]]:
    """``data`` with absolute list files, and the SHA-256 (hex) of each one's bytes.

    Args:
        data: as the protocol file has it.
        folder: what relative list files are relative to: the folder of the protocol file.
        where: the protocol file, for messages.

    Raises:
        UserError: a list file cannot be read; names it and the key.
    """
    found = {key: tuple(absolute_lists(getattr(data, key), folder)) for key in LIST_KEYS}
    digests = {
        entry: _digest(Path(entry), f"{where}: data.{key}")
        for key, entries in found.items()
        for entry in entries
        if is_list_file(entry)
    }
    return dataclasses.replace(data, train_list=found["train_list"], test_list=found["test_list"]), digests


def _digest(path: Path, where: str) -> str:
    try:
        return hashlib.sha256(regular(path).read_bytes()).hexdigest()
    except FileNotFoundError:
        raise UserError(
            f"{where} names the list file {path}, which does not exist (an entry that ends in .txt is a file: "
            "relative to the protocol file, or with --set to the current folder)"
        ) from None
    except OSError as error:
        raise UserError(f"{where}: {path}: cannot be read: {error.strerror or error}") from None
