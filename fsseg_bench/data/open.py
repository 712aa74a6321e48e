"""Finds a protocol's data and opens the reader for them."""

from __future__ import annotations

from pathlib import Path

from fsseg_bench import paths
from fsseg_bench.data.source import Source
from fsseg_bench.errors import UserError
from fsseg_bench.protocol.spec import Protocol, is_list_file


def open_source(protocol: Protocol, data_root: Path | None = None) -> Source:
    """The reader of ``protocol``'s data.

    Looked for, the first that has the layout's folders: ``data.root`` under ``data_root`` (or ``FSSEG_DATA``), its
    last parts there, ``data_root`` itself, and for a user's own protocol file ``data.root`` beside the file. A root
    of ``.`` is the file's own folder and nothing else.

    Raises:
        UserError: the data are nowhere; lists every place and says how to name the right one.
    """
    if protocol.data.source == "shapes":
        from fsseg_bench.data.shapes import open_shapes

        return open_shapes(protocol)
    root = _find(protocol, paths.data_root(data_root))
    if protocol.data.source == "coco":
        from fsseg_bench.data.coco import CocoSource

        return CocoSource(root, protocol.classes, protocol.data.year)
    if protocol.data.source == "folder":
        from fsseg_bench.data.folder import FolderSource

        return FolderSource(root, protocol.classes)
    from fsseg_bench.data.voc import VocSource

    return VocSource(root, protocol.classes, protocol.data.masks)


def _find(protocol: Protocol, data_root: Path | None) -> Path:
    needed = _needed(protocol)
    tried = []
    for place in _places(protocol, data_root):
        if not place.is_dir():
            tried.append(f"{place} (no such folder)")
            continue
        lacking = [name for name in needed if not (place / name).is_dir()]
        if not lacking:
            return place.resolve()
        tried.append(f"{place} (has no {' and no '.join(lacking)})")
    looked = "; ".join(tried) if tried else "nowhere, since no folder is named"
    layout = " and ".join(f"{name}/" for name in needed) + _preparing(protocol)
    raise UserError(
        f"the data of {protocol.label} were not found. Looked in: {looked}. Name the folder that holds "
        f"{protocol.data.root!r} with --data-root or FSSEG_DATA; {protocol.data.root!r} must hold {layout}"
    )


def _needed(protocol: Protocol) -> tuple[str, ...]:
    """The folders by which the data are known."""
    data = protocol.data
    if data.source == "coco":
        return ("annotations",)
    if data.source == "folder":
        return (f"{protocol.classes[0]}/images",)
    if all(is_list_file(entry) for entry in (*data.train_list, *data.test_list)):
        return ("JPEGImages",)
    return ("JPEGImages", "ImageSets/Segmentation")


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


def _preparing(protocol: Protocol) -> str:
    """How to get the data of a built-in protocol."""
    if protocol.home is not None:
        return ""
    name = "coco20i" if protocol.data.source == "coco" else protocol.name
    return f". To get them: fsseg-bench data prepare {name} --root DIR"
