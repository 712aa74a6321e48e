"""Finds a protocol's data and opens the reader for them."""

from __future__ import annotations

from pathlib import Path

from fsseg_bench import paths
from fsseg_bench.data.source import Source
from fsseg_bench.errors import UserError
from fsseg_bench.protocol.spec import Protocol


def open_source(protocol: Protocol, data_root: Path | None = None) -> Source:
    """The reader of ``protocol``'s data.

    Looked for, the first that has the layout's folders: ``data.root`` under ``data_root`` (or ``FSSEG_DATA``), its
    last parts there, ``data_root`` itself, and for a user's own protocol file ``data.root`` beside the file. A root
    of ``.`` is the file's own folder and nothing else.

    Raises:
        UserError: the data are nowhere; lists every place and says how to name the right one.
    """
    kind = protocol.data.kind
    if not issubclass(kind, Source):
        raise UserError(f"{protocol.label}: {kind.__module__}.{kind.__name__} is no fsseg_bench.data.source.Source")
    if kind.synthetic:
        return kind.open(protocol, paths.cache_root() / protocol.data.root)
    return kind.open(protocol, _find(protocol, kind.needs(protocol), paths.data_root(data_root)))


def _find(protocol: Protocol, needed: tuple[str, ...], data_root: Path | None) -> Path:
    tried = []
    for place in _places(protocol, data_root):
        if not place.is_dir():
            tried.append(f"{place} (no such folder)")
            continue
        lacking = [name.removesuffix("/") for name in needed if not _has(place, name)]
        if not lacking:
            return place.resolve()
        tried.append(f"{place} (has no {' and no '.join(lacking)})")
    looked = "; ".join(tried) if tried else "nowhere, since no folder is named"
    layout = " and ".join(needed) or "the data"
    if protocol.home is None:  # a built-in protocol
        layout += f". To get them: fsseg-bench data prepare {protocol.name} --root DIR"
    raise UserError(
        f"the data of {protocol.label} were not found. Looked in: {looked}. Name the folder that holds "
        f"{protocol.data.root!r} with --data-root or FSSEG_DATA; {protocol.data.root!r} must hold {layout}"
    )


def _has(place: Path, name: str) -> bool:
    return (place / name).is_dir() if name.endswith("/") else (place / name).is_file()


def _places(protocol: Protocol, data_root: Path | None) -> list[Path]:
    relative = Path(protocol.data.root)
    if protocol.home is not None and relative == Path():
        return [protocol.home]
    places = []
    if data_root is not None:
        tails = [Path(*relative.parts[i:]) for i in range(len(relative.parts))]
        places += [data_root / tail for tail in tails] + [data_root]
    if protocol.home is not None:
        places.append(protocol.home / relative)
    return list(dict.fromkeys(places))
