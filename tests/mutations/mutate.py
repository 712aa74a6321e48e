"""Seeded damage: to bytes, to lines, and to the values of JSON, TOML and checkpoints."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import torch

Mutator = Callable[[bytes, random.Random], bytes]

BOM = b"\xef\xbb\xbf"
HUGE = b"9" * 400


def _flip(data: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(data))
    return data[:place] + bytes([data[place] ^ (1 << rng.randrange(8))]) + data[place + 1 :]


def _digit(data: bytes, rng: random.Random) -> bytes:
    """Another digit in place of one: the file stays well-formed."""
    places = [i for i, c in enumerate(data) if chr(c).isdigit()]
    if not places:
        return _flip(data, rng)
    place = rng.choice(places)
    other = rng.choice([d for d in b"0123456789" if d != data[place]])
    return data[:place] + bytes([other]) + data[place + 1 :]


def _zeros(data: bytes, rng: random.Random) -> bytes:
    size = min(len(data), rng.choice([1, 16, 512, 4096]))
    start = rng.randrange(len(data) - size + 1)
    return data[:start] + bytes(size) + data[start + size :]


def _truncate(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def _insert(data: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(data) + 1)
    what = rng.choice(
        [b"\0", b"\x1b[31m", BOM, HUGE, b"[" * 3000, b"\n", b"\xff", b"=cmd()", b"NaN", b"-1", b'"', b","]
    )
    return data[:place] + what + data[place:]


def _double(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data))
    end = min(len(data), start + rng.randrange(1, 200))
    return data[:end] + data[start:end] + data[end:]


def _cut(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data))
    return data[:start] + data[start + rng.randrange(1, 60) :]


def _append(data: bytes, rng: random.Random) -> bytes:
    return data + rng.choice([b"\0" * 8, b"x", b"\n\n", b"{}\n", data[:50], data])


def _empty(_data: bytes, _rng: random.Random) -> bytes:
    return b""


def _prefix(data: bytes, rng: random.Random) -> bytes:
    return rng.choice([BOM, b"\0", b"\n", b"\x1b"]) + data


BYTES: tuple[Mutator, ...] = (_flip, _flip, _digit, _digit, _zeros, _truncate, _insert, _insert, _double, _cut, _append)
BYTES += (_empty, _prefix)


def _lines(change: Callable[[list[bytes], random.Random], list[bytes]]) -> Mutator:
    def mutate(data: bytes, rng: random.Random) -> bytes:
        lines = data.splitlines(keepends=True)
        return b"".join(change(lines, rng)) if lines else data

    return mutate


def _drop_line(lines: list[bytes], rng: random.Random) -> list[bytes]:
    place = rng.randrange(len(lines))
    return lines[:place] + lines[place + 1 :]


def _double_line(lines: list[bytes], rng: random.Random) -> list[bytes]:
    place = rng.randrange(len(lines))
    return [*lines[:place], lines[place], *lines[place:]]


def _swap_lines(lines: list[bytes], rng: random.Random) -> list[bytes]:
    i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[i], lines[j] = lines[j], lines[i]
    return lines


LINES: tuple[Mutator, ...] = (_lines(_drop_line), _lines(_double_line), _lines(_swap_lines))


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def _odd_values(rng: random.Random, old: Any) -> Any:
    choices = [None, True, "", "x", "\x1b[2J", "=1+1", "\ud800", -1, 0, 2**63, 10**30, 1e308, float("nan")]
    choices += [float("inf"), [], {}, [old], {"x": old}, nested(60), "1", 1.5]
    if type(old) is int:
        choices += [old + 1, -old - 1, float(old), str(old), 2 * old + 7] * 2
    if isinstance(old, float):
        choices += [old * 2 + 1, str(old), 10**400 if rng.random() < 0.5 else -old - 1] * 2
    if isinstance(old, str):
        choices += [old + "x", old.upper(), "\n" + old, [old], 7] * 2
    if isinstance(old, list) and old:
        choices += [old[:-1], old + old[:1], old[::-1]] * 3
    return rng.choice(choices)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all values inside ``value``."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in items:
        yield (*path, key)
        yield from places(part, (*path, key))


def changed_value(value: Any, rng: random.Random) -> Any:
    """``value`` with one part of it dropped or replaced by something odd; a copy where containers are touched."""
    path = rng.choice(list(places(value)))
    parent = value
    for key in path[:-1]:
        parent = parent[key]
    if rng.random() < 0.25:
        del parent[path[-1]]
    else:
        parent[path[-1]] = _odd_values(rng, parent[path[-1]])
    return value


def json_value(data: bytes, rng: random.Random) -> bytes:
    """A JSON text with one value changed."""
    text = json.dumps(changed_value(json.loads(data), rng), indent=2)
    return text.encode()


def json_line_value(data: bytes, rng: random.Random) -> bytes:
    """Lines of JSON with one value of one line changed."""
    lines = data.splitlines()
    place = rng.randrange(len(lines))
    row = changed_value(json.loads(lines[place]), rng)
    lines[place] = json.dumps(row, separators=(",", ":")).encode()
    return b"\n".join(lines) + b"\n"


def toml_value(data: bytes, rng: random.Random) -> bytes:
    """A TOML text with the value of one key replaced, or the key dropped."""
    lines = data.decode().splitlines()
    place = rng.choice([i for i, line in enumerate(lines) if "=" in line])
    key = lines[place].partition("=")[0]
    odd = ['""', '"x"', "true", "-1", "0", "1e400", "nan", "inf", "[]", "{}", "9" * 30, "0x" + "f" * 4000, '"\\u0000"']
    odd += ["[" * 40 + "]" * 40, '["a\\u0000b"]', "1979-05-27", '"\\u001B[31m"', "[1, 'a']", "1.5", '["x.txt"]']
    odd += ["9" * 5000, "9" * 5000, "1", "33", '"~nosuchuser/x"', '["~nosuchuser/x.txt"]', f'"{"n" * 300}"']
    odd += ['"trainaug"', "[" * 2000]
    lines[place : place + 1] = [] if rng.random() < 0.15 else [f"{key}= {rng.choice(odd)}"]
    return ("\n".join(lines) + "\n").encode()


def csv_cell(data: bytes, rng: random.Random) -> bytes:
    """A CSV text with one cell replaced."""
    rows = [line.split(b",") for line in data.split(b"\n")[:-1]]
    row = rng.choice(rows)
    place = rng.randrange(len(row))
    other = rng.choice(rng.choice(rows))
    row[place] = rng.choice([b"", b"x", other, b"=1+1", b'"', b"\0", b"-1", HUGE, b"0", b"99", b"a\x1bb", b"a,b"])
    return b"\n".join(b",".join(row) for row in rows) + b"\n"


def checkpoint_value(content: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """The content of a checkpoint with one part changed: tensors in shape, type or number, other values as in JSON."""
    key = rng.choice(["iteration", "iteration", "model", "model", "optimizer", "optimizer", "rng", "history"])
    value = content[key]
    tensors = [path for path in places(value) if isinstance(_at(value, path), torch.Tensor)] if key != "rng" else [()]
    if key == "iteration":
        odd = ["2", -1, 2.0, True, None, 10**6, [1], float("nan"), 10**30, value + 1, value - 5, "", {}]
        content[key] = rng.choice(odd)
    elif key == "history" or rng.random() < 0.3:
        content[key] = rng.choice(
            [None, [], "x", {"x": 1}, {1: torch.zeros(1)}, {"x": torch.zeros(2, 2)}, 7, {"x": "y"}]
        )
    elif tensors and (key != "optimizer" or rng.random() < 0.4):
        content[key] = _with(value, rng.choice(tensors), lambda old: _odd_tensor(old, rng))
    else:
        content[key] = changed_value(value, rng) if isinstance(value, dict) else None
    return content


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def _with(value: Any, path: tuple[Any, ...], change: Callable[[Any], Any]) -> Any:
    if not path:
        return change(value)
    _at(value, path[:-1])[path[-1]] = change(_at(value, path))
    return value


def _odd_tensor(old: torch.Tensor, rng: random.Random) -> Any:
    odd = [old[..., None], old.flatten()[:-1], old.to(torch.int64), old.to(torch.complex64), old.bool(), None, 3.0, "x"]
    odd += [old.to_sparse() if old.dim() else None, torch.zeros(0), old.double()[None]]
    return rng.choice(odd)
