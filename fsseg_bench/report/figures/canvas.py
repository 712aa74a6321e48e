"""What all figures share: the empty figure, colours, text from records, and files."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsseg_bench.errors import UserError, unknown
from fsseg_bench.protocol.statistics import IntervalKind
from fsseg_bench.report.model import printable
from fsseg_bench.storage.files import make_folder, write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette, told apart by colour-blind readers as well."""
OVER: dict[IntervalKind, str] = {
    "images": "intervals over images and episodes",
    "episodes": "intervals over episodes alone",
}
"""What drawn intervals are over."""
FORMATS = ("png", "svg", "pdf")
_DPI = 200
_STABLE: Any = {"svg.hashsalt": "fsseg-bench", "svg.fonttype": "none"}
_NO_DATE: dict[str, dict[str, None]] = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, sizes in inches, that belongs to no window.

    Raises:
        UserError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError(
            f"figures need matplotlib ({error}); install it with: pip install 'fsseg-bench[plots]'"
        ) from error
    return Figure(figsize=(width, height), layout="constrained")


def colour(i: int) -> str:
    """The i-th colour; they repeat."""
    return COLOURS[i % len(COLOURS)]


def label(text: str) -> str:
    """``text`` from a record as it is: a dollar sign starts no formula."""
    return printable(text).replace("$", r"\$")


def tidy(axes: Axes) -> None:
    """Takes away the frame's upper and right side, and adds a light grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3, linewidth=0.6)
    axes.set_axisbelow(True)


def middle(low: float, high: float) -> tuple[float, float]:
    """Centre and half width of an interval: error bars are drawn from these, since a score may lie outside."""
    return (low + high) / 2, (high - low) / 2


def rendered(figure: Figure, form: str) -> bytes:
    """The file's content in one of :data:`FORMATS`. Equal figures give equal bytes.

    The layout is fixed by the first call: laying it out again would move things a little.
    """
    from matplotlib import rc_context

    out = io.BytesIO()
    with rc_context(_STABLE):
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        figure.savefig(out, format=form, dpi=_DPI, metadata=_NO_DATE[form])
    return out.getvalue()


def save_as(figure: Figure, path: Path) -> None:
    """Writes ``path``; its ending says in which of :data:`FORMATS`.

    Raises:
        UserError: another ending, or the file cannot be written.
    """
    form = path.suffix.removeprefix(".").lower()
    if form not in FORMATS:
        raise unknown("figure format", form, FORMATS, str(path))
    write_atomic(path, rendered(figure, form))


def save_all(figure: Figure, folder: Path, stem: str, formats: Sequence[str]) -> list[Path]:
    """Writes ``<stem>.<format>`` into ``folder``, which is made where it is missing; gives the files.

    Raises:
        UserError: as :func:`save_as`, or the folder cannot be made.
    """
    make_folder(folder)
    paths = [folder / f"{stem}.{form}" for form in formats]
    for path in paths:
        save_as(figure, path)
    return paths
