"""Pictures that runs recorded of their episodes, as parts of a page."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from fsseg_bench.records.info import PANELS_FILE
from fsseg_bench.records.read import RecordError, RecordWarning, StoredRun
from fsseg_bench.report.html.page import escape, folded
from fsseg_bench.report.html.runs import ShownRun
from fsseg_bench.schema import Must, Range, WrongError, fitted
from fsseg_bench.storage.json_text import strict_json

_WIDEST = 1200  # pixels; a panel of four tiles stays readable at this width and small as JPEG
_QUALITY = 75
_Words = Annotated[str, Must("shorter than 500 characters", lambda text: len(text) < 500)]
_BROKEN = (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error)  # what Pillow raises for damaged files
_MOST = 200  # pictures; more make a page that a phone cannot hold


class Gallery:
    """The pictures that runs recorded, as many as a page holds. What could not be read is in ``warnings``."""

    def __init__(self) -> None:
        """Without any yet."""
        self.warnings: list[RecordWarning] = []
        self._places = _MOST

    def add(self, runs: Iterable[ShownRun]) -> str:
        """A folded part for each run with pictures, HTML; empty where there are none."""
        parts = []
        for run in runs:
            panels, warnings = run_panels(run.scored.record)
            self.warnings += warnings
            held = panels[: self._places]
            figures = "".join(map(self._figure, held))
            left = len(panels) - len(held)
            more = f"<p>{left} more are in the run's folder <code>panels</code>.</p>" if left else ""
            if figures or more:
                link = f'<p><a href="#{run.anchor}">about this run</a></p>'
                count = f"{len(panels)} picture{'s' if len(panels) != 1 else ''}"
                parts.append(folded(f"{escape(run.name)}: {count}", figures + more + link))
        return "\n".join(parts)

    def _figure(self, panel: Panel) -> str:
        shown = picture(panel)
        if isinstance(shown, RecordWarning):
            self.warnings.append(shown)
            return ""
        self._places -= 1
        return _figure(shown, panel.caption)


def _figure(shown: Picture, caption: str) -> str:
    text = escape(caption)
    return (
        f'<figure><div class="scroll" tabindex="0" role="group" aria-label="picture">'
        f'<img class="panel" src="{shown.uri}" width="{shown.width}" height="{shown.height}" '
        f'alt="{text}"></div><figcaption>{text}</figcaption></figure>'
    )


@dataclass(frozen=True)
class _Entry:
    """What the run's list of pictures says of one."""

    file: str
    episode: int | None = None
    classes: tuple[str, ...] = ()
    iou: Annotated[float, Range(0, 1)] | None = None
    rank: _Words = ""
    shows: _Words = ""
    query: _Words = ""


@dataclass(frozen=True)
class Picture:
    """One picture of an episode."""

    uri: str
    """The pixels as a ``data:`` URI."""
    width: int
    height: int


@dataclass(frozen=True)
class Panel:
    """A picture of an episode on disk."""

    run: StoredRun = field(repr=False)
    name: str
    """Of its file, relative to the run's folder."""
    caption: str
    """What it shows and by which rule it was chosen, plain text."""


def run_panels(run: StoredRun) -> tuple[list[Panel], list[RecordWarning]]:
    """The panels in the run's ``panels`` folder, first those that its ``panels.json`` describes, in its order.

    Pictures that are described and not there are left out and named in the second value.
    """
    listing = run.folder / PANELS_FILE
    entries, warnings = _entries(run, listing)
    found = {path.name: path for path in sorted(listing.parent.glob("*.png"))}
    panels = []
    for name in dict.fromkeys([*entries, *found]):
        if name not in found:
            warnings.append(RecordWarning(listing, f"{listing}: names a picture that is not there: {name!r}"))
            continue
        entry, path = entries.get(name), found[name].relative_to(run.folder)
        caption = _caption(entry) if entry else path.stem.replace("-", " ")
        panels.append(Panel(run, path.as_posix(), caption))
    return panels, warnings


def picture(panel: Panel) -> Picture | RecordWarning:
    """The panel's pixels, or what is wrong with its file."""
    path = panel.run.folder / panel.name
    try:
        return _picture(panel.run.content(panel.name))
    except RecordError as error:
        return RecordWarning(path, str(error))
    except _BROKEN as error:
        return RecordWarning(path, f"{path}: not a readable picture: {error}")


def _entries(run: StoredRun, listing: Path) -> tuple[dict[str, _Entry], list[RecordWarning]]:
    """File name to description; empty where there is no listing, or a damaged one."""
    try:
        entries = fitted(strict_json(run.content(PANELS_FILE)), tuple[_Entry, ...], "", others={_Entry})
    except FileNotFoundError:
        return {}, []
    except RecordError as error:
        return {}, [RecordWarning(listing, str(error))]
    except (ValueError, WrongError) as error:
        why = "it is no list of pictures and what they show" if isinstance(error, WrongError) else error
        return {}, [RecordWarning(listing, f"{listing}: damaged or edited: {why}")]
    return {entry.file: entry for entry in entries}, []


def _caption(entry: _Entry) -> str:
    named = f": {', '.join(entry.classes)}" if entry.classes else ""
    parts = [f"Episode {'?' if entry.episode is None else entry.episode}{named}"]
    if entry.iou is not None:
        parts.append(f"foreground IoU {100 * entry.iou:.1f} %")
    parts += [entry.rank, entry.shows, entry.query and f"query {entry.query}"]
    return "; ".join(filter(None, parts))


def _picture(data: bytes) -> Picture:
    from PIL import Image

    with Image.open(io.BytesIO(data), formats=["PNG"]) as file:
        image = file.convert("RGB")
    if image.width > _WIDEST:
        image = image.resize((_WIDEST, max(1, round(image.height * _WIDEST / image.width))), Image.Resampling.BOX)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=_QUALITY, optimize=True)
    uri = "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode("ascii")
    return Picture(uri, image.width, image.height)
