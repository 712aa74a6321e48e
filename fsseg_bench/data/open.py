"""Finds a protocol's data, and reads what the files of an evaluation hold before anything is trained."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from fsseg_bench import paths
from fsseg_bench.data.files import check_name
from fsseg_bench.data.source import Content, Source
from fsseg_bench.errors import NotHereError, UserError
from fsseg_bench.machine.limits import usable_cores
from fsseg_bench.protocol.spec import Protocol

_T = TypeVar("_T")
_MOST_THREADS = 8
_MOST_NAMED = 3
_FEW = 500
_COLUMNS = ("image", "image_sha256", "label_sha256")


def open_source(protocol: Protocol, data_root: Path | None = None) -> Source:
    """The reader of ``protocol``'s data.

    Looked for, the first that has the layout's folders: ``data.root`` under ``data_root`` (or ``FSSEG_DATA``), its
    last parts there, ``data_root`` itself, and for a user's own protocol file ``data.root`` beside the file. A root
    of ``.`` is the file's own folder and nothing else.

    Raises:
        NotHereError: the data are nowhere; lists every place and says how to name the right one.
    """
    kind = protocol.data.kind
    if not issubclass(kind, Source):
        raise UserError(f"{protocol.label}: {kind.__module__}.{kind.__name__} is no fsseg_bench.data.source.Source")
    if kind.synthetic:
        root = paths.cache_root() / protocol.data.root
    else:
        root = _find(protocol, kind.needs(protocol), paths.data_root(data_root))
    source = kind.open(protocol, root)
    source.upright = protocol.image.orientation == "upright"
    return source


def _find(protocol: Protocol, needed: tuple[str, ...], data_root: Path | None) -> Path:
    tried = []
    for place in _places(protocol, data_root):
        if not place.is_dir():
            tried.append(f"{place} (no such folder)")
            continue
        lacking = [name.removesuffix("/") for name in needed if not _has(place, name)]
        if not lacking:
            check_name(place.resolve())
            return place.resolve()
        tried.append(f"{place} (has no {' and no '.join(lacking)})")
    looked = "; ".join(tried) if tried else "nowhere, since no folder is named"
    layout = " and ".join(needed) or "the data"
    if protocol.home is None:  # a built-in protocol
        layout += f". To get them: fsseg-bench data prepare {protocol.name} --root DIR"
    raise NotHereError(
        f"the data of {protocol.label} were not found. Looked in: {looked}. Name the folder that holds "
        f"{protocol.data.root!r} with --data-root or FSSEG_DATA; {protocol.data.root!r} must hold {layout}"
    )


def _has(place: Path, name: str) -> bool:
    return any(
        path.is_dir() if one.endswith("/") else path.is_file()
        for one in name.split(" or ")
        for path in ([place / one] if "*" not in one else place.glob(one))
    )


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


@dataclass(frozen=True)
class Evaluated:
    """The content of everything that an evaluation decodes."""

    content: tuple[tuple[str, Content], ...]
    """Image id and content, sorted by id."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of :meth:`text`: equal digests mean equal images and labels, wherever they lie."""
        return hashlib.sha256(self.text().encode()).hexdigest()

    def text(self) -> str:
        """The content as CSV, one row an image."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows((image, content.image, content.label) for image, content in self.content)
        return out.getvalue()


def examine(source: Source, images: Iterable[str], *, labels: bool, decode: bool) -> Evaluated:
    """The content of ``images`` and, with ``labels``, of their masks; what ``source`` knows is not read again.

    From then on ``source``, the same object for all runs of a command, refuses other bytes for them
    (:meth:`fsseg_bench.data.source.Source.read`). With ``decode``, each is also decoded once, so that what is broken
    shows now and not after a long training.

    Raises:
        UserError: files are missing, unreadable or broken; says how many and names the first ones.
    """
    wanted = sorted(set(images))
    known = source.known

    def read(image: str) -> Content:
        return source.content(image, labels=labels)

    def decoded(image: str) -> bool:
        source.image(image)
        if labels:
            source.class_masks(image, (1,))  # any class: the whole mask is read and checked
        return True

    broken: list[str] = []
    for image, content in _each(read, [i for i in wanted if (i, labels) not in known.contents], broken):
        known.contents[image, labels] = content
        known.files.update(content.files)
    if decode:
        unseen = [i for i in wanted if (i, labels) in known.contents and (i, labels) not in known.decoded]
        known.decoded.update((image, labels) for image, _ in _each(decoded, unseen, broken))
    if broken:
        raise UserError(
            f"{len(broken)} of {len(wanted)} test images cannot be evaluated, they or their masks are missing or "
            f"broken: {_first(broken)}. Mend them before the run begins (--no-check leaves out the decoding, and the "
            "evaluation stops where it needs one)"
        )
    return Evaluated(tuple((image, known.contents[image, labels]) for image in wanted))


def check_training(source: Source, images: Iterable[str]) -> None:
    """Decodes the images of a training once where they are few: of many it takes minutes, and each comes in its turn.

    Raises:
        UserError: files are missing or broken; says how many and names the first ones.
    """
    wanted = sorted(set(images))
    broken: list[str] = []
    if len(wanted) <= _FEW:
        for _ in _each(lambda image: source.image(image).shape, wanted, broken):
            pass
    if broken:
        raise UserError(
            f"{len(broken)} of {len(wanted)} training images cannot be read: {_first(broken)}. Mend them before the "
            "run begins (--no-check leaves out the decoding, and the training stops where it needs one)"
        )


def _first(broken: Sequence[str]) -> str:
    more = f"; and {len(broken) - _MOST_NAMED} more" if len(broken) > _MOST_NAMED else ""
    return "; ".join(broken[:_MOST_NAMED]) + more


def _each(work: Callable[[str], _T], images: Sequence[str], broken: list[str]) -> Iterable[tuple[str, _T]]:
    """``work`` of each image, by threads (Pillow releases the interpreter lock); failures go to ``broken``."""

    def tried(image: str) -> _T | UserError:
        try:
            return work(image)
        except UserError as error:
            return error

    with ThreadPoolExecutor(min(usable_cores(), _MOST_THREADS), thread_name_prefix="examine") as pool:
        for image, result in zip(images, pool.map(tried, images), strict=True):
            if isinstance(result, UserError):
                broken.append(str(result))
            else:
                yield image, result
