"""What a data source says of itself before any data are opened, and how a source is found by its name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from fsseg_bench import plugins
from fsseg_bench.conventions import MOST_LABELS
from fsseg_bench.errors import UserError, unknown
from fsseg_bench.schema import fields_of


@dataclass(frozen=True)
class NoKeys:
    """For sources without keys of their own."""


class SourceKind:
    """The part of a source that a protocol needs. Sources extend :class:`fsseg_bench.data.source.Source`."""

    keys: ClassVar[Any] = NoKeys
    """The source's own keys of ``[data]``: a frozen dataclass. Annotations are checked as
    :func:`fsseg_bench.schema.parse` says; a field with a default may be left out. All values enter the digest,
    but the default of a :func:`fsseg_bench.schema.later` field, for a key that came after runs were recorded."""
    synthetic: ClassVar[bool] = False
    """Whether the images are made by code: then nothing is looked for on the disk, and small networks and short
    training are the default."""
    trains_like_coco: ClassVar[bool] = False
    """Whether a recipe that a paper states for COCO alone applies; else its recipe for PASCAL does."""
    most_classes: ClassVar[int] = MOST_LABELS
    """How many classes a protocol may name; more than the default only where no mask holds label values."""
    numbered: ClassVar[bool] = False
    """Whether in other tools' lists a bare number means the image whose id ends in it."""

    @classmethod
    def side_information(cls, options: Any) -> str | None:
        """What the source's own keys ``options`` let an image tell of the query besides its pixels, in words."""
        return None

    @classmethod
    def id_of_name(cls, name: str, class_name: str) -> str:
        """The id that another tool's name of an image probably stands for, without a look at the data.

        Args:
            name: with slashes, without the file's suffix.
            class_name: a class that the image shows.
        """
        return name


SOURCES = plugins.Kind("source", "fsseg_bench.data.sources", lambda: SourceKind)
"""Where sources are found."""


def find_source(name: str, where: object, sources_path: Path | str | None = None) -> type[SourceKind]:
    """The class of the source ``name``.

    Args:
        name: the value of ``data.source``.
        where: the protocol file, for messages.
        sources_path: a folder with further source files.

    Raises:
        UserError: unknown name (near matches shown), or the source cannot be imported.
    """
    known = plugins.places(SOURCES, sources_path)
    if name not in known:
        raise UserError(
            f"{unknown('source', name, known, where=f'{where}: data.source')} A source of your own is a file in the "
            f"folder that {SOURCES.option} or {SOURCES.variable} names (docs/howto/add-source.md)"
        )
    try:
        found = plugins.find(SOURCES, name, sources_path)
        fields_of(found.keys)
    except UserError as error:
        raise UserError(f"{where}: data.source: {error}") from error
    except (TypeError, NameError) as error:
        raise UserError(f"{where}: data.source: {found.__name__}.keys is no usable dataclass: {error}") from error
    return found
