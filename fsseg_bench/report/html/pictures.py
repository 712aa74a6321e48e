"""Pictures of a run's episodes, ready to be put into a page."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsseg_bench.records.read import RecordWarning, StoredRun
from fsseg_bench.records.run import PANELS_FILE

_WIDEST = 1200  # pixels; a panel of four tiles stays readable at this width and small as JPEG
_QUALITY = 75
_RANK = re.compile(r"(\d+) of \d+\b")


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

    path: Path
    caption: str
    """What it shows and by which rule it was chosen, plain text."""
    worst: bool
    """Whether no episode of the run has a lower score."""


def run_panels(run: StoredRun) -> tuple[list[Panel], list[RecordWarning]]:
    """The panels in the run's ``panels`` folder, first those that its ``panels.json`` describes, in its order.

    Pictures that are described and not there are left out and named in the second value.
    """
    listing = run.folder / PANELS_FILE
    entries, warnings = _entries(listing)
    found = {path.name: path for path in sorted(listing.parent.glob("*.png"))}
    panels = []
    for name in dict.fromkeys([*entries, *found]):
        if name not in found:
            warnings.append(RecordWarning(listing, f"{listing}: names a picture that is not there: {name!r}"))
            continue
        entry = entries.get(name, {})
        rank = _RANK.match(str(entry.get("rank", "")))
        panels.append(Panel(found[name], _caption(name, entry), rank is not None and int(rank[1]) == 1))
    return panels, warnings


def picture(panel: Panel) -> Picture | RecordWarning:
    """The panel's pixels, or what is wrong with its file."""
    try:
        return _picture(panel.path)
    except (OSError, ValueError, SyntaxError) as error:  # what Pillow raises for damaged files
        return RecordWarning(panel.path, f"{panel.path}: not a readable picture: {error}")


def _entries(listing: Path) -> tuple[dict[str, Mapping[str, Any]], list[RecordWarning]]:
    """File name to description; empty where there is no listing."""
    try:
        entries = json.loads(listing.read_bytes())
        return {str(entry["file"]): entry for entry in entries}, []
    except FileNotFoundError:
        return {}, []
    except (OSError, ValueError, TypeError, KeyError) as error:
        return {}, [RecordWarning(listing, f"{listing}: damaged or edited: {error!r}")]


def _caption(name: str, entry: Mapping[str, Any]) -> str:
    if not entry:
        return Path(name).stem.replace("-", " ")
    classes = entry.get("classes")
    named = ", ".join(map(str, classes)) if isinstance(classes, list) else ""
    parts = [f"Episode {entry.get('episode', '?')}" + (f": {named}" if named else "")]
    if isinstance(entry.get("iou"), (int, float)):
        parts.append(f"foreground IoU {100 * entry['iou']:.1f} %")
    parts += [str(entry[key]) for key in ("rank", "shows") if entry.get(key)]
    if entry.get("query"):
        parts.append(f"query {entry['query']}")
    return "; ".join(parts)


def _picture(path: Path) -> Picture:
    from PIL import Image

    with Image.open(path, formats=["PNG"]) as file:
        image = file.convert("RGB")
    if image.width > _WIDEST:
        image = image.resize((_WIDEST, max(1, round(image.height * _WIDEST / image.width))), Image.Resampling.BOX)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=_QUALITY, optimize=True)
    uri = "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode("ascii")
    return Picture(uri, image.width, image.height)
