"""What makes two runs the same run: a hash over the settings that determine their numbers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from fsseg_bench.storage.json_text import plain


def canonical_json(settings: Mapping[str, Any]) -> str:
    """``settings`` as JSON text that is equal for equal content: sorted keys, no spaces, no NaN."""
    return json.dumps(plain(settings), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def identity_hash(settings: Mapping[str, Any]) -> str:
    """SHA-256 (64 hex digits) of :func:`canonical_json`; the order of keys does not matter."""
    return hashlib.sha256(canonical_json(settings).encode()).hexdigest()


def flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested settings by dotted name: ``{"recipe": {"lr": 1}}`` gives ``("recipe.lr", 1)``."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """Each setting that differs, as ``name: value in first / value in second``, sorted by name."""
    left, right = dict(flat(plain(first))), dict(flat(plain(second)))
    names = sorted(name for name in left | right if left.get(name) != right.get(name))
    return [f"{name}: {_show(left, name)} / {_show(right, name)}" for name in names]


def _show(values: Mapping[str, Any], name: str) -> str:
    return json.dumps(values[name], ensure_ascii=False) if name in values else "not set"
