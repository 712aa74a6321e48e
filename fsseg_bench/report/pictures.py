"""Pictures of a run's episodes, ready to be put into a page."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsseg_bench.records.read import RecordWarning, StoredRun
from fsseg_bench.records.run import PANELS_FILE

_WIDEST = 1200  # pixels; a panel of four tiles stays readable at this width and small as JPEG
_QUALITY = 88


@dataclass(frozen=True)
class Picture:
    """One picture of an episode."""

    uri: str
    """The pixels as a ``data:`` URI."""
    width: int
    height: int
    caption: str
    """What it shows, plain text."""


def run_pictures(run: StoredRun) -> tuple[list[Picture], list[RecordWarning]]:
    """The pictures in the run's ``panels`` folder, first those that its ``panels.json`` describes, in its order.

    Pictures that cannot be read are left out and named in the second value.
    """
    listing = run.folder / PANELS_FILE
    entries, warnings = _entries(listing)
    found = {path.name: path for path in sorted(listing.parent.glob("*.png"))}
    pictures = []
    for name in dict.fromkeys([*entries, *found]):
        if name not in found:
            warnings.append(RecordWarning(listing, f"{listing}: names a picture that is not there: {name!r}"))
            continue
        try:
            pictures.append(_picture(found[name], _caption(name, entries.get(name, {}))))
        except (OSError, ValueError, SyntaxError) as error:  # what Pillow raises for damaged files
            warnings.append(RecordWarning(found[name], f"{found[name]}: not a readable picture: {error}"))
    return pictures, warnings


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


def _picture(path: Path, caption: str) -> Picture:
    from PIL import Image

    with Image.open(path, formats=["PNG"]) as file:
        image = file.convert("RGB")
    if image.width > _WIDEST:
        image = image.resize((_WIDEST, max(1, round(image.height * _WIDEST / image.width))), Image.Resampling.BOX)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=_QUALITY, subsampling=0, optimize=True)
    uri = "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode("ascii")
    return Picture(uri, image.width, image.height, caption)
