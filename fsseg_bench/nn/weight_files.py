"""Reading weight files without trusting them, and finding or fetching torchvision's."""

from __future__ import annotations

import difflib
import hashlib
import http.client
import os
import pickle
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from fsseg_bench import paths
from fsseg_bench.errors import NotHereError, UserError
from fsseg_bench.nn.harmless import passing
from fsseg_bench.nn.torch_file import DAMAGED, state_of
from fsseg_bench.paths import regular

SEALED = "fsseg-bench checkpoint 2"
"""The ``format`` of a checkpoint that has a seal; those of version 1 have the sums of their zip alone."""
_NESTED = ("state_dict", "model", "model_state_dict")
_PREFIX = "module."
_TORCH_SUFFIXES = {".pth", ".pt"}
SUFFIXES = (*sorted(_TORCH_SUFFIXES), ".safetensors")
"""How the names of weight files end."""
FOREIGN_OBJECT = re.compile(r"GLOBAL (\S+)")


def find_file(given: str) -> Path:
    """The weight file that a user named.

    Raises:
        UserError: no such file (near matches in its folder are named), a folder, or an unknown kind of file.
    """
    path = Path(given).expanduser()
    try:
        if path.is_file():
            if path.suffix in SUFFIXES:
                return path
            raise UserError(f"weights {given}: the name must end in one of: {', '.join(SUFFIXES)}")
        is_folder = path.is_dir()
        if path.exists() and not is_folder:
            raise UserError(f"weights {given}: not a regular file (a pipe or a device)")
        folder = path if is_folder else path.parent
        present = [entry.name for entry in folder.iterdir() if entry.suffix in SUFFIXES]
    except OSError as error:
        raise UserError(f"weights {given}: no such file ({error})") from error
    if not present:
        raise UserError(f"weights {given}: no such file, and the folder {folder} holds no weight file")
    if is_folder:
        raise UserError(f"weights {given}: this is a folder; name a file in it: {', '.join(sorted(present))}")
    near = difflib.get_close_matches(path.name, present, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    raise UserError(
        f"weights {given}: no such file.{hint} Weight files in {folder.resolve()}: {', '.join(sorted(present))}"
    )


def read_file(path: Path) -> dict[str, Tensor]:
    """The named tensors of a weight file, on the CPU; see :func:`open_file` and :func:`named_tensors`.

    Raises:
        UserError: the file is damaged, holds objects other than tensors, or holds no named tensor.
    """
    try:
        return named_tensors(open_file(path), path)
    except UserError as error:
        raise UserError(f"weights {error}") from None


def named_tensors(content: Any, path: Path) -> dict[str, Tensor]:
    """The named tensors of a file's content.

    A dictionary nested under ``state_dict``, ``model`` or ``model_state_dict`` is opened, the prefix
    ``module.`` is taken off, and entries that are not tensors are left out.

    Raises:
        UserError: there is none; names ``path``.
    """
    for key in _NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    tensors = {}
    if isinstance(content, Mapping):
        tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        inside = [
            f"{key!r}"
            for key, value in (content.items() if isinstance(content, Mapping) else ())
            if isinstance(value, Mapping) and any(isinstance(each, Tensor) for each in value.values())
        ]
        where = f", but {' and '.join(inside)} in it do; save the one you mean alone" if inside else ""
        raise UserError(
            f"{path}: holds no named tensors{where}; a state dict is needed, as torch.save(model.state_dict(), ...) "
            "writes it"
        )
    while all(key.startswith(_PREFIX) for key in tensors):
        tensors = {key.removeprefix(_PREFIX): value for key, value in tensors.items()}
    return tensors


def open_file(path: Path) -> Any:
    """What a file of torch.save or safetensors holds, on the CPU; no code in the file is run.

    Options and scores that training scripts save with the parameters are passed over (:mod:`fsseg_bench.nn.harmless`).

    Raises:
        UserError: it cannot be read, is damaged, holds objects other than tensors and plain values, or has lost its
            seal; names ``path``.
    """
    try:
        regular(path)
        if _is_safetensors(path):
            return safetensors.torch.load_file(path)
        state = state_of(path)
        if state.damage:
            raise UserError(f"{path}: truncated or damaged ({state.damage})")
        with path.open("rb") as stream, passing():  # of a path, torch.load would judge by the suffix
            content = torch.load(stream, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    except safetensors.SafetensorError as error:
        raise UserError(f"{path}: truncated, or not a safetensors file ({error})") from error
    except DAMAGED as error:
        if isinstance(error, pickle.UnpicklingError) and (found := FOREIGN_OBJECT.search(str(error))):
            raise UserError(
                f"{path}: holds more than tensors ({found[1]}). Opening such a file can run any code, so it is "
                "refused. If you trust it, open it yourself and save its tensors alone: "
                "torch.save(model.state_dict(), ...)"
            ) from error
        raise UserError(f"{path}: truncated, damaged, or not written by torch.save") from error
    if isinstance(content, dict) and content.get("format") == SEALED and not state.sealed:
        raise UserError(
            f"{path}: was changed since the training wrote it (its seal is gone); to evaluate parameters of your own, "
            "save them alone: torch.save(checkpoint['model'], ...)"
        )
    return content


def _is_safetensors(path: Path) -> bool:
    """Told by the first bytes where these are of one of the two kinds, else by the name."""
    with path.open("rb") as stream:
        head = stream.read(9)
    return head[8:] == b"{" or (path.suffix == ".safetensors" and not head.startswith(b"PK"))


def file_hash(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"weights {path}: cannot be read ({error})") from error


def weights_folders() -> tuple[Path, ...]:
    """Where published weights are looked for: ``FSSEG_WEIGHTS``, the cache, torch.hub's folder."""
    own = os.environ.get("FSSEG_WEIGHTS")
    hub = Path(torch.hub.get_dir()) / "checkpoints"
    return (*((Path(own).expanduser(),) if own else ()), _cache(), hub)


def published_file(name: str, url: str, hash_prefix: str) -> Path:
    """A published weight file, which is here already or is downloaded from ``url`` into the cache.

    Its SHA-256 begins with ``hash_prefix``.

    Raises:
        NotHereError: it is neither here nor can be downloaded.
        UserError: its content is not what its name promises.
    """
    for folder in weights_folders():
        path = folder / name
        if path.is_file():
            if not file_hash(path).startswith(hash_prefix):
                raise UserError(
                    f"{path} is not the published file: its SHA-256 does not begin with {hash_prefix}."
                    " Delete it, or put the right one there"
                )
            return path
    target = _cache() / name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(target), hash_prefix, progress=sys.stderr.isatty())
    # RuntimeError is torch.hub's word for a wrong hash
    except (OSError, http.client.HTTPException, RuntimeError) as error:
        folders = "\n  ".join(map(str, weights_folders()))
        raise NotHereError(
            f"cannot download {name} from {url}: {error}.\nPut the file (its SHA-256 begins with"
            f" {hash_prefix}) into one of these folders (FSSEG_WEIGHTS names one more):\n  {folders}\n"
            "or choose other weights: a path, or 'none'"
        ) from error
    return target


def _cache() -> Path:
    return paths.cache_root() / "weights"
