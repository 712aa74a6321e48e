"""Tiles of episodes as parts of a page: an image is in the page once, however many labels are laid over it."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from fsseg_bench.conventions import UInt8
from fsseg_bench.pictures.episode import Tile, drawn_side, resized
from fsseg_bench.pictures.overlay import kinds, over, swatch
from fsseg_bench.report.html.page import escape

_MOST_SIDE = 384  # pixels of a tile's side; larger inputs are drawn at
_SIDE = 320
_QUALITY = 80
_IN_A_ROW = 6  # tiles; where there are more, they are smaller
_BEHIND = 150  # the grey that a legend's colours lie over

STYLE = """
.episode-row { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 12rem));
  gap: .5rem .75rem; margin: .3rem 0 1.2rem; align-items: end; }
.episode-tile { margin: 0; } .episode-tile figcaption { line-height: 1.25; min-height: 2.5em; display: flex;
  flex-direction: column; justify-content: flex-end; color: var(--text); }
.episode-tile svg { display: block; width: 100%; height: auto; aspect-ratio: 1; }
.episode-tile > a { display: block; cursor: zoom-in; }
.episode-nav { display: none; }
.episode-tile:target { position: fixed; inset: 0; z-index: 20; padding: .75rem; background: var(--back); display: flex;
  flex-direction: column; align-items: center; gap: .5rem; overflow: auto; }
.episode-tile:target > a { pointer-events: none; width: min(100%, 100vh - 8rem); }
.episode-tile:target .episode-nav { display: flex; gap: 1.5rem; font-size: 1.1rem; }
.episode-many { grid-template-columns: repeat(auto-fill, minmax(7rem, 9rem)); }
@media (max-width: 40rem) { .episode-row { grid-template-columns: repeat(2, 1fr); } }
.episode-defs { position: absolute; }
.episode-key img { width: 40px; height: 24px; vertical-align: middle; margin-right: .4rem; }
.episode-key { margin: .5rem 0; }
"""


class Tiles:
    """The tiles of one page."""

    def __init__(self) -> None:
        """Without any yet."""
        self._images: dict[bytes, str] = {}
        self._rows = 0

    def row(self, heading: str, tiles: Sequence[tuple[Tile, str]]) -> str:
        """One episode, HTML: its heading (HTML), then each tile with what stands above it besides its title."""
        self._rows += 1
        name = f"episode-{self._rows}"
        figures = [self._figure(name, i, len(tiles), tile, words) for i, (tile, words) in enumerate(tiles)]
        size = "episode-row episode-many" if len(tiles) > _IN_A_ROW else "episode-row"
        return f'<div id="{name}">{heading}<div class="{size}">{"".join(figures)}</div></div>'

    def definitions(self) -> str:
        """The images that the tiles show; belongs before them."""
        images = "".join(
            f'<image id="{name}" width="100" height="100" preserveAspectRatio="none" href="{uri.decode()}"/>'
            for uri, name in self._images.items()
        )
        return f'<svg class="episode-defs" width="0" height="0" aria-hidden="true"><defs>{images}</defs></svg>'

    def _figure(self, row: str, i: int, count: int, tile: Tile, words: str) -> str:
        name = f"{row}-{i + 1}"
        said = escape(f"{tile.title}{f', {words}' if words else ''}")
        layer = f'<image width="100" height="100" href="{_png(tile.layer)}"/>' if tile.layer is not None else ""
        below = f"<strong>{escape(words)}</strong>" if words else ""
        before, after = (i - 1) % count + 1, (i + 1) % count + 1
        return (
            f'<figure class="episode-tile" id="{name}">'
            f"<figcaption><span>{escape(tile.title)}</span>{below}</figcaption>"
            f'<a href="#{name}" title="enlarge"><svg viewBox="0 0 100 100" role="img" aria-label="{said}">'
            f'<use href="#{self._image(tile.image)}"/>{layer}</svg></a>'
            f'<span class="episode-nav"><a href="#{row}-{before}">previous</a>'
            f'<a class="episode-close" href="#{row}">close</a><a href="#{row}-{after}">next</a></span></figure>'
        )

    def _image(self, pixels: UInt8) -> str:
        out = io.BytesIO()
        smaller = resized(pixels, _SIDE) if len(pixels) > _MOST_SIDE else pixels
        Image.fromarray(smaller).save(out, "JPEG", quality=_QUALITY, optimize=True)
        uri = b"data:image/jpeg;base64," + base64.b64encode(out.getvalue())
        return self._images.setdefault(uri, f"episode-image-{len(self._images) + 1}")


def tile_side(size: int) -> int:
    """The side at which labels of an input of ``size`` pixels are drawn."""
    side = drawn_side(size)
    return side if side <= _MOST_SIDE else _SIDE


def legend(ways: int) -> str:
    """What the colours and hatches of predictions mean, HTML."""
    items = []
    for kind in kinds(ways):
        layer = swatch(kind)
        shown = over(np.full((*layer.shape[:2], 3), _BEHIND, np.uint8), layer)
        uri = _png(np.dstack([shown, np.full(layer.shape[:2], 255, np.uint8)]))
        items.append(f'<li><img src="{uri}" alt="">{escape(kind.words)}</li>')
    return f'<ul class="key episode-key">{"".join(items)}</ul>'


def _png(layer: UInt8) -> str:
    """A layer (H, W, 4) of few colours as a ``data:`` URI."""
    packed = np.ascontiguousarray(layer).view(np.uint32)[..., 0]
    colours, index = np.unique(packed, return_inverse=True)
    image = Image.fromarray(index.reshape(packed.shape).astype(np.uint8))
    image.putpalette(colours.view(np.uint8).tobytes(), "RGBA")
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode("ascii")
